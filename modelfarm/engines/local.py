"""The local engine: jobs in this process, one after the other or a few at a time."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modelfarm.build import Builder, Built
from modelfarm.console import Console, Recorder
from modelfarm.errors import FarmError, Interrupted
from modelfarm.job import Job


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a job, or of a model that led to none: `built`, or the `error` that stopped it."""

    name: str
    built: Built | None = None
    error: FarmError | None = None


@dataclass(frozen=True, kw_only=True)
class LocalEngine:
    """Runs up to `workers` jobs at a time; the output of each stays together."""

    workers: int
    builder: Callable[[Callable[[], bool]], Builder]

    def run(self, jobs: Sequence[Job], console: Console) -> list[Outcome]:
        """Run all jobs and return their outcomes in order; a failed one does not stop the others.

        Raises Interrupted on Ctrl-C, after every running job has ended.
        """
        if self.workers == 1 or len(jobs) == 1:
            return [self._one(job, self.builder(lambda: False), console) for job in jobs]
        return self._parallel(jobs, console)

    def _parallel(self, jobs: Sequence[Job], console: Console) -> list[Outcome]:
        from concurrent.futures import ThreadPoolExecutor

        stop = threading.Event()
        builder = self.builder(stop.is_set)
        with ThreadPoolExecutor(self.workers) as pool:
            waiting = [pool.submit(self._aside, job, builder, console) for job in jobs]
            try:
                return [future.result() for future in waiting]
            except BaseException:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _aside(self, job: Job, builder: Builder, console: Console) -> Outcome:
        """Run a job with its output kept back, and print it in one piece."""
        recorder = Recorder()
        try:
            return self._one(job, builder, recorder)
        finally:
            console.lines(recorder.kept)

    def _one(self, job: Job, builder: Builder, console: Console) -> Outcome:
        if found := builder.find(job):
            return Outcome(name=job.name, built=found)
        with console.section(f"{job.name} {job.key[:16]}"):
            try:
                return Outcome(name=job.name, built=builder.build(job, console))
            except Interrupted:
                raise
            except FarmError as error:
                return Outcome(name=job.name, error=error)
            except Exception as error:  # a fault of the farm's own must not end the other jobs
                trace = "".join(traceback.format_exception(error)).rstrip()
                return Outcome(name=job.name, error=FarmError(trace, remedy="please report this, with what is above"))
