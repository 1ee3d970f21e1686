"""Runs: what was made, failed or was left alone at one go, from a night's record or, without one, from the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from modelfarm.site.cell import Cell, Event
from modelfarm.site.version import DAMAGED, FAILED

PAUSE = 3600.0  # seconds: what was made after a longer pause belongs to another run
_FIRST = (FAILED, DAMAGED)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One line of what is new: a variant's event."""

    cell: Cell
    event: Event


@dataclass(frozen=True, kw_only=True)
class Run:
    """What happened between two times, in seconds since the epoch; what is bad comes first."""

    began: float
    ended: float
    changes: tuple[Change, ...]


def last_run(cells: Iterable[Cell]) -> Run | None:
    """Return the newest events that no pause divides; None where there is none."""
    found = sorted((Change(cell=cell, event=event) for cell in cells for event in cell.events),
                   key=attrgetter("event.when"), reverse=True)
    if not found:
        return None
    last = next((index for index in range(1, len(found))
                 if found[index - 1].event.when - found[index].event.when > PAUSE), len(found))
    return Run(began=found[last - 1].event.when, ended=found[0].event.when, changes=_ordered(found[:last]))


def _ordered(changes: Sequence[Change]) -> tuple[Change, ...]:
    return tuple(sorted(changes, key=lambda change: (change.event.state not in _FIRST, -change.event.when)))
