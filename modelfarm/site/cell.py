"""Cells: what the index knows of one variant, few enough values to be remembered from one report to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from modelfarm.phrase import size
from modelfarm.site.plain import figure, number
from modelfarm.site.version import BUILT, FAILED, Version

_EVENTS = 20  # of a variant that the index may speak of
_TAIL = 12  # lines of a log
_WIDEST = 240  # characters of such a line
_STILL = 0.005  # of a size; what changes less is the same
_GROWN = 2.0  # an error that is as many times as large or as small has changed: below it is rounding


@dataclass(frozen=True, kw_only=True)
class Event:
    """One version that was published, failed, or was found damaged; `words` say how it differs from the last good."""

    when: float
    version: str
    page: str
    state: str
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One variant of a model as it stands: its newest version, and the events that led there, newest first.

    `since` is the version that still is `latest` where the newest one is no good, `tail` the end of its log.
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

    @property
    def name(self) -> str:
        """Return `model/variant`."""
        return f"{self.model}/{self.variant}"

    def document(self) -> dict[str, Any]:
        """Return the cell as plain JSON values."""
        return asdict(self)


def read_cell(document: Mapping[str, Any]) -> Cell:
    """Read what `document` gave; raises TypeError or LookupError for anything else."""
    events = tuple(Event(**{**event, "words": tuple(event["words"])}) for event in document["events"])
    return Cell(**{**document, "events": events})


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
                events=tuple(_events(versions[:_EVENTS + 1])))


def _events(versions: Sequence[Version]) -> Iterator[Event]:
    for index, version in enumerate(versions[:_EVENTS]):
        earlier = versions[index + 1:]
        yield Event(when=version.when, version=version.version, page=page_of(version), state=version.state,
                    words=tuple(_words(version, earlier)))


def _words(version: Version, earlier: Sequence[Version]) -> Iterator[str]:
    """Yield what is to be said of a version beside those before it, newest first."""
    if not version.good:
        yield version.reason.partition("\n")[0]
        return
    if earlier and not earlier[0].good:
        yield f"good again after it {'failed' if earlier[0].state == FAILED else 'was damaged'}"
    if before := next((other for other in earlier if other.good), None):
        yield from differences(before, version)
    else:
        yield "the first version"
        yield from (words for words in (_size(version), _latency(version)) if words)


def _size(version: Version) -> str:
    return size(version.size) if version.size else ""


def _latency(version: Version) -> str:
    return f"{figure(version.figures.latency.median)} ms" if version.figures.latency else ""


def differences(before: Version, now: Version) -> Iterator[str]:
    """Yield how the figures of a good version differ from those of an earlier good one."""
    if before.size and now.size and abs(now.size / before.size - 1) > _STILL:
        yield f"size {size(before.size)} → {size(now.size)}{_percent(before.size, now.size)}"
    one, other = before.figures.latency, now.figures.latency
    if one and other:
        yield f"latency {figure(one.median)} → {figure(other.median)} ms{_percent(one.median, other.median)}"
    for unit, error in now.figures.worst.items():
        was, current = number(before.figures.worst.get(unit)), number(error)
        if was and current and not 1 / _GROWN <= current / was <= _GROWN:
            yield f"error {figure(was)} → {figure(current)} {unit}"
    if before.state == BUILT and now.state != BUILT:
        yield "run for the first time: it had only been built"


def _percent(before: float, now: float) -> str:
    return f" ({100 * (now - before) / before:+.0f} %)" if before else ""


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
