"""Depots: what a farm puts a worker takes, what a worker gives a farm collects, in a shared store or without.

The registry is a real one, and the artifacts are those of toys, built by the real builder.
"""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from modelfarm.artifact import Artifact
from modelfarm.build import Builder
from modelfarm.console import Console
from modelfarm.digest import Digests
from modelfarm.engines import inputs as inputs_module
from modelfarm.engines.depot import Depot, SharedStore, Transit, depot_of
from modelfarm.errors import ArtifactError, ConversionError, FarmError, Interrupted, MachineError, RegistryError
from modelfarm.job import Job
from modelfarm.registry import line
from modelfarm.store import Store
from tests.images.registry import Registry, free_port
from tests.registry.conftest import own_name
from tests.registry.relay import relay
from tests.toys import Toys


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "_PAUSE", 0.0)
    monkeypatch.setattr(inputs_module, "_LATE", 0.1)


class Machine:
    """A worker's side: a store of its own, or that of the farm, and what builds into it."""

    def __init__(self, toys: Toys, name: str, place: str, *, shared: bool = False) -> None:
        root = toys.settings.artifacts if shared else toys.folder / name
        self.store = Store(root, Digests(toys.folder / f"{name} cache"))
        self.depot: Depot = depot_of(self.store, place)
        self._runners = toys.farm.runners

    def work(self, job: Job) -> FarmError | None:
        """Do what a worker does with a job; return what stopped it."""
        since, failure = time.time(), None
        own = self.depot.take(job)
        try:
            Builder(store=self.store, runners=self._runners.of).build(own, Console(io.StringIO(), live=False))
        except FarmError as error:
            failure = error
        self.depot.give(job, since)
        return failure

    def found(self, job: Job) -> Artifact:
        artifact = self.store.find(job.recipe.name, job.variant, job.key)
        assert artifact
        return artifact


def here(toys: Toys, place: str) -> tuple[Store, Depot]:
    """Return the farm's store and depot, as a new farm opens them."""
    store = toys.farm.store
    return store, depot_of(store, place)


def find(store: Store, job: Job) -> Artifact | None:
    return store.find(job.recipe.name, job.variant, job.key)


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {file.name: (file.read_bytes(), file.stat().st_mode & 0o111) for file in folder.iterdir()}


def test_the_store_itself_is_the_depot_where_no_registry_is_named(toys: Toys) -> None:
    assert isinstance(depot_of(toys.farm.store, ""), SharedStore)
    assert isinstance(depot_of(toys.farm.store, "host:1/farm"), Transit)


@pytest.mark.parametrize("shared", [True, False])
def test_a_job_goes_there_and_its_artifact_comes_back(toys: Toys, place: str, shared: bool) -> None:
    (job,) = toys.jobs()
    way = "" if shared else place
    (store, farm), worker = here(toys, way), Machine(toys, "worker", way, shared=shared)
    farm.put(job)
    taken = worker.depot.take(job)
    for before, after in zip(job.materials, taken.materials, strict=True):
        assert after.path.is_relative_to(worker.store.root)
        assert (after.path.name, after.path.read_bytes()) == (before.name, before.path.read_bytes())
    assert worker.work(job) is None
    assert bool(find(store, job)) == shared
    farm.collect(job, lambda job: find(store, job), "worker", failed=False)
    ours = find(store, job)
    assert ours and store.is_latest(ours)
    assert content(ours.folder) == content(worker.found(job).folder)
    assert (ours.folder / "reproduce.sh").stat().st_mode & 0o100
    assert {"convert.log", "smoke.json", "manifest.json", "model.toy"} <= content(ours.folder).keys()
    assert not list((store.root / ".staging").iterdir())


def test_what_comes_back_is_what_this_machine_makes(toys: Toys, place: str) -> None:
    (job,) = toys.jobs()
    (store, farm), worker = here(toys, place), Machine(toys, "worker", place)
    farm.put(job)
    worker.work(job)
    farm.collect(job, lambda job: find(store, job), "worker", failed=False)
    came = find(store, job)
    store.root.rename(toys.folder / "theirs")
    (outcome,) = toys.run([job])
    assert came and outcome.built
    assert (came.key, came.subjects, came.manifest) == (
        job.key, outcome.built.artifact.subjects, outcome.built.artifact.manifest)


def test_what_a_failure_leaves_comes_back_too_and_an_older_one_does_not(toys: Toys, place: str) -> None:
    toys.model(refuse="no such gain")
    (job,) = toys.jobs()
    (store, farm), worker = here(toys, place), Machine(toys, "worker", place)
    farm.put(job)
    assert isinstance(worker.work(job), ConversionError)
    farm.collect(job, lambda job: find(store, job), "worker", failed=True)
    (failure,) = store.failures()
    assert (failure.model, failure.variant, failure.version) == ("toy", "toy", job.key[:16])
    assert failure.reason.startswith("no such gain")
    assert "no such gain" in (failure.folder / "convert.log").read_text()
    assert json.loads((failure.folder / "job.json").read_text())["model"] == "toy"
    assert find(store, job) is None
    other = here(toys, f"{place}/other")[1]
    worker.depot = depot_of(worker.store, f"{place}/other")
    worker.depot.give(job, time.time() + 60)
    other.collect(job, lambda job: None, "worker", failed=True)
    assert len(list(store.failures())) == 1


def test_what_a_job_starts_from_comes_along(toys: Toys, place: str) -> None:
    """The farm has made it in another night; the worker sees it for the first time."""
    toys.model("first")
    (first,), (job,) = toys.jobs("first"), toys.jobs()
    toys.run([first])
    store, farm = here(toys, place)
    worker = Machine(toys, "worker", place)
    farm.put(replace(job, origin=first))
    taken = worker.depot.take(replace(job, origin=first))
    assert worker.found(first).manifest == find(store, first).manifest  # type: ignore[union-attr]
    assert taken.origin
    assert all(material.path.is_relative_to(worker.store.root) for material in taken.origin.materials)


def test_what_one_worker_has_made_the_next_one_does_not_make_again(toys: Toys, place: str) -> None:
    mark = toys.folder / "mark"
    toys.model(mark=str(mark))
    (job,) = toys.jobs()
    here(toys, place)[1].put(job)
    one, other = Machine(toys, "one", place), Machine(toys, "other", place)
    one.work(job)
    other.work(job)
    assert len(mark.read_text().splitlines()) == 1
    assert content(one.found(job).folder) == content(other.found(job).folder)


def test_nothing_is_sent_twice(toys: Toys, registry: Registry, request: pytest.FixtureRequest) -> None:
    toys.model("a")
    (job,), (other,) = toys.jobs(), toys.jobs("a")
    with relay(registry) as there:
        place = f"{there.host}/{own_name(request)}"
        farm = here(toys, place)[1]
        farm.put(job)
        before = len(there.asked)
        farm.put(job)
        assert len(there.asked) == before
        again = here(toys, place)[1]
        again.put(job)
        assert there.count("POST", "uploads") == 3, "two files, and no configuration"
        again.put(other)
        assert there.count("POST", "uploads") == 3, "the same weights under another model"


def test_a_file_that_changed_since_the_plan_is_not_sent(toys: Toys, place: str) -> None:
    (job,) = toys.jobs()
    (weights,) = job.having("weights")
    weights.path.write_text('{"gain": 9}')
    with pytest.raises(MachineError, match=r"toy\.pt has changed since the job was planned"):
        here(toys, place)[1].put(job)
    with pytest.raises(MachineError, match="does not hold what goes into the job"):
        Machine(toys, "worker", place).depot.take(job)


def flip(registry: Registry, digest: str) -> None:
    file = registry.blob(f"sha256:{digest}")
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(bytes(data))


def test_a_flipped_byte_of_an_input_is_seen(toys: Toys, registry: Registry, place: str) -> None:
    toys.model(seen="flipped input")
    (job,) = toys.jobs()
    here(toys, place)[1].put(job)
    (weights,) = job.having("weights")
    flip(registry, weights.sha256)
    worker = Machine(toys, "worker", place)
    with pytest.raises(ArtifactError, match="is damaged: its bytes have the digest"):
        worker.depot.take(job)
    assert not list(worker.store.root.glob(".inputs/*/*"))


def test_a_flipped_byte_of_an_artifact_never_enters_the_store(toys: Toys, registry: Registry, place: str) -> None:
    toys.model(gain=3.25, seconds=0)
    (job,) = toys.jobs()
    (store, farm), worker = here(toys, place), Machine(toys, "worker", place)
    farm.put(job)
    worker.work(job)
    flip(registry, worker.found(job).subjects["model.toy"])
    with pytest.raises(ArtifactError, match="is damaged"):
        farm.collect(job, lambda job: find(store, job), "worker", failed=False)
    assert find(store, job) is None and not list((store.root / ".staging").iterdir())
    second = Machine(toys, "second", place)
    assert second.depot.take(job).key == job.key, "what is damaged is made anew"
    assert second.store.find("toy", "toy", job.key) is None


def test_an_artifact_under_the_tag_of_another_key_is_not_taken(toys: Toys, place: str) -> None:
    toys.model("a")
    (job,), (other,) = toys.jobs(), toys.jobs("a")
    (store, farm), worker = here(toys, place), Machine(toys, "worker", place)
    farm.put(job)
    farm.put(other)
    worker.work(other)
    transit = worker.depot
    assert isinstance(transit, Transit)
    transit._send(f"made-{job.key}", {file.name: file for file in worker.found(other).folder.iterdir()})
    with pytest.raises(ArtifactError, match="belongs to version"):
        farm.collect(job, lambda job: find(store, job), "worker", failed=False)
    assert find(store, job) is None


def test_an_emptied_registry_is_told(toys: Toys, place: str) -> None:
    (job,) = toys.jobs()
    store, farm = here(toys, place)
    with pytest.raises(MachineError, match="does not hold what goes into the job") as caught:
        Machine(toys, "worker", place).depot.take(job)
    assert "run it again" in caught.value.remedy
    with pytest.raises(ArtifactError, match="is not there, although it was made"):
        farm.collect(job, lambda job: find(store, job), "worker", failed=False)
    farm.collect(job, lambda job: None, "worker", failed=True)
    assert not list(store.failures())


def test_a_store_that_is_not_shared_is_told(toys: Toys) -> None:
    (job,) = toys.jobs()
    with pytest.raises(MachineError, match="worker has made it, but it is not in the store here") as caught:
        here(toys, "")[1].collect(job, lambda job: None, "worker", failed=False)
    assert "REGISTRY=" in caught.value.remedy
    here(toys, "")[1].collect(job, lambda job: None, "worker", failed=True)


def test_a_registry_that_nobody_reaches_is_told(toys: Toys) -> None:
    (job,) = toys.jobs()
    with pytest.raises(RegistryError, match="cannot be reached") as caught:
        here(toys, f"127.0.0.1:{free_port()}/farm")[1].put(job)
    assert caught.value.code == 8


def test_cancelling_ends_transfers_and_leaves_nothing(toys: Toys, place: str) -> None:
    (job,) = toys.jobs()
    here(toys, place)[1].put(job)
    store = Store(toys.folder / "worker", Digests(toys.folder / "c"))
    with pytest.raises(Interrupted):
        Transit(store=store, registry=place, cancelled=lambda: True).take(job)
    assert not list(store.root.glob(".inputs/*/*")) and not list((store.root / ".staging").iterdir())
    worker = Machine(toys, "other", place)
    worker.work(job)
    with pytest.raises(Interrupted):
        Transit(store=worker.store, registry=f"{place}/again", cancelled=lambda: True).give(job, 0.0)
