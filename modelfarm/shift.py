"""The night shift: the whole matrix made, as far as it is not there, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from modelfarm.artifact import FAILED, VERIFIED, VERSION_DIGITS, Artifact
from modelfarm.board import Blocks, Board
from modelfarm.changes import Change, changes
from modelfarm.console import Console
from modelfarm.engines.engine import Outcome
from modelfarm.errors import ArtifactError, FarmError, GateError, MachineError
from modelfarm.farm import Farm
from modelfarm.job import Job
from modelfarm.night import Night, Row, nights, now, write_night
from modelfarm.plan import Request, parse_models
from modelfarm.recipe import recipe_file
from modelfarm.settings import Thresholds
from modelfarm.summary import print_night

_REMEMBERED = 3  # nights whose figures and durations are looked at


def work(farm: Farm, models: str, request: Request, console: Console) -> int:
    """Make every variant of models, or of all of them, and print and keep what became of each; return the exit code.

    It is 0 where nothing failed or regressed, else that of the first failure; what was skipped counts under STRICT=1.
    """
    names = parse_models(models or "all", farm.models())
    for name in names:
        recipe_file(farm.settings.models, name)
    shift = Shift.of(farm)
    began, start = now(), time.monotonic()
    farm.store.sweep()
    jobs, rows = farm.matrix(request, console).plan(names)
    complete = False
    try:
        rows[:0] = shift.run(jobs, console)
        complete = True
    finally:
        order = {name: place for place, name in enumerate(names)}
        rows.sort(key=lambda row: order[row.model])
        night = Night(began=began, ended=now(), seconds=round(time.monotonic() - start, 3),
                      engine=farm.settings.engine, strict=farm.settings.strict, whole=set(names) == set(farm.models()),
                      complete=complete, code=code(rows, strict=farm.settings.strict),
                      regression=farm.settings.thresholds.moved, rows=tuple(rows))
        file = write_night(farm.store, night)
    print_night(night, file, console)
    return night.code


@dataclass(frozen=True, kw_only=True)
class Shift:
    """One night's work: `last` are the rows of the nights before, by key, and `known` what jobs took, by name."""

    farm: Farm
    last: Mapping[str, Row]
    known: Mapping[str, float]

    @classmethod
    def of(cls, farm: Farm) -> Shift:
        """Remember the last nights."""
        rows = [row for night in reversed([*islice(nights(farm.store), _REMEMBERED)]) for row in night.rows]
        return cls(farm=farm, last={row.key: row for row in rows if row.size is not None},
                   known={row.name: row.seconds for row in rows if row.seconds})

    def run(self, jobs: Sequence[Job], console: Console) -> list[Row]:
        """Run jobs, and what they start from; return a row for each."""
        watch = _Watch(self.farm, Board(console, self.known) if console.redraws else Blocks(console))
        try:
            outcomes = self.farm.run(jobs, watch, console, at_a_time=self.farm.settings.jobs)
        finally:
            watch.close()
        return [self._row(outcome, watch.before, outcomes) for outcome in outcomes]

    def _row(self, outcome: Outcome, before: Mapping[str, Artifact | None], outcomes: Sequence[Outcome]) -> Row:
        job = outcome.job
        assert job
        blank = Row(model=job.recipe.name, variant=job.variant, target=job.target.name, state="failed", key=job.key,
                    version=job.key[:VERSION_DIGITS], precision=job.precision, runner=job.runner,
                    seconds=round(outcome.seconds, 3) or None)
        if outcome.built:
            return self._built(blank, outcome, before.get(job.key))
        return self._stopped(blank, outcome, outcomes)

    def _built(self, row: Row, outcome: Outcome, before: Artifact | None) -> Row:
        assert outcome.built
        if outcome.built.cached and not outcome.seconds:
            # What a night before has told of it need not be read again: reports have a line for each sample.
            last = self.last.get(row.key) or figures(row, outcome.built.artifact)
            return replace(last, state="cached", seconds=None, since="", changes=(), regressions=())
        state = "verified" if outcome.built.artifact.verified == VERIFIED else "built"
        row = figures(replace(row, state=state), outcome.built.artifact)
        return compared(row, before, outcome.built.artifact, self.farm.settings.thresholds) if before else row

    def _stopped(self, row: Row, outcome: Outcome, outcomes: Sequence[Outcome]) -> Row:
        """Return the row of a job that failed, or that was not started because another one had."""
        if outcome.waited_for:
            first = next(other for other in outcomes if other.name == outcome.waited_for)
            return replace(row, reason=f"not started: it starts from {outcome.waited_for}, which failed",
                           waited_for=outcome.waited_for,
                           code=first.error.code if first.error else FarmError.code)
        assert outcome.error
        kept = self.farm.store.root / FAILED / row.model / row.variant / row.version
        return replace(row, reason=outcome.error.message, remedy=outcome.error.remedy, code=outcome.error.code,
                       failed=str(kept.relative_to(self.farm.store.root)) if kept.is_dir() else "")


class _Watch:
    """Shows how the run goes, and remembers the last good artifacts of what is about to be made anew."""

    def __init__(self, farm: Farm, shown: Board | Blocks) -> None:
        self._farm, self._shown = farm, shown
        self.before: dict[str, Artifact | None] = {}

    def begin(self, cached: int, waiting: Sequence[Job]) -> None:
        self.before = {job.key: self._farm.store.latest(job.recipe.name, job.variant) for job in waiting}
        self._shown.begin(cached, waiting)

    def started(self, job: Job) -> None:
        self._shown.started(job)

    def ended(self, outcome: Outcome) -> None:
        self._shown.ended(outcome)

    def close(self) -> None:
        self._shown.close()


def figures(row: Row, artifact: Artifact) -> Row:
    """Return a row with the figures of its artifact's report; without them where that is damaged."""
    try:
        smoke: Mapping[str, Any] = artifact.smoke
    except ArtifactError:
        smoke = {}
    agree = next((gate["state"] for gate in smoke.get("gates", ()) if gate["name"] == "predictions"), "")
    count = len(smoke.get("predictions", ()))
    return replace(row, worst=dict(smoke.get("worst", {})), latency=smoke.get("latency"), size=artifact.size,
                   predictions=f"{count} agree" if agree == "passed" else "")


def compared(row: Row, before: Artifact, after: Artifact, thresholds: Thresholds) -> Row:
    """Return a row with what has changed since an earlier artifact."""
    try:
        found: list[Change] = list(changes(before, after, thresholds))
    except ArtifactError:
        return row  # the earlier report is damaged: there is nothing to compare with
    return replace(row, since=before.version, changes=tuple(change.text for change in found),
                   regressions=tuple(change.text for change in found if change.worse))


def code(rows: Sequence[Row], *, strict: bool) -> int:
    """Return the exit code that rows lead to."""
    failed = next((row.code for row in rows if row.state == "failed"), 0)
    regressed = GateError.code if any(row.regressions for row in rows) else 0
    skipped = MachineError.code if strict and any(row.state == "skipped" for row in rows) else 0
    return failed or regressed or skipped
