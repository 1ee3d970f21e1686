"""Runs: what was made or failed at one go. Without a night's record, the pauses tell where one ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from modelfarm.site.cell import Cell, is_step
from modelfarm.site.version import DAMAGED, FAILED

PAUSE = 3600.0  # seconds: what was made after a longer pause belongs to another run
_URGENT = (FAILED, DAMAGED)
_QUIET = 3


@dataclass(frozen=True, kw_only=True)
class Line:
    """One variant in a run: where its page is, how it differs from before, and in what it has become worse."""

    state: str
    model: str
    variant: str
    page: str
    words: tuple[str, ...]
    worse: tuple[str, ...] = ()

    def urgency(self) -> int:
        """Return a number by which what needs a look comes first, and steps on the way to others last."""
        return 0 if self.state in _URGENT else 1 if self.worse else _QUIET if is_step(self.variant) else 2

    @property
    def quiet(self) -> bool:
        """Return whether it is a step on the way to others, and all is well with it."""
        return self.urgency() == _QUIET


@dataclass(frozen=True, kw_only=True)
class Run:
    """What happened between two times, in seconds since the epoch; what needs a look comes first."""

    began: float
    ended: float
    note: str
    lines: tuple[Line, ...]


def last_run(cells: Iterable[Cell], after: float = 0.0) -> Run | None:
    """Return the newest events that no pause divides, of those after a time; None where there is none."""
    found = sorted(((event, cell) for cell in cells for event in cell.events if event.when > after),
                   key=lambda pair: -pair[0].when)
    if not found:
        return None
    times = [event.when for event, _ in found]
    last = next((index for index in range(1, len(times)) if times[index - 1] - times[index] > PAUSE), len(times))
    lines = [Line(state=event.state, model=cell.model, variant=cell.variant, page=event.page, words=event.words,
                  worse=event.worse) for event, cell in found[:last]]
    return Run(began=times[last - 1], ended=times[0], note="", lines=tuple(sorted(lines, key=Line.urgency)))
