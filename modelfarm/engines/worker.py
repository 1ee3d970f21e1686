"""Workers: the far side of the Dask engine, where a job is built into the store that all share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelfarm.build import Builder
from modelfarm.console import Recorder
from modelfarm.engines.depot import Depot, depot_of
from modelfarm.engines.engine import perform
from modelfarm.engines.offers import Tool
from modelfarm.errors import FarmError, MachineError
from modelfarm.job import Job
from modelfarm.phrase import shown
from modelfarm.runners import Runners
from modelfarm.store import Store

_ATTRIBUTE = "modelfarm"  # of Dask's worker
_ALIVE = ("running", "paused")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a worker tells of a job: it is in the store, or what stopped it; its output, and what it took.

    `store` is where the worker's store is, in the words of its messages.
    """

    error: FarmError | None
    lines: tuple[str, ...]
    seconds: float
    worker: str
    store: str = ""


@dataclass(frozen=True, kw_only=True)
class Site:
    """What a worker works with: the shared store, or its own, its runners, and the folder of its toolchains."""

    name: str
    store: Store
    runners: Runners
    toolchains: Path
    tools: tuple[Tool, ...]
    running: set[str] = field(default_factory=set, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def work(self, job: Job, registry: str, task: str, cancelled: Callable[[], bool]) -> Report:
        """Build a job whose files are in the store, or in a registry; raises Interrupted where it was cancelled."""
        with self._lock:
            self.running.add(task)
        try:
            return self._build(job, depot_of(self.store, registry, cancelled), cancelled)
        finally:
            with self._lock:
                self.running.discard(task)

    def _build(self, job: Job, depot: Depot, cancelled: Callable[[], bool]) -> Report:
        console, began = Recorder(), time.time()
        report = Report(error=None, lines=(), seconds=0.0, worker=self.name, store=shown(self.store.root))
        try:
            own = self._at_home(depot.take(job))
        except FarmError as error:
            return replace(report, error=error)
        runners = replace(self.runners, settings=replace(self.runners.settings, runner=own.runner), _chosen={})

        def builder(stop: Callable[[], bool]) -> Builder:
            return Builder(store=self.store, runners=runners.of, cancelled=stop)

        outcome = perform(own, builder, cancelled, console)
        failure = outcome.error
        try:
            depot.give(job, began)
        except FarmError as error:
            failure = failure or error
        self.store.digests.save()
        return replace(report, error=failure, lines=tuple(console.kept), seconds=outcome.seconds)

    def _at_home(self, job: Job) -> Job:
        """Return the job with this machine's toolchain folder, whose content its label vouches for."""
        target = replace(job.target, folder=self.toolchains / job.target.folder.name)
        return replace(job, target=target, origin=self._at_home(job.origin) if job.origin else None)


def enlist(worker: Any, site: Site, offered: dict[str, float]) -> None:
    """Let a Dask worker that is about to connect offer labels and work with a site."""
    setattr(worker, _ATTRIBUTE, site)
    worker.state.total_resources.update(offered)
    worker.state.available_resources.update(offered)


def site_of(worker: Any) -> Site:
    """Return what a Dask worker works with; raises MachineError where it is none of the farm's."""
    site = getattr(worker, _ATTRIBUTE, None)
    if not isinstance(site, Site):
        raise MachineError(f"{worker.name} is a Dask worker, but none of the farm's",
                           remedy="start workers with make worker, or with --preload modelfarm.hand")
    return site


def work(job: Job, registry: str) -> Report:
    """Build a job on the worker that this runs on: what the scheduler is given.

    Inputs and artifacts go through the registry; where none is named, through the store that all share.
    """
    from distributed import get_worker

    worker = get_worker()
    task = worker.get_current_task()

    def cancelled() -> bool:
        # Dask cannot end a thread: it marks the task, when it is cancelled or the farm has gone.
        state = worker.state.tasks.get(task)
        return state is None or state.state in ("cancelled", "resumed") or worker.status.name not in _ALIVE

    return site_of(worker).work(job, registry, str(task), cancelled)


def tools(dask_worker: Any) -> Sequence[Tool]:
    """Return the toolchains of a worker; Dask fills in which."""
    return site_of(dask_worker).tools


def busy(dask_worker: Any) -> set[str]:
    """Return the tasks that a worker works on; Dask fills in which."""
    return set(site_of(dask_worker).running)
