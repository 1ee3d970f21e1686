"""The graph: jobs and what they start from, run by an engine as each becomes ready."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from modelfarm.build import Built
from modelfarm.engines.engine import Engine, Outcome
from modelfarm.errors import FarmError, MachineError
from modelfarm.job import Job


class Watch(Protocol):
    """Who is told how a run goes."""

    def begin(self, cached: int, waiting: Sequence[Job]) -> None:
        """Take note of what there is to do."""

    def started(self, job: Job) -> None:
        """Take note that a job runs."""

    def ended(self, outcome: Outcome) -> None:
        """Take note of what became of a job; also of one that could not be started."""


class Graph:
    """Jobs, and before them those that they start from, each once."""

    def __init__(self, jobs: Sequence[Job], find: Callable[[Job], Built | None]) -> None:
        """Sort jobs by what the store has; what only feeds jobs that are there already is left alone."""
        self._outcomes: dict[str, Outcome | None] = {}
        self._waiting: list[Job] = []
        found: dict[str, Built | None] = {}

        def there(job: Job) -> Built | None:
            if job.key not in found:
                found[job.key] = find(job)
            return found[job.key]

        for job in _needed(jobs, there):
            built = there(job)
            self._outcomes[job.key] = Outcome(name=job.name, job=job, built=built) if built else None
            if not built:
                self._waiting.append(job)
        feeding = {job.origin.key for job in self._waiting if job.origin}
        self._waiting.sort(key=lambda job: job.key not in feeding)  # first what others wait for

    def run(self, engine: Engine, watch: Watch) -> list[Outcome]:
        """Run what is not there yet; return the outcomes in the order of the jobs.

        A failed job stops only those that start from it. On any exception every running job is ended before it goes
        on, as with Ctrl-C.
        """
        watch.begin(sum(1 for outcome in self._outcomes.values() if outcome), self._waiting)
        running = 0
        try:
            while True:
                running += self._start(engine, watch)
                if not running:
                    break
                for outcome in engine.ended():
                    running -= 1
                    self._settle(outcome, watch)
        except BaseException:
            engine.stop()
            raise
        for job in self._waiting:  # an engine that has no room although nothing runs has lost all its machines
            self._settle(Outcome(name=job.name, job=job, error=MachineError("no machine was left to run it")), watch)
        return [outcome for outcome in self._outcomes.values() if outcome]

    def _start(self, engine: Engine, watch: Watch) -> int:
        """Start what is ready and has room, and settle what cannot start; return how many were started."""
        started, waiting = 0, self._waiting
        self._waiting = []
        for job in waiting:
            match self._try(job, engine):
                case Outcome() as refused:
                    self._settle(refused, watch)
                case True:
                    watch.started(job)
                    started += 1
                case _:
                    self._waiting.append(job)
        return started

    def _try(self, job: Job, engine: Engine) -> Outcome | bool:
        """Start a job; return whether it runs, or its outcome where it never will."""
        if job.origin and job.origin.key in self._outcomes:
            origin = self._outcomes[job.origin.key]
            if origin is None:
                return False
            if not origin.built:
                return Outcome(name=job.name, job=job, waited_for=job.origin.name)
        try:
            return engine.start(job)
        except FarmError as error:
            return Outcome(name=job.name, job=job, error=error)

    def _settle(self, outcome: Outcome, watch: Watch) -> None:
        assert outcome.job
        self._outcomes[outcome.job.key] = outcome
        watch.ended(outcome)


def _needed(jobs: Sequence[Job], find: Callable[[Job], Built | None]) -> list[Job]:
    """Return the jobs and their origins, each once and after what it starts from."""
    needed: dict[str, Job] = {}
    for last in jobs:
        there = find(last)
        needed |= {job.key: job for job in last.line
                   if job.key not in needed and (job is last or not there or find(job))}
    return list(needed.values())
