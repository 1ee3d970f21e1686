"""Troubles: what failed as a reader wants it, each reason once, with all that it stopped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from modelfarm.night import Night
from modelfarm.site.cell import Cell
from modelfarm.site.record import moment
from modelfarm.site.version import DAMAGED, FAILED


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Variants of one model that failed for one reason, `waiting` those that were not started for it."""

    cells: tuple[Cell, ...]
    waiting: tuple[Cell, ...]

    @property
    def served(self) -> list[Cell]:
        """Return those of which an earlier version is still good."""
        return [cell for cell in (*self.cells, *self.waiting) if cell.since]


@dataclass(frozen=True, kw_only=True)
class Troubles:
    """What needs a look, newest first, and failures that the last night did not ask for any more."""

    found: tuple[Trouble, ...]
    past: tuple[Cell, ...]

    @property
    def count(self) -> int:
        """Return how many variants need a look."""
        return sum(len(trouble.cells) + len(trouble.waiting) for trouble in self.found)


def find_troubles(cells: Iterable[Cell], night: Night | None) -> Troubles:
    """Sort the failures among cells that the last night is laid over, where there was one."""
    failed = sorted((cell for cell in cells if cell.state in (FAILED, DAMAGED)), key=lambda cell: -cell.when)
    past = [cell for cell in failed if night and _past(cell, night)]
    names = {cell.name: cell for cell in failed if cell not in past}
    roots = {name: _root(cell, names) for name, cell in names.items()}
    own = [cell for cell in names.values() if roots[cell.name] == cell.name]
    # A sort keeps the order of equals, so that the newest of a group is its first, and the groups stay in its order.
    first = {_reason(cell): place for place, cell in reversed(list(enumerate(own)))}
    grouped = groupby(sorted(own, key=lambda cell: first[_reason(cell)]), key=_reason)
    found = tuple(_trouble(list(group), names, roots) for _, group in grouped)
    return Troubles(found=found, past=tuple(past))


def _trouble(cells: Sequence[Cell], names: Mapping[str, Cell], roots: Mapping[str, str]) -> Trouble:
    ordered = sorted(cells, key=lambda cell: cell.variant)
    mine = {cell.name for cell in cells}
    waiting = [cell for name, cell in names.items() if name not in mine and roots[name] in mine]
    return Trouble(cells=tuple(ordered), waiting=tuple(sorted(waiting, key=lambda cell: cell.variant)))


def _reason(cell: Cell) -> tuple[str, str, str]:
    return cell.model, cell.state, cell.reason


def _root(cell: Cell, names: Mapping[str, Cell]) -> str:
    """Return the name of what failed first on the way to a variant; its own where nothing of that is known."""
    seen, last = {cell.name}, cell
    while last.waited_for in names:
        last = names[last.waited_for]
        if last.name in seen:
            return cell.name  # a record that somebody changed: they wait for each other
        seen.add(last.name)
    return last.name


def _past(cell: Cell, night: Night) -> bool:
    """Return whether a night was about the model of a failure, and had no such variant any more."""
    asked = {row.name for row in night.rows}
    return (cell.model in {row.model for row in night.rows} and cell.name not in asked
            and cell.when <= moment(night.ended) + 1)
