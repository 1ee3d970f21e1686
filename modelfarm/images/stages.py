"""Stages: what `docker buildx --progress=plain` prints, as steps of the console."""

from __future__ import annotations

import re

from modelfarm.console import Console, Step

_WIDEST = 56  # characters of a step's text
_LINE = re.compile(r"#(\d+) (.*)")
_END = re.compile(r"(DONE|CACHED|ERROR|CANCELED)\b ?:?(?:([0-9.]+)s)?")
_STAMP = re.compile(r"[0-9.]+ ")
_MOUNTS = re.compile(r"--(mount|network|security)=\S+ ")


class Stages:
    """Shows each stage that does something as a step; called with one line after the other.

    A stage that comes from the cache, and what buildx does for itself, stays unmentioned.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._titles: dict[str, str] = {}
        self._steps: dict[str, Step] = {}

    def __call__(self, line: str) -> None:
        found = _LINE.match(line)
        if not found:
            return
        stage, said = found.groups()
        if title := _title(said):
            self._titles.setdefault(stage, title)
        elif ending := _END.match(said):
            if step := self._steps.pop(stage, None):
                seconds = float(ending[2]) if ending[2] else None
                step.end(seconds=seconds, failed=ending[1] in ("ERROR", "CANCELED"))
        elif stage in self._titles and stage not in self._steps and _works(said):
            self._steps[stage] = self._console.begin(self._titles[stage])

    def close(self) -> None:
        """End what is still shown; such stages have failed."""
        for step in self._steps.values():
            step.end(failed=True)
        self._steps.clear()


def _title(said: str) -> str:
    """Return what a stage does, in one short line; empty where the line announces none."""
    if said.startswith("exporting to "):
        return "write the image"
    found = re.match(r"\[([^]]+)\] ((?:RUN|COPY|ADD) .+)", said)
    if not found or found[1].startswith("internal"):
        return ""
    words = _MOUNTS.sub("", found[2]).removeprefix("RUN ")
    text = f"{' '.join(found[1].split()[:-1]) or 'image'}: {' '.join(words.split())}"
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST - 3]}..."


def _works(said: str) -> bool:
    """Say whether a line shows that a stage does something: output of its own, or layers being written."""
    return bool(_STAMP.match(said)) or said.startswith("exporting layers")
