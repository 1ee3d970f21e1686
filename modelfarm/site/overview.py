"""The overview: what the index says, from the cells of all variants and the records of nights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelfarm.night import STATES, Night
from modelfarm.site.cell import Cell
from modelfarm.site.pages import counted
from modelfarm.site.record import moment, night_run, overlaid
from modelfarm.site.run import Run, last_run
from modelfarm.site.version import DAMAGED, FAILED

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


def overview(cells: Sequence[Cell], nights: Sequence[Night]) -> dict[str, Any]:
    """Return what the template of the index is given; nights come newest first."""
    shown = overlaid(cells, nights[0]) if nights else cells
    ordered = sorted(shown, key=lambda cell: (cell.model, cell.variant))
    models: dict[str, dict[str, Cell]] = {}
    for cell in ordered:
        models.setdefault(cell.model, {})[cell.variant] = cell
    totals = counted((cell.state for cell in ordered), list(MEANINGS))
    failures = sorted((cell for cell in ordered if cell.state in (FAILED, DAMAGED)), key=lambda cell: -cell.when)
    return {"cells": ordered, "models": models, "variants": sorted({cell.variant for cell in ordered}),
            "totals": totals, "attention": len(failures), "failures": failures,
            "run": _run(cells, nights), "nights": nights, "night_states": STATES,
            "meanings": {state: words for state, words in MEANINGS.items() if state in totals},
            "listed": _LISTED, "explained": _EXPLAINED}


def _run(cells: Sequence[Cell], nights: Sequence[Night]) -> Run | None:
    """Return the last night, or what was made since, where that is newer."""
    if not nights:
        return last_run(cells)
    before = next((night for night in nights[1:] if night.whole), None)
    since = last_run(cells, after=moment(nights[0].ended) + 1)  # a night's times are whole seconds
    return since or night_run(nights[0], before, cells)
