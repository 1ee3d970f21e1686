"""Depots: where inputs and artifacts change hands between a farm and its workers, by digest.

With one store for all of them nothing has to move. Without, everything goes through a registry, in one repository:

    <registry>/transit/jobs:inputs-<digest>     the files that go into jobs, as <SHA-256>/<name>
    <registry>/transit/jobs:made-<key>          an artifact, with its reports and logs
    <registry>/transit/jobs:failed-<key>        what a failure left

Whoever takes something checks it by what it asked for: inputs by their digests, artifacts by their keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from modelfarm import disk
from modelfarm.artifact import Artifact, Failure
from modelfarm.digest import key_of
from modelfarm.engines.inputs import Inputs, all_materials, eventually
from modelfarm.errors import ArtifactError, Interrupted, MachineError
from modelfarm.job import Job
from modelfarm.registry import parcels
from modelfarm.registry.line import Line
from modelfarm.registry.shelf import Shelf
from modelfarm.store import Store

_BLINK = 2.0  # seconds by which file systems' and processors' clocks may differ
Find = Callable[[Job], object]  # a job's artifact in this machine's store; nothing where it is not there


class Depot(Protocol):
    """The farm puts and collects, a worker takes and gives."""

    def put(self, job: Job) -> None:
        """Hand in what goes into a job, and what it starts from."""

    def take(self, job: Job) -> Job:
        """Return a job with its files as this machine has them."""

    def give(self, job: Job, since: float) -> None:
        """Hand in what became of a job that began at a time."""

    def collect(self, job: Job, find: Find, worker: str, *, failed: bool) -> None:
        """Bring what became of a job into the store here, where `find` then finds it; raises what keeps it away."""


def depot_of(store: Store, registry: str, cancelled: Callable[[], bool] = lambda: False) -> Depot:
    """Return the depot of a farm or a worker with this store: the store itself, or a registry where one is named."""
    return Transit(store=store, registry=registry, cancelled=cancelled) if registry else SharedStore(store)


class SharedStore:
    """One store for the farm and its workers: inputs lie in it, and what a worker makes is there for all."""

    def __init__(self, store: Store) -> None:
        self._inputs = Inputs(store=store)

    def put(self, job: Job) -> None:
        """Copy what goes into a job into the store; raises MachineError where a file is not what was planned with."""
        self._inputs.put(job)

    def take(self, job: Job) -> Job:
        """Return the job with the files in the store; raises MachineError where one is missing."""
        return self._inputs.take(job)

    def give(self, job: Job, since: float) -> None:
        """Do nothing: what was made is in the store."""

    def collect(self, job: Job, find: Find, worker: str, *, failed: bool) -> None:
        """Wait until the store shows here what a worker has put into it; raises MachineError where it never does."""
        if not failed and not eventually(lambda: bool(find(job))):
            raise MachineError(f"{worker} has made it, but it is not in the store here",
                               remedy="ARTIFACTS= must name the same shared folder for the farm and its workers; "
                                      "with REGISTRY= each may have its own")


@dataclass(frozen=True, kw_only=True)
class Transit:
    """A registry between stores that nobody shares; `cancelled` ends a transfer early."""

    store: Store
    registry: str
    cancelled: Callable[[], bool] = lambda: False
    _sent: set[str] = field(default_factory=set, repr=False)

    def put(self, job: Job) -> None:
        """Send inputs, and the artifact that the job starts from where this store has it.

        Raises MachineError where a file is not what was planned with, RegistryError where the registry fails.
        """
        if _inputs_tag(job) not in self._sent:
            inputs = Inputs(store=self.store)
            inputs.put(job)  # a copy, which nobody changes while it travels
            self._send(_inputs_tag(job), {_name(*pair): inputs.root / _name(*pair) for pair in _wanted(job)})
        if job.origin and _made_tag(job.origin) not in self._sent and (artifact := self._whole(job.origin)):
            self._send(_made_tag(job.origin), _files(artifact.folder))

    def take(self, job: Job) -> Job:
        """Fetch inputs, and what there is already of the job and of what it starts from.

        Raises MachineError where the registry has no such inputs, ArtifactError where they are damaged, RegistryError,
        and Interrupted.
        """
        inputs = Inputs(store=self.store)
        places = {_name(*pair): inputs.root / _name(*pair) for pair in _wanted(job)}
        missing = {name: place for name, place in places.items() if not place.is_file()}
        if missing:
            self._fetch_inputs(_inputs_tag(job), missing)
        for wanted in (job.origin, job):
            if wanted and not self._whole(wanted):
                self._bring(wanted)
        return inputs.take(job)

    def give(self, job: Job, since: float) -> None:
        """Send the job's artifact, or what its failure has left since then; raises RegistryError and Interrupted."""
        if artifact := self._whole(job):
            self._send(_made_tag(job), _files(artifact.folder))
        elif failure := self._failure(job, since):
            self._send(_failed_tag(job), _files(failure.folder))

    def collect(self, job: Job, find: Find, worker: str, *, failed: bool) -> None:
        """Bring the job's artifact into the store, or what its failure left, where it left anything.

        Raises ArtifactError where it is damaged, RegistryError where it does not come.
        """
        if failed:
            self._bring_failure(job)
        elif not find(job):
            self._bring(job, needed=True)
            if not find(job):
                raise ArtifactError(f"{worker} has made it, but it went from the store here", remedy="run it again")

    # The parts

    @property
    def _shelf(self) -> Shelf:
        return Shelf(Line(f"{self.registry}/transit/jobs"))

    def _go_on(self) -> None:
        if self.cancelled():
            raise Interrupted("stopped", remedy="the next run starts this job again")

    def _send(self, tag: str, files: Mapping[str, Path]) -> None:
        parcels.send(self._shelf, tag, files, self.store.digests, self._go_on)
        self._sent.add(tag)

    def _whole(self, job: Job) -> Artifact | None:
        try:
            return self.store.find(job.recipe.name, job.variant, job.key)
        except ArtifactError:
            return None  # damaged: whoever builds it sees to it

    def _failure(self, job: Job, since: float) -> Failure | None:
        found = self.store.failures_of(job.recipe.name, job.variant)
        return next((each for each in found if job.key.startswith(each.version) and each.failed > since - _BLINK), None)

    def _fetch_inputs(self, tag: str, places: Mapping[str, Path]) -> None:
        shelf = self._shelf
        parcel = parcels.find(shelf, tag)
        if parcel is None or not places.keys() <= parcel.files.keys():
            raise MachineError(f"{shelf.name(tag)} does not hold what goes into the job",
                               remedy="somebody has emptied the registry meanwhile: run it again")
        with self.store.stage() as stage:
            wanted = {name: layer for name, layer in parcel.files.items() if name in places}
            parcels.unpack(shelf, parcels.Parcel(name=parcel.name, files=wanted, executable=frozenset()),
                           stage.scratch, self._go_on)
            for name, place in places.items():
                disk.sync(stage.scratch / name)
                place.parent.mkdir(parents=True, exist_ok=True)
                (stage.scratch / name).replace(place)

    def _bring(self, job: Job, *, needed: bool = False) -> None:
        """Put an artifact from the registry into the store, under its lock, where the registry has it whole."""
        shelf = self._shelf
        try:
            parcel = parcels.find(shelf, _made_tag(job))
            if parcel is None:
                if needed:
                    raise ArtifactError(f"{shelf.name(_made_tag(job))} is not there, although it was made",
                                        remedy="somebody has emptied the registry meanwhile: run it again")
                return
            with self.store.lock(job.key, cancelled=self.cancelled), self.store.stage() as stage:
                if not self._whole(job):
                    parcels.unpack(shelf, parcel, stage.folder, self._go_on)
                    self.store.publish(stage, job.recipe.name, job.variant, job.key)
        except ArtifactError:
            if needed:
                raise
            # What is damaged is made anew, and then sent.

    def _bring_failure(self, job: Job) -> None:
        shelf = self._shelf
        if parcel := parcels.find(shelf, _failed_tag(job)):
            with self.store.stage() as stage:
                parcels.unpack(shelf, parcel, stage.folder, self._go_on)
                self.store.fail(stage, job.recipe.name, job.variant, job.key)


def _wanted(job: Job) -> list[tuple[str, str]]:
    """Return SHA-256 and name of each file that goes into a job, each once."""
    return sorted({(material.sha256, material.name) for material in all_materials(job)})


def _name(sha256: str, name: str) -> str:
    return f"{sha256}/{name}"


def _inputs_tag(job: Job) -> str:
    return f"inputs-{key_of([list(pair) for pair in _wanted(job)])}"


def _made_tag(job: Job) -> str:
    return f"made-{job.key}"


def _failed_tag(job: Job) -> str:
    return f"failed-{job.key}"


def _files(folder: Path) -> dict[str, Path]:
    return {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}
