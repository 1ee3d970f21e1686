"""The board: how a run goes, live on a terminal, in contiguous blocks elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from modelfarm.console import Console, Step
from modelfarm.engines.engine import Outcome
from modelfarm.job import Job
from modelfarm.phrase import duration


class Blocks:
    """Prints the output of each job in one piece when it has ended, which CI services fold."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def begin(self, cached: int, waiting: Sequence[Job]) -> None:
        """Say nothing: what is there is in the table at the end."""

    def started(self, job: Job) -> None:
        """Say nothing until the job has ended."""

    def ended(self, outcome: Outcome) -> None:
        """Print the job's output."""
        self._console.lines(outcome.lines)

    def close(self) -> None:
        """Nothing is drawn that would have to go."""


class Board:
    """Shows what runs, what is done, cached and failed, and the time left; prints one line for each job that ends.

    What a failed job said is printed whole. `known` are the seconds that jobs took at other times, by name.
    """

    def __init__(self, console: Console, known: Mapping[str, float]) -> None:
        self._console, self._known = console, known
        self._cached = self._done = self._failed = 0
        self._waiting: dict[str, Job] = {}
        self._running: dict[str, tuple[Step, float]] = {}
        self._spent: list[tuple[str, float]] = []
        self._began = time.monotonic()
        self._summary: Step | None = None

    def begin(self, cached: int, waiting: Sequence[Job]) -> None:
        """Draw the first line, where there is something to do."""
        self._cached, self._waiting = cached, {job.key: job for job in waiting}
        if waiting:
            self._summary = self._console.begin("")
            self._draw()

    def started(self, job: Job) -> None:
        """Add a line for a running job."""
        self._waiting.pop(job.key, None)
        self._running[job.key] = self._console.begin(f"  {job.name}"), time.monotonic()
        self._draw()

    def ended(self, outcome: Outcome) -> None:
        """Take the job's line away, and print what became of it."""
        assert outcome.job
        self._waiting.pop(outcome.job.key, None)
        if shown := self._running.pop(outcome.job.key, None):
            shown[0].drop()
            self._spent.append((outcome.name, outcome.seconds))
        if outcome.built:
            self._done += 1
        else:
            self._failed += 1
            self._console.lines(outcome.lines)
        mark, text = ("+", "done") if outcome.built else ("x", _why(outcome))
        self._console.line(f"  {mark} {outcome.name:<44} {text:<15} {outcome.seconds:7.2f} s"
                           + (f" on {outcome.worker}" if outcome.worker else ""))
        self._draw()

    def close(self) -> None:
        """Take the board away."""
        for step, _ in self._running.values():
            step.drop()
        if self._summary:
            self._summary.drop()

    def _draw(self) -> None:
        if self._summary:
            ended = self._done + self._failed
            self._summary.say(self.text())
            self._summary.progress(ended, ended + len(self._waiting) + len(self._running))

    def text(self) -> str:
        """Return the summary in words."""
        left = self.left()
        counts = {"running": len(self._running), "waiting": len(self._waiting), "done": self._done,
                  "cached": self._cached, "failed": self._failed}
        return ", ".join(f"{number} {word}" for word, number in counts.items()) + (
            f"; about {duration(left)} left" if left is not None else "")

    def left(self) -> float | None:
        """Estimate the seconds left; None where nothing is known yet.

        A job is expected to take what it took another time, or the mean of those that have ended, and the rest to go
        as many at a time as until now.
        """
        known = [*self._known.values()] if not self._spent else [seconds for _, seconds in self._spent]
        if not known:
            return None
        now, mean = time.monotonic(), sum(known) / len(known)
        waiting = sum(self._known.get(job.name, mean) for job in self._waiting.values())
        running = [now - began for _, began in self._running.values()]
        # What has run for longer than expected is expected to end soon.
        rest = waiting + sum(max(mean - spent, mean / 10) for spent in running)
        worked = sum(seconds for _, seconds in self._spent) + sum(running)
        return rest / max(worked / max(now - self._began, 1e-3), 1.0)


def _why(outcome: Outcome) -> str:
    if outcome.waited_for:
        return "not started"
    return f"failed ({outcome.error.code})" if outcome.error else "failed"
