"""The engine's interface, and what all engines do with one job."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from modelfarm.build import Builder, Built
from modelfarm.console import Console
from modelfarm.errors import ConversionError, FarmError, Interrupted
from modelfarm.job import Job

AROUND = 1800  # seconds that a job may take beside its toolchain's own limit: an installation, waiting, the gates


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a job, or of a model that led to none.

    `built`, or the `error` that stopped it, or the name of the job that it had to start from, which failed. `lines`
    are its output where it was kept back, `seconds` what it took, `worker` who did it where that was another process.
    """

    name: str
    job: Job | None = None
    built: Built | None = None
    error: FarmError | None = None
    waited_for: str = ""
    lines: tuple[str, ...] = ()
    seconds: float = 0.0
    worker: str = ""


def code_of(outcomes: Iterable[Outcome]) -> int:
    """Return the exit code: 0, or that of the first failure."""
    return next((outcome.error.code for outcome in outcomes if outcome.error), 0)


class Engine(Protocol):
    """What runs jobs, several at a time."""

    def start(self, job: Job) -> bool:
        """Start a job, whose origin is in the store; return False where there is no room for it now.

        Raises MachineError where nothing that is there could ever run it.
        """

    def ended(self) -> list[Outcome]:
        """Wait until one of the running jobs has ended, and return those that have."""

    def stop(self) -> None:
        """End what runs, and return when it has ended; also where nothing runs."""


def perform(job: Job, builder: Callable[[Callable[[], bool]], Builder], cancelled: Callable[[], bool],
            console: Console) -> Outcome:
    """Build one job and return what became of it; `cancelled` ends it early, as its deadline does.

    Raises Interrupted where it was cancelled.
    """
    began = time.monotonic()
    deadline = began + job.seconds + AROUND
    made = builder(lambda: cancelled() or time.monotonic() > deadline)
    built: Built | None = None
    error: FarmError | None = None
    with console.section(f"{job.name} {job.key[:16]} in {job.runner}"):
        try:
            built = made.build(job, console)
        except Interrupted:
            if cancelled():
                raise
            error = ConversionError(f"it did not end within {job.seconds + AROUND} s, its deadline",
                                    remedy="see what it waited for in its output; `seconds` in the recipe moves it")
        except FarmError as failure:
            error = failure
        except Exception as fault:  # a fault of the farm's own must not end the other jobs
            trace = "".join(traceback.format_exception(fault)).rstrip()
            error = FarmError(trace, remedy="please report this, with what is above")
    return Outcome(name=job.name, job=job, built=built, error=error, seconds=time.monotonic() - began)
