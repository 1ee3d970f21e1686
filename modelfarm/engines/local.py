"""The local engine: jobs in this process, one after the other or a few at a time."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelfarm.build import Builder, Built
from modelfarm.console import Console, Recorder
from modelfarm.errors import FarmError, Interrupted
from modelfarm.job import Job

if TYPE_CHECKING:
    from concurrent.futures import Future


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a job, or of a model that led to none.

    `built`, or the `error` that stopped it, or the name of the job that it had to start from, which failed.
    """

    name: str
    built: Built | None = None
    error: FarmError | None = None
    waited_for: str = ""


@dataclass(frozen=True, kw_only=True)
class LocalEngine:
    """Runs up to `workers` jobs at a time; the output of each stays together."""

    workers: int
    builder: Callable[[Callable[[], bool]], Builder]

    def run(self, jobs: Sequence[Job], console: Console) -> list[Outcome]:
        """Run all jobs, and before them those that they start from; return the outcomes in order.

        A failed job stops only those that start from it. Raises Interrupted on Ctrl-C, after every running job has
        ended.
        """
        ordered = list({job.key: job for last in jobs for job in _line(last)}.values())
        if self.workers == 1 or len(ordered) == 1:
            return self._serial(ordered, console)
        return self._parallel(ordered, console)

    def _serial(self, jobs: Sequence[Job], console: Console) -> list[Outcome]:
        done: dict[str, Outcome] = {}
        for job in jobs:
            done[job.key] = _blocked(job, done) or self._one(job, self.builder(lambda: False), console)
        return list(done.values())

    def _parallel(self, jobs: Sequence[Job], console: Console) -> list[Outcome]:
        from concurrent.futures import ThreadPoolExecutor

        stop = threading.Event()
        builder = self.builder(stop.is_set)
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: dict[str, Future[Outcome]] = {}
            for job in jobs:  # what a job starts from stands before it, so no worker waits for one that never starts
                earlier = waiting.get(job.origin.key) if job.origin else None
                waiting[job.key] = pool.submit(self._aside, job, earlier, builder, console)
            try:
                return [future.result() for future in waiting.values()]
            except BaseException:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _aside(self, job: Job, earlier: Future[Outcome] | None, builder: Builder, console: Console) -> Outcome:
        """Run a job with its output kept back, and print it in one piece."""
        if job.origin and earlier and (blocked := _blocked(job, {job.origin.key: earlier.result()})):
            return blocked
        recorder = Recorder()
        try:
            return self._one(job, builder, recorder)
        finally:
            console.lines(recorder.kept)

    def _one(self, job: Job, builder: Builder, console: Console) -> Outcome:
        if found := builder.find(job):
            return Outcome(name=job.name, built=found)
        with console.section(f"{job.name} {job.key[:16]} in {job.runner}"):
            try:
                return Outcome(name=job.name, built=builder.build(job, console))
            except Interrupted:
                raise
            except FarmError as error:
                return Outcome(name=job.name, error=error)
            except Exception as error:  # a fault of the farm's own must not end the other jobs
                trace = "".join(traceback.format_exception(error)).rstrip()
                return Outcome(name=job.name, error=FarmError(trace, remedy="please report this, with what is above"))


def _line(job: Job) -> Iterator[Job]:
    """Yield what a job starts from, then the job."""
    if job.origin:
        yield from _line(job.origin)
    yield job


def _blocked(job: Job, done: Mapping[str, Outcome]) -> Outcome | None:
    """Return the outcome of a job whose origin failed, None where it can start."""
    if job.origin is None or done[job.origin.key].built:
        return None
    return Outcome(name=job.name, waited_for=job.origin.name)
