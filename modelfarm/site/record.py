"""Records: what the newest nights say of variants, laid over what the store says."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice

from modelfarm.night import STATES, Night, Row, nights
from modelfarm.phrase import size
from modelfarm.site.cell import Cell
from modelfarm.site.plain import figure, mapping, number
from modelfarm.site.run import Line, Run
from modelfarm.store import Store

LISTED = 30  # nights in the index's table
_MADE = ("verified", "built")


def newest_nights(store: Store) -> list[Night]:
    """Return the newest nights, newest first, without those whose values are not of their kinds."""
    return list(islice(filter(_sound, nights(store)), LISTED))


def _sound(night: Night) -> bool:
    texts = [night.began, night.ended, night.engine, night.regression]
    texts += [value for row in night.rows for value in (row.model, row.variant, row.state, row.reason, row.version,
                                                        row.waited_for)]
    words = [word for row in night.rows for word in (*row.changes, *row.regressions)]
    return (all(isinstance(text, str) for text in (*texts, *words)) and isinstance(night.seconds, int | float)
            and type(night.code) is int and all(row.state in STATES for row in night.rows))


def moment(text: str) -> float:
    """Return a night's time in seconds since the epoch; 0 where it is none."""
    with suppress(ValueError):
        return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))
    return 0.0


def overlaid(cells: Sequence[Cell], night: Night) -> list[Cell]:
    """Return the cells as a night left them: cached, skipped, or failed before there was anything to keep.

    What the store holds of a later time counts as it is.
    """
    ended, known = moment(night.ended), {cell.name: cell for cell in cells}
    for row in night.rows:
        cell = known.get(row.name)
        if cell is None:
            known[row.name] = _alone(row, ended)
        elif cell.when <= ended + 1:  # a night's times are whole seconds
            known[row.name] = _stood(cell, row, ended)
    return list(known.values())


def _alone(row: Row, when: float) -> Cell:
    """Return the cell of a variant of which the store keeps nothing."""
    return Cell(model=row.model, variant=row.variant, state=row.state, version=row.version, page="", when=when,
                reason=_reason(row), since="", since_page="", size="", latency="", worst="", random_weights=False,
                tail="", events=(), waited_for=row.waited_for)


def _stood(cell: Cell, row: Row, when: float) -> Cell:
    if row.state == "cached" and cell.state != "damaged":
        served = next((event for event in cell.events if event.version == row.version), None)
        # What failed since is of other inputs than the night's; the artifact that it found is the one that counts.
        return replace(cell, state="cached", reason="", since="", since_page="", tail="", version=row.version,
                       page=served.page if served else cell.since_page or cell.page)
    if row.state == "skipped" or (row.state == "failed" and row.version != cell.version):
        good = cell.state in _MADE
        return replace(cell, state=row.state, reason=_reason(row), when=when, tail="", waited_for=row.waited_for,
                       since=cell.version if good else cell.since, since_page=cell.page if good else cell.since_page)
    return cell


def _reason(row: Row) -> str:
    return f"{row.reason}\n  -> {row.remedy}" if row.remedy else row.reason


def night_run(night: Night, before: Night | None, cells: Sequence[Cell]) -> Run:
    """Return what changed in a night: all but what it found there as it was in the night before."""
    earlier = {row.name: row for row in before.rows} if before else {}
    pages = {cell.name: cell for cell in cells}
    lines = [line for row in night.rows if (line := _line(row, earlier, pages.get(row.name)))]
    counts = [f"{night.totals[state]} {words}" for state, words in
              (("cached", "were there already"), ("skipped", "skipped")) if night.totals[state]]
    minutes = night.seconds / 60
    spent = f"{minutes:.0f} minutes" if minutes >= 2 else f"{night.seconds:.0f} seconds"
    words = [f"the night took {spent}", *counts, *([] if night.complete else ["it was interrupted"]),
             *([f"regressions by REGRESSION=\"{night.regression}\""] if night.regression else [])]
    return Run(began=moment(night.began), ended=moment(night.ended), note="; ".join(words),
               lines=tuple(sorted(lines, key=Line.urgency)))


def _line(row: Row, earlier: Mapping[str, Row], cell: Cell | None) -> Line | None:
    was = earlier.get(row.name)
    words = list(_words(row, was))
    if row.state in ("cached", "skipped") and not words:
        return None
    event = next((event for event in cell.events if event.version == row.version), None) if cell else None
    return Line(state=row.state, model=row.model, variant=row.variant, page=event.page if event else "",
                words=tuple(words), worse=tuple(row.regressions))


def _words(row: Row, was: Row | None) -> Iterator[str]:
    """Yield what is to be said of a row beside that of the night before."""
    if row.state in ("failed", "skipped"):
        if row.state == "failed" or (was and was.state != "skipped"):
            yield row.reason.partition("\n")[0]
        return
    if was and was.state in ("failed", "skipped"):
        yield f"good again after it {'failed' if was.state == 'failed' else 'was skipped'}"
    if row.state in _MADE:
        yield from (change for change in row.changes if change not in row.regressions)
        if not row.since:
            yield ", ".join(["the first version", *_measured(row)])


def _measured(row: Row) -> Iterator[str]:
    """Yield the figures of a row, as far as they are of their kinds: a night's record may be anything."""
    if isinstance(row.size, int):
        yield size(row.size)
    median = number(mapping(row.latency).get("median_ms"))
    if median is not None:
        yield f"{figure(median)} ms"
