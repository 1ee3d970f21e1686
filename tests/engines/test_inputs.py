"""Inputs by digest: what is put into the store is what a worker takes, wherever either of them lies."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from modelfarm.digest import Digests
from modelfarm.engines import inputs as module
from modelfarm.engines.inputs import Inputs
from modelfarm.errors import MachineError
from modelfarm.job import Job
from modelfarm.store import Store
from tests.toys import Toys
from tests.workshop import Workshop, make_workshop


@pytest.fixture
def job(toys: Toys) -> Job:
    return toys.jobs()[0]


@pytest.fixture
def far(toys: Toys) -> Inputs:
    """Return the same store as another machine opens it."""
    return Inputs(store=Store(toys.settings.artifacts, Digests(toys.folder / "another cache")))


@pytest.fixture
def here(toys: Toys) -> Inputs:
    return Inputs(store=toys.farm.store)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LATE", 0.1)


def test_a_worker_takes_what_was_put_by_digest_and_name(job: Job, here: Inputs, far: Inputs) -> None:
    here.put(job)
    taken = far.take(job)
    assert [material.name for material in taken.materials] == [material.name for material in job.materials]
    for before, after in zip(job.materials, taken.materials, strict=True):
        assert after.path != before.path
        assert after.path.name == before.name
        assert after.path.parent.name == before.sha256
        assert after.path.read_bytes() == before.path.read_bytes()
    assert taken.key == job.key


def test_inputs_are_no_artifacts(job: Job, here: Inputs) -> None:
    here.put(job)
    assert list(here.store.artifacts()) == []
    assert list(here.store.damages()) == []
    assert not list((here.store.root / ".staging").iterdir())


def test_each_file_is_copied_once(toys: Toys, job: Job, here: Inputs) -> None:
    here.put(job)
    kept = {file: file.stat().st_ino for file in here.root.glob("*/*")}
    here.put(job)
    Inputs(store=toys.farm.store).put(job)
    assert {file: file.stat().st_ino for file in here.root.glob("*/*")} == kept
    assert len(kept) == 2


def test_what_has_changed_since_the_plan_is_not_put(job: Job, here: Inputs) -> None:
    (weights,) = job.having("weights")
    weights.path.write_text('{"gain": 9}')
    with pytest.raises(MachineError, match=r"toy.pt has changed since the job was planned"):
        here.put(job)
    assert not here.place(weights).exists()
    weights.path.unlink()
    with pytest.raises(MachineError, match=r"toy.pt has gone since the job was planned"):
        here.put(job)


@pytest.mark.usefixtures("impatient")
def test_another_store_has_no_inputs(toys: Toys, job: Job, here: Inputs) -> None:
    here.put(job)
    other = Inputs(store=Store(toys.folder / "another", toys.farm.digests))
    with pytest.raises(MachineError, match="has no input toy.py") as caught:
        other.take(job)
    assert "ARTIFACTS=" in caught.value.remedy


def test_a_flipped_byte_is_seen(job: Job, here: Inputs, far: Inputs) -> None:
    here.put(job)
    (weights,) = job.having("weights")
    here.place(weights).write_text('{"gain": 3}')
    with pytest.raises(MachineError, match="is damaged") as caught:
        far.take(job)
    assert weights.sha256 in caught.value.remedy


def test_what_nobody_uses_is_swept_and_what_is_used_stays(toys: Toys, job: Job, here: Inputs) -> None:
    here.put(job)
    old = time.time() - 40 * 24 * 3600
    first, second = here.root.iterdir()
    for folder in (first, second):
        os.utime(folder, (old, old))
    only = replace(job, materials=tuple(item for item in job.materials if item.sha256 == first.name))
    Inputs(store=toys.farm.store).put(only)
    here.sweep()
    assert list(here.root.iterdir()) == [first]
    Inputs(store=Store(toys.folder / "none", toys.farm.digests)).sweep()


@pytest.fixture
def workshop(toys: Toys) -> Workshop:
    return make_workshop(toys.folder / "workshop")


def test_labels_and_the_models_own_decoder_are_found_among_the_inputs(workshop: Workshop, here: Inputs,
                                                                      far: Inputs) -> None:
    labelled = workshop.recipe().job()
    here.put(labelled)
    recipe = far.take(labelled).recipe
    assert recipe.decoder
    assert (recipe.folder / recipe.decoder.options["labels"]).read_text() == "cat\ndog\n"
    assert recipe.folder.is_relative_to(far.root)
    own = workshop.recipe("decoder: {classification: {labels: labels.txt}}", "decoder: {module: decoder.py}")
    (workshop.model / "model.yaml").write_text((workshop.model / "model.yaml").read_text().replace(
        "expect: {a.png: {top1: cat}}\n", ""))
    job = own.job()
    here.put(job)
    recipe = far.take(job).recipe
    assert recipe.decoder
    assert recipe.decoder.module
    assert recipe.decoder.module.is_relative_to(far.root)


def test_what_a_job_starts_from_can_be_made_anew_by_a_worker(workshop: Workshop, here: Inputs, far: Inputs) -> None:
    job = workshop.reading(workshop.reader())
    here.put(job)
    taken = far.take(job)
    assert taken.origin
    assert {material.role for material in taken.origin.materials} >= {"module", "weights", "pictures"}
    assert all(material.path.is_relative_to(far.root) for material in taken.origin.materials)
