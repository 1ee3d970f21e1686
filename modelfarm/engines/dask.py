"""The Dask engine: jobs on the workers of a cluster, which share the store or a registry."""

from __future__ import annotations

import logging
import os
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelfarm.build import Built
from modelfarm.engines import worker as far
from modelfarm.engines.depot import depot_of
from modelfarm.engines.engine import Outcome
from modelfarm.engines.inputs import Inputs
from modelfarm.engines.offers import CPUS, Offer, Tool, refusal, resources
from modelfarm.engines.slots import Need, Slots
from modelfarm.errors import FarmError, MachineError
from modelfarm.job import Job
from modelfarm.phrase import shown
from modelfarm.store import Store

if TYPE_CHECKING:
    from distributed import Client, Future

_PATIENCE = 10.0  # seconds that a scheduler has to answer
_FRESH = 1.0  # seconds for which what is known of the workers holds
_LOOK = 2.0  # seconds after which new workers are looked for, where nothing has ended
_ENDING = 20.0  # seconds that workers have to end what was cancelled


@dataclass(frozen=True, kw_only=True)
class _Running:
    job: Job
    future: Future[far.Report]
    slots: Slots
    need: Need


class DaskEngine:
    """Runs jobs on a cluster: as many as the workers that suit them have slots for.

    Dask starts a job again on another worker where its worker dies; a job that failed is a result like any other, and
    is not started again. Inputs and artifacts go through the store.
    """

    def __init__(self, address: str, store: Store, find: Callable[[Job], Built | None], registry: str = "") -> None:
        """Connect to the scheduler at `address`; raises MachineError where it does not answer.

        With a `registry`, inputs and artifacts go through it, and each worker has a store of its own.
        """
        self._address, self._find, self._store, self._registry = address, find, store, registry
        self._client = connect(address)
        self._depot = depot_of(store, registry)
        Inputs(store=store).sweep()
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._running: dict[str, _Running] = {}
        self._offers: list[Offer] = []
        self._books: dict[str, Slots] = {}
        self._suiting: dict[str, list[Offer]] = {}
        self._looked = 0.0

    @property
    def offers(self) -> list[Offer]:
        """Return what the connected workers offer, not older than a second."""
        if time.monotonic() - self._looked > _FRESH:
            found = self._look()
            if found != self._offers:
                self._offers, self._suiting = found, {}
            self._books = {offer.address: self._books.get(offer.address) or offer.slots() for offer in self._offers}
            self._looked = time.monotonic()
        return self._offers

    def _look(self) -> list[Offer]:
        if self._client.status != "running":
            raise _lost(self._address)
        try:
            found: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        except OSError as error:
            raise _lost(self._address) from error
        return [Offer(name=str(entry["name"]), address=address, jobs=entry["nthreads"], labels=entry["resources"])
                for address, entry in found.items()]

    def tools(self) -> list[Tool]:
        """Return the toolchains of all workers; those that are none of the farm's have none."""
        answers = self._client.run(far.tools, on_error="ignore")
        return [tool for found in answers.values() for tool in found]

    def start(self, job: Job) -> bool:
        """Start a job on a worker that suits it and has room; return False where none has room now.

        Raises MachineError where none of the connected workers offers what it wants.
        """
        suitable = self._suitable(job)
        if not suitable:
            raise MachineError(refusal(job, self._offers),
                               remedy="start one that does with make worker, see docs/cluster.md; "
                                      "workers of an older checkout have to be started again")
        need = Need.of(job.target)
        free = next((offer for offer in suitable
                     if not self._books[offer.address].full and self._books[offer.address].take(need)), None)
        if free is None:
            return False
        try:
            self._submit(job, free, need)
        except BaseException:
            self._books[free.address].give(need)
            raise
        return True

    def _suitable(self, job: Job) -> list[Offer]:
        """Return the workers that could run a job; each job is held against each worker once, and not at each try."""
        offers = self.offers
        if job.key not in self._suiting:
            self._suiting[job.key] = [offer for offer in offers if not any(offer.lacks(job))]
        return self._suiting[job.key]

    def _submit(self, job: Job, offer: Offer, need: Need) -> None:
        self._depot.put(job)
        # The last part makes each attempt of each farm a task of its own; Dask learns durations by the first.
        key = f"{job.target.name}-{job.key[:16]}{os.urandom(8).hex()}"
        future = self._client.submit(far.work, job, self._registry, key=key, pure=False, workers=[offer.address],
                                     allow_other_workers=True, resources=resources(job, offer.labels[CPUS]))
        self._running[key] = _Running(job=job, future=future, slots=self._books[offer.address], need=need)
        future.add_done_callback(lambda done: self._ended.put(done.key))  # type: ignore[no-untyped-call]

    def ended(self) -> list[Outcome]:
        """Wait for a job that has ended; return none where that takes a while, so that new workers get their jobs."""
        outcomes = []
        try:
            outcomes.append(self._outcome(self._ended.get(timeout=_LOOK)))
            while not self._ended.empty():
                outcomes.append(self._outcome(self._ended.get()))
        except queue.Empty:
            pass
        return outcomes

    def _outcome(self, key: str) -> Outcome:
        running = self._running.pop(key)
        running.slots.give(running.need)
        job = running.job
        try:
            report = running.future.result()
        except FarmError as error:
            return Outcome(name=job.name, job=job, error=error)
        except Exception as error:
            return Outcome(name=job.name, job=job, error=self._explained(error))
        failure = report.error and self._at_home(report.error, report.store)
        built = None
        try:
            self._depot.collect(job, self._find, report.worker, failed=bool(failure))
            built = None if failure else self._find(job)
        except FarmError as error:
            failure = failure or error
        return Outcome(name=job.name, job=job, built=built, error=failure, lines=report.lines, seconds=report.seconds,
                       worker=report.worker)

    def _at_home(self, error: FarmError, theirs: str) -> FarmError:
        """Return a worker's failure with the place where its remains are here, wherever they were there."""
        remedy = error.remedy.replace(f" {theirs}/failed/", f" {shown(self._store.root)}/failed/")
        return type(error)(error.message, remedy=remedy)

    def _explained(self, error: Exception) -> FarmError:
        """Return what Dask says of a job that it could not bring to an end."""
        from distributed import KilledWorker

        if isinstance(error, KilledWorker):
            return MachineError(f"the workers that it ran on died, {error.allowed_failures + 1} in turn",
                                remedy="look into their logs; memory that a job takes is the usual reason")
        if "deserialization of the task graph" in str(error):
            return MachineError(f"the scheduler at {self._address} cannot read jobs: it runs without the farm's code",
                                remedy="start it in this checkout, in an environment with requirements.txt: "
                                       "docs/cluster.md")
        if self._client.status != "running" or "scheduler" in str(error):
            return _lost(self._address)
        return MachineError(f"Dask could not run it: {type(error).__name__}: {error}")

    def stop(self) -> None:
        """Cancel what runs, and wait until the workers have ended it, container and all."""
        running = {key: entry.future for key, entry in self._running.items()}
        if not running or self._client.status != "running":
            return
        self._client.cancel(list(running.values()), force=True)  # type: ignore[no-untyped-call]
        deadline = time.monotonic() + _ENDING
        while time.monotonic() < deadline:
            busy = self._client.run(far.busy, on_error="ignore")
            if not any(set(keys) & running.keys() for keys in busy.values()):
                return
            time.sleep(0.1)


    def close(self) -> None:
        """Leave the cluster."""
        self._client.close()  # type: ignore[no-untyped-call]


def connect(address: str) -> Client:
    """Connect to a scheduler; raises MachineError where none answers at the address."""
    from distributed import Client

    # What it says of lost connections, the outcomes say too, and better.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        return Client(address, timeout=_PATIENCE, set_as_default=False, name="modelfarm")  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise MachineError(f"no Dask scheduler answers at {address}: {error}",
                           remedy="start one: .venv/bin/python -m dask scheduler --port 8786; "
                                  "see docs/cluster.md") from error


def _lost(address: str) -> MachineError:
    return MachineError(f"the scheduler at {address} has gone",
                        remedy="start it and run the same again: what was made is in the store")
