"""Cells: what the index knows of one variant, few enough values to be remembered from one report to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from modelfarm.changes import Change, changes
from modelfarm.errors import ArtifactError
from modelfarm.phrase import size
from modelfarm.settings import Thresholds
from modelfarm.site.plain import figure, number
from modelfarm.site.version import BUILT, FAILED, Version

_EVENTS = 20  # of a variant that the index may speak of
_TAIL = 12  # lines of a log
_WIDEST = 240  # characters of such a line


@dataclass(frozen=True, kw_only=True)
class Event:
    """One version that was published, failed, or was found damaged.

    `words` say how it differs from the last good one, `worse` what of that is a regression.
    """

    when: float
    version: str
    page: str
    state: str
    words: tuple[str, ...]
    worse: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One variant of a model as it stands: its newest version, and the events that led there, newest first.

    `since` is the version that still is `latest` where the newest one is no good, `tail` the end of its log,
    `waited_for` the name of what had to be made before it and failed; `unproven`: what is served was never run.
    """

    model: str
    variant: str
    state: str
    version: str
    page: str
    when: float
    reason: str
    since: str
    since_page: str
    size: str
    latency: str
    worst: str
    random_weights: bool
    tail: str
    events: tuple[Event, ...]
    waited_for: str = ""
    unproven: bool = False

    @property
    def name(self) -> str:
        """Return `model/variant`."""
        return f"{self.model}/{self.variant}"

    def document(self) -> dict[str, Any]:
        """Return the cell as plain JSON values."""
        return asdict(self)


def read_cell(document: Mapping[str, Any]) -> Cell:
    """Read what `document` gave; raises TypeError or LookupError for anything else."""
    events = tuple(Event(**{**event, "words": tuple(event["words"]), "worse": tuple(event["worse"])})
                   for event in document["events"])
    return Cell(**{**document, "events": events})


def is_step(variant: str) -> bool:
    """Return whether a variant is made on the way to others, such as `onnx-for-tflite`."""
    return "-for-" in variant or "-from-" in variant


def page_of(version: Version) -> str:
    """Return the address of a version's page below the report's folder."""
    return quote(f"{version.model}/{version.variant}/{version.version}.html")


def make_cell(versions: Sequence[Version]) -> Cell:
    """Sum up the versions of one variant, at least one, newest first."""
    newest = versions[0]
    good = next((version for version in versions if version.latest and version.good), None)
    shown = newest if newest.good or good is None else good
    return Cell(model=newest.model, variant=newest.variant, state=newest.state, version=newest.version,
                page=page_of(newest), when=newest.when, reason=newest.reason,
                since=good.version if good and good is not newest else "",
                since_page=page_of(good) if good and good is not newest else "",
                size=_size(shown), latency=_latency(shown),
                worst=", ".join(f"{figure(number(error))} {unit}" for unit, error in shown.figures.worst.items()),
                random_weights=newest.figures.random_weights, tail=_tail(newest) if newest.state == FAILED else "",
                unproven=shown.state == BUILT,
                events=tuple(_events(versions[:_EVENTS + 1])))


def _events(versions: Sequence[Version]) -> Iterator[Event]:
    for index, version in enumerate(versions[:_EVENTS]):
        earlier = versions[index + 1:]
        before = next((other for other in earlier if other.good), None)
        changed = differences(before, version) if before and version.good else []
        words = [*_words(version, earlier, before), *(change.text for change in changed if not change.worse)]
        yield Event(when=version.when, version=version.version, page=page_of(version), state=version.state,
                    words=tuple(words), worse=tuple(change.text for change in changed if change.worse))


def _words(version: Version, earlier: Sequence[Version], before: Version | None) -> Iterator[str]:
    """Yield what is to be said of a version beside those before it, newest first, of which `before` was good."""
    if not version.good:
        yield version.reason.partition("\n")[0]
        return
    if earlier and not earlier[0].good:
        yield f"good again after it {'failed' if earlier[0].state == FAILED else 'was damaged'}"
    if before is None:
        yield "the first version"
        yield from (words for words in (_size(version), _latency(version)) if words)
    elif before.state == BUILT and version.state != BUILT:
        yield "run for the first time: it had only been built"


def _size(version: Version) -> str:
    return size(version.size) if version.size else ""


def _latency(version: Version) -> str:
    return f"{figure(version.figures.latency.median)} ms" if version.figures.latency else ""


def differences(before: Version, now: Version) -> list[Change]:
    """Return how a good version differs from an earlier good one, by the usual thresholds of a night.

    Where smoke.json is damaged or unlike those of today, nothing is known.
    """
    if before.artifact is None or now.artifact is None:
        return []
    try:
        return list(changes(before.artifact, now.artifact, Thresholds()))
    except (ArtifactError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, OSError):
        return []


def _tail(version: Version) -> str:
    return last_lines(version.folder / "convert.log", _TAIL)


def last_lines(file: Path, count: int) -> str:
    """Return the last lines of a log without the commands in it, long ones cut; empty where there are none."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(stream.seek(0, 2) - count * 4096, 0))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    said = [line for line in lines if not line.startswith("$ ")][-count:]
    return "\n".join(line if len(line) <= _WIDEST else f"{line[:_WIDEST]}…" for line in said)
