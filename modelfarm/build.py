"""The life of one job: find it in the store, or stage, run, verify and publish it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelfarm.artifact import Artifact
from modelfarm.console import Console
from modelfarm.errors import ArtifactError, ConversionError, FarmError, GateError, Interrupted, RecipeError
from modelfarm.job import Job
from modelfarm.phrase import shown
from modelfarm.runners import Runner
from modelfarm.runners.runner import Events
from modelfarm.store import Stage, Store
from modelfarm.target import Target

if TYPE_CHECKING:
    from modelfarm.gates.gate import GateResult

LOG = "convert.log"


@dataclass(frozen=True, kw_only=True)
class Built:
    """A published artifact, and whether it was there already."""

    job: Job
    artifact: Artifact
    cached: bool


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Builds jobs into one store, each with its target's runner; `cancelled` ends a running one early."""

    store: Store
    runners: Callable[[Target], Runner]
    cancelled: Callable[[], bool] = lambda: False

    def find(self, job: Job) -> Built | None:
        """Return the job's artifact where the store has it whole, and point `latest` to it."""
        try:
            artifact = self.store.find(job.recipe.name, job.variant, job.key)
            return self._served(job, artifact) if artifact else None
        except ArtifactError:
            return None  # damaged, or collected meanwhile: `build` sees to it under the lock

    def build(self, job: Job, console: Console) -> Built:
        """Return the job's artifact, made now unless the store has it.

        Raises ConversionError, GateError or MachineError; what failed is kept under `failed/`.
        """
        origin = self._origin(job, console)
        with self.store.lock(job.key, waiting=lambda who: console.note(f"waiting for {who}, which makes the same"),
                             cancelled=self.cancelled):
            if artifact := self._whole(job, console):
                return self._served(job, artifact)
            self.runners(job.target).prepare(job.target, console, self._go_on)
            with self.store.stage() as stage:
                return self._make(job, origin, stage, console)

    def _origin(self, job: Job, console: Console) -> Artifact | None:
        """Return the artifact that a job starts from, None where it starts from the source."""
        if job.origin is None:
            return None
        return (self.find(job.origin) or self.build(job.origin, console)).artifact

    def _served(self, job: Job, artifact: Artifact) -> Built:
        self.store.point_latest(artifact)
        return Built(job=job, artifact=artifact, cached=True)

    def _whole(self, job: Job, console: Console) -> Artifact | None:
        """Return the artifact that is there; a damaged one is moved away."""
        try:
            return self.store.find(job.recipe.name, job.variant, job.key)
        except ArtifactError as error:
            kept = self.store.discard_damaged(job.recipe.name, job.variant, job.key, error.message)
            console.note(f"{error.message}; moved to {kept}, building it anew")
            return None

    def _make(self, job: Job, origin: Artifact | None, stage: Stage, console: Console) -> Built:
        # Imported here: only a job that is really made needs numpy and its friends.
        from modelfarm.trial import Trial

        trial = Trial(job=job, origin=origin, folder=stage.folder, scratch=stage.scratch, digests=self.store.digests,
                      shell=self.runners(job.target).script(job.target))
        try:
            with console.step("prepare the samples"):
                trial.prepare()
            for note in trial.notes:
                console.note(note)
            self._run(job, stage, console)
            with console.step("check the gates"):
                verdict = trial.judge(self.store.latest(job.recipe.name, job.variant))
            if failure := verdict.failure:
                raise _stopped(failure)
            with console.step("publish"):
                artifact = self.store.publish(stage, job.recipe.name, job.variant, job.key)
        except (ConversionError, GateError, RecipeError) as error:
            raise self._kept(job, stage, error) from error
        return Built(job=job, artifact=artifact, cached=False)

    def _run(self, job: Job, stage: Stage, console: Console) -> None:
        """Run the converter and show its steps; raises ConversionError where it gave no result in its time."""
        log = stage.folder / LOG
        log.touch()
        events = Events(stage.scratch / "out" / "events.jsonl", console)
        _Warmup().start()

        def tick() -> None:
            events.poll()
            self._go_on()

        try:
            ended = self.runners(job.target).run(job.target, stage.scratch, log, tick, job.seconds)
        finally:
            events.close()
        # Where a limit ended the job or a part of it, a result would only tell of a signal.
        if ended.timed_out or ended.reason or not (stage.scratch / "out" / "result.json").is_file():
            said = [line for line in log.read_text(errors="replace").splitlines() if not line.startswith("$ ")]
            last = "".join(f"\n    {line}" for line in said[-5:])
            spent = "," if ended.timed_out else f" after {ended.seconds:.0f} s"
            raise ConversionError(f"the toolchain {ended.why}{spent} and left no result{last}")

    def _go_on(self) -> None:
        if self.cancelled():
            raise Interrupted("stopped", remedy="the next run starts this job again")

    def _kept(self, job: Job, stage: Stage, error: FarmError) -> FarmError:
        """Keep what failed for reading, and say where."""
        for name in ("job.json", "out/result.json"):
            if (stage.scratch / name).is_file():
                shutil.copy(stage.scratch / name, stage.folder)
        kept = self.store.fail(stage, job.recipe.name, job.variant, job.key, str(error))
        remedy = "; ".join(part for part in (error.remedy, f"everything is kept in {shown(kept)}") if part)
        return type(error)(error.message, remedy=remedy)


def _stopped(gate: GateResult) -> GateError:
    reasons = "".join(f"\n    {reason}" for reason in gate.reasons)
    return GateError(f"gate {gate.name}: {gate.summary}{reasons}", remedy="nothing was published")


class _Warmup(threading.Thread):
    """Imports what the gates need while the converter runs on another core."""

    def __init__(self) -> None:
        super().__init__(daemon=True)

    def run(self) -> None:
        import modelfarm.trial  # noqa: F401
        from modelfarm.decoders.nms import warm_up

        warm_up()
