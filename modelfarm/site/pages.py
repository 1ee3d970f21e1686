"""Pages: the templates, and what each of them is given."""

from __future__ import annotations

import json
import re
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from modelfarm import __version__
from modelfarm.phrase import size
from modelfarm.site import plain
from modelfarm.site.cell import differences, last_lines
from modelfarm.site.facts import sort_facts
from modelfarm.site.figures import Gate
from modelfarm.site.plot import plot_errors, plot_trend
from modelfarm.site.record import moment
from modelfarm.site.version import OVERLAY, Version

TEMPLATES = Path(__file__).parent / "templates"
STYLE = "style.css"
JOB = "job.json"  # of a failure
_MARKS = {"verified": "✓", "passed": "✓", "built": "◆", "cached": "=", "failed": "✕", "damaged": "!", "skipped": "–",
          "not run": "–"}
_LOG = 64 * 1024  # bytes of a log that a page shows
_TAIL = 20  # lines of a failure's log that its page shows first
# HTML has no place for control characters, and a terminal's colours are none of its own:
# https://html.spec.whatwg.org/multipage/parsing.html#control-character-in-input-stream
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An overlay picture: its address seen from the page, its size in pixels and what there is to see, in words."""

    name: str
    href: str
    width: int
    height: int
    words: str


@dataclass(frozen=True, kw_only=True)
class Log:
    """The end of a log; `left_out` counts the bytes before it."""

    name: str
    text: str
    left_out: int


class Pages:
    """Renders pages; one object compiles each template once."""

    @cached_property
    def _templates(self) -> Environment:
        found = Environment(loader=PackageLoader("modelfarm.site"), autoescape=True, undefined=StrictUndefined,
                            trim_blocks=True, lstrip_blocks=True, finalize=printable, auto_reload=False)
        found.globals.update(farm=__version__, mark=lambda state: _MARKS.get(state, "?"))
        found.filters.update(figure=plain.figure, in_line=plain.in_line, columns=plain.columns, size=_size,
                             minute=_minute, iso=_iso, slug=_slug, coordinate=_coordinate, seconds=moment)
        return found

    def index(self, **values: Any) -> str:
        """Render the index; `values` are its template's."""
        return self._templates.get_template("index.html.j2").render(root="", **values)

    def version(self, version: Version, versions: Sequence[Version], *, pictured: bool) -> str:
        """Render the page of one version, one of `versions`, newest first; `pictured` with its overlays."""
        place = versions.index(version)
        before = next((other for other in versions[place + 1:] if other.good), None)
        figures = version.figures
        latencies = [each.figures.latency.median if each.figures.latency else None for each in versions]
        return self._templates.get_template("version.html.j2").render(
            root="../../", version=version, versions=versions, newer=versions[place - 1] if place else None,
            older=versions[place + 1] if place + 1 < len(versions) else None,
            changes=[change.text for change in differences(before, version)] if before and version.good else [],
            plot=plot_errors(figures.errors), facts=sort_facts(figures.facts), gates=list(_gathered(figures.gates)),
            glance=bool(version.size or figures.latency or figures.worst or figures.precision or figures.runner),
            materials=list(_materials(version)),
            widened=plain.items(plain.at(version.manifest, "predicate", "verification", "widenedLimits")),
            latency_trend=plot_trend("Latency", "ms", versions, latencies, version),
            size_trend=plot_trend("Size", "kB", versions, [each.size / 1e3 if each.size else None
                                                           for each in versions], version),
            pictures=list(_pictures(version)) if pictured else [], documents=list(_documents(version)),
            logs=[_log(file) for file in version.logs],
            tail=last_lines(version.folder / "convert.log", _TAIL) if version.reason else "")


def printable(value: Any) -> Any:
    """Leave out of text what HTML cannot hold; markup and everything that is no text pass as they are."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return "" if value is None else value
    return _CONTROLS.sub("�", _COLOURS.sub("", value))


def _gathered(gates: Sequence[Gate]) -> Iterator[tuple[Gate, int]]:
    """Yield each gate with the number of rows that its words stand for: gates that were not run share the reason."""
    for _, same in groupby(gates, key=lambda gate: gate.summary if gate.state == "not run" else gate.name):
        first, *others = same
        yield first, 1 + len(others)
        yield from ((gate, 0) for gate in others)


def _materials(version: Version) -> Iterator[tuple[str, str, str]]:
    """Yield role, name and SHA-256 of what a version was made from."""
    resolved = plain.items(plain.at(version.manifest, "predicate", "buildDefinition", "resolvedDependencies"))
    for entry in resolved:
        yield (plain.text(plain.at(entry, "annotations", "role")), plain.text(plain.at(entry, "name")),
               plain.text(plain.at(entry, "digest", "sha256")))
    for item in version.figures.materials if not resolved else ():
        yield plain.text(item.get("role")), plain.text(item.get("name")), plain.text(item.get("sha256"))


def _documents(version: Version) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not version.manifest:
        yield from (("The job, as the toolchain got it", job) for job in [_job(version.folder)] if job)
    definition = plain.at(version.manifest, "predicate", "buildDefinition")
    internal = plain.at(definition, "internalParameters")
    for title, found in (("The toolchain", plain.at(internal, "toolchain")),
                         ("What the key is the digest of", plain.at(internal, "identity")),
                         ("The recipe", plain.at(definition, "externalParameters", "recipe"))):
        if plain.mapping(found):
            yield title, found


def _job(folder: Path) -> Mapping[str, Any]:
    """Return what a failure's job was, as far as it was kept and can be read."""
    try:
        return plain.mapping(json.loads((folder / JOB).read_bytes()))
    except (OSError, ValueError, RecursionError):
        return {}


def _pictures(version: Version) -> Iterator[Picture]:
    seen = {entry.sample: entry for entry in version.figures.predictions}
    for file in version.overlays:
        name = file.name.removesuffix(OVERLAY)
        words = seen[name].words if name in seen else "source and artifact side by side"
        if measured := _measured(file):
            yield Picture(name=name, href=quote(f"{version.version}/{file.name}"), width=measured[0],
                          height=measured[1], words=f"{name}: {words}")


def _measured(file: Path) -> tuple[int, int] | None:
    """Return width and height of a PNG by its header; None where it is none. https://www.w3.org/TR/png/#11IHDR."""
    try:
        with file.open("rb") as stream:
            header = stream.read(24)
        width, height = struct.unpack(">II", header[16:24])
    except (OSError, struct.error):
        return None
    return (width, height) if header.startswith(b"\x89PNG\r\n\x1a\n") else None


def _log(file: Path) -> Log:
    try:
        with file.open("rb") as stream:
            length = stream.seek(0, 2)
            stream.seek(max(length - _LOG, 0))
            return Log(name=file.name, text=stream.read().decode(errors="replace"), left_out=max(length - _LOG, 0))
    except OSError as error:
        return Log(name=file.name, text=f"cannot be read: {error.strerror}", left_out=0)


def _size(value: Any) -> str:
    count = plain.number(value)
    return size(int(count)) if count is not None else "–"


def _minute(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(when))


def _iso(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


def _slug(word: str) -> str:
    return re.sub("[^a-z]+", "-", word.lower())


def _coordinate(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def counted(words: Iterable[str], order: Sequence[str]) -> dict[str, int]:
    """Count words, those of `order` first and in its order; words that do not occur are left out."""
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return {word: found[word] for word in sorted(found, key=lambda w: (order.index(w) if w in order else 99, w))}
