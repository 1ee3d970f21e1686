"""Slots: how many jobs a machine takes at a time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from modelfarm import machine
from modelfarm.settings import Settings
from modelfarm.target import Target

_CPUS = 2.0  # that a job counts for where its target sets no limit: it converts on one, and measures on all


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a job takes of a machine while it runs: bytes of memory, processors, and whether it wants the GPU."""

    memory: int
    cpus: float
    gpu: bool

    @classmethod
    def of(cls, target: Target) -> Need:
        """Return what a target's jobs take."""
        return cls(memory=target.memory, cpus=target.cpus or _CPUS, gpu=target.device == "gpu")


@dataclass(kw_only=True)
class Slots:
    """What is free of a machine, which has one GPU for its jobs: the one that GPU= names, or the first.

    A job that is larger than the whole machine runs alone, rather than never. `jobs` is how many may run at a time;
    what is None is not looked at.
    """

    memory: int | None = None
    cpus: float | None = None
    jobs: int | None = None
    _running: list[Need] = field(default_factory=list, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def of(cls, settings: Settings, jobs: int | None = None) -> Slots:
        """Return the slots of this machine, or of the share of it that MEMORY= and CPUS= give to jobs.

        Where the user says how many `jobs` run at a time, memory and processors are the user's own affair.
        """
        if jobs:
            return cls(jobs=jobs)
        return cls(memory=settings.memory or machine.memory(), cpus=settings.cpus or machine.cores())

    @property
    def several(self) -> bool:
        """Return whether jobs may run beside each other."""
        return self.jobs != 1

    @property
    def full(self) -> bool:
        """Return whether there is no room for any further job."""
        return self.jobs is not None and len(self._running) >= self.jobs

    def take(self, need: Need) -> bool:
        """Take what a job needs, where it is free."""
        with self._lock:
            if not self._fits(need):
                return False
            self._running.append(need)
            return True

    def give(self, need: Need) -> None:
        """Give back what a job had."""
        with self._lock:
            self._running.remove(need)

    def _fits(self, need: Need) -> bool:
        if not self._running:
            return True
        if need.gpu and any(other.gpu for other in self._running):
            return False
        together = [*self._running, need]
        return ((self.jobs is None or len(together) <= self.jobs)
                and (self.memory is None or sum(each.memory for each in together) <= self.memory)
                and (self.cpus is None or sum(each.cpus for each in together) <= self.cpus))
