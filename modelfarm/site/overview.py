"""The overview: what the index says, from the cells of all variants and the records of nights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelfarm.site.cell import Cell
from modelfarm.site.pages import counted
from modelfarm.site.run import Run, last_run
from modelfarm.site.version import DAMAGED, FAILED
from modelfarm.store import Store

MEANINGS = {
    "verified": "passed every gate against its source",
    "built": "whole and with the right signature; this machine could not run it",
    "cached": "was there already, unchanged",
    "failed": "was not published; what was made is kept, with its log",
    "skipped": "was not tried, for a reason",
    "damaged": "its files are not as its manifest says",
}
_LISTED = 40  # changes before the rest folds away
_EXPLAINED = 25  # failures with their message and log before the rest is a list


def overview(cells: Sequence[Cell], store: Store) -> dict[str, Any]:
    """Return what the template of the index is given."""
    ordered = sorted(cells, key=lambda cell: (cell.model, cell.variant))
    models: dict[str, dict[str, Cell]] = {}
    for cell in ordered:
        models.setdefault(cell.model, {})[cell.variant] = cell
    totals = counted((cell.state for cell in ordered), list(MEANINGS))
    failures = sorted((cell for cell in ordered if cell.state in (FAILED, DAMAGED)), key=lambda cell: -cell.when)
    return {"cells": ordered, "models": models, "variants": sorted({cell.variant for cell in ordered}),
            "totals": totals, "attention": len(failures), "failures": failures,
            "run": _shown(last_run(ordered)), "nights": [], "night_states": [],
            "meanings": {state: words for state, words in MEANINGS.items() if state in totals},
            "listed": _LISTED, "explained": _EXPLAINED}


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of what changed: a variant, where its page is, and how it differs."""

    state: str
    model: str
    variant: str
    page: str
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The last run as the index shows it."""

    began: float
    ended: float
    note: str
    changes: tuple[Line, ...]


def _shown(run: Run | None) -> Shown | None:
    if run is None:
        return None
    lines = tuple(Line(state=change.event.state, model=change.cell.model, variant=change.cell.variant,
                       page=change.event.page, words=change.event.words) for change in run.changes)
    return Shown(began=run.began, ended=run.ended, note="", changes=lines)
