"""The overview: what the index says, from the cells of all variants and the records of nights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelfarm.errors import FarmError
from modelfarm.night import STATES, Night
from modelfarm.site.cell import Cell, is_step
from modelfarm.site.pages import counted
from modelfarm.site.record import moment, night_run, overlaid
from modelfarm.site.run import Run, last_run
from modelfarm.site.trouble import find_troubles

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
    troubles = find_troubles(ordered, nights[0] if nights else None)
    variants = sorted({cell.variant for cell in ordered}, key=lambda name: (is_step(name), name))
    return {"cells": ordered, "models": models, "variants": variants,
            "totals": totals, "troubles": troubles,
            "run": _run(cells, nights), "nights": [(night, _ended(night)) for night in nights], "night_states": STATES,
            "meanings": {state: words for state, words in MEANINGS.items() if state in totals},
            "listed": _LISTED, "explained": _EXPLAINED}


def _ended(night: Night) -> str:
    """Return how a night ended, in words: a regression has the exit code of a gate, and no artifact of it failed."""
    if not night.code:
        words = "all well"
    elif night.regressed and not night.totals["failed"]:
        words = f"{night.code}: something got worse"
    else:
        meanings = {kind.code: kind.meaning for kind in FarmError.__subclasses__()}
        words = f"{night.code}: {meanings.get(night.code, FarmError.meaning)}"
    return words if night.complete else f"{words}; interrupted"


def _run(cells: Sequence[Cell], nights: Sequence[Night]) -> Run | None:
    """Return the last night, or what was made since, where that is newer."""
    if not nights:
        return last_run(cells)
    before = next((night for night in nights[1:] if night.whole), None)
    since = last_run(cells, after=moment(nights[0].ended) + 1)  # a night's times are whole seconds
    return since or night_run(nights[0], before, cells)
