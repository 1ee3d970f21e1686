"""The local engine: jobs in threads of this process, each with its toolchain in a process of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import replace

from modelfarm.build import Builder
from modelfarm.console import Console, Recorder
from modelfarm.engines.engine import Outcome, perform
from modelfarm.engines.slots import Need, Slots
from modelfarm.errors import Interrupted
from modelfarm.job import Job


class LocalEngine:
    """Runs as many jobs at a time as there are slots.

    With one at a time, a job's output goes straight to `console`; else it is kept for its outcome.
    """

    def __init__(self, *, slots: Slots, builder: Callable[[Callable[[], bool]], Builder],
                 console: Console | None = None) -> None:
        self._slots, self._builder, self._console = slots, builder, console
        self._ended: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._threads: dict[str, threading.Thread] = {}
        self._stop = threading.Event()

    def start(self, job: Job) -> bool:
        """Start a job in a thread; return False where no slot is free for it."""
        need = Need.of(job.target)
        if not self._slots.take(need):
            return False
        thread = threading.Thread(target=self._work, args=(job, need), name=job.name, daemon=True)
        self._threads[job.key] = thread
        thread.start()
        return True

    def ended(self) -> list[Outcome]:
        """Wait for a job that has ended."""
        outcomes = [self._one(self._ended.get())]
        while not self._ended.empty():
            outcomes.append(self._one(self._ended.get()))
        return outcomes

    def stop(self) -> None:
        """End the running toolchains, and wait for their threads."""
        self._stop.set()
        for thread in list(self._threads.values()):
            thread.join()

    def _one(self, ended: Outcome | BaseException) -> Outcome:
        if isinstance(ended, BaseException):
            raise ended
        assert ended.job
        del self._threads[ended.job.key]
        return ended

    def _work(self, job: Job, need: Need) -> None:
        console = Recorder() if self._console is None or self._slots.several else self._console
        ended: Outcome | BaseException
        try:
            outcome = perform(job, self._builder, self._stop.is_set, console)
            ended = replace(outcome, lines=tuple(console.kept)) if isinstance(console, Recorder) else outcome
        except Interrupted as interrupted:
            ended = interrupted
        except BaseException as fault:
            ended = fault
        self._slots.give(need)
        self._ended.put(ended)
