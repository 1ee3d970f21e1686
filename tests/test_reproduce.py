"""Reproduction: an artifact that is made again and compared, and job folders for working by hand."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from modelfarm.artifact import Artifact
from modelfarm.console import Console
from modelfarm.digest import key_of
from modelfarm.errors import ArtifactError, ConversionError, FarmError, GateError, MachineError, UsageError
from modelfarm.job import Job
from modelfarm.manifest import read_origin
from modelfarm.plan import Request
from modelfarm.reproduce import (
    EQUAL,
    IDENTICAL,
    Rebuilder,
    Replanner,
    choose,
    empty_folder,
    request_of,
    runner_of,
    usual_variant,
)
from tests.toys import Toys, make_toys

_GAIN = '{"gain": wish["gain"] + wish.get("error", 0)}'
# What differs from run to run: bytes that mean nothing, or what the model computes.
NOISE = '{"gain": wish["gain"], "noise": os.urandom(8).hex()}'
DRIFT = '{"gain": wish["gain"] + wish["drift"] * (open(wish["mark"]).read().count("\\n") - 1)}'
FLAKY = '{"gain": wish["gain"]} if open(wish["mark"]).read().count("\\n") == 1 else {"gian": 1}'


def rebuilder(toys: Toys) -> Rebuilder:
    farm = toys.farm
    return Rebuilder(store=farm.store, runners=farm.runners.of)


def make(toys: Toys, **request: str) -> Artifact:
    (job,) = toys.jobs(**request)
    return toys.builder().build(job, Console(io.StringIO())).artifact


def replan(toys: Toys, artifact: Artifact, weights: str = "") -> Job:
    farm = toys.farm
    origin = read_origin(artifact)
    planner = farm.planner(farm.targets[origin.target], request_of(origin, weights), Console(io.StringIO()))
    runner = runner_of(origin, planner.target, farm.runners)
    return Replanner.of(planner, artifact, runner, farm.targets).job(farm.recipe("toy"))


def reproduce(toys: Toys, artifact: Artifact, **changes: Any) -> tuple[str, str]:
    """Make an artifact again; return how it compares, and what was said."""
    stream = io.StringIO()
    job = replace(replan(toys, artifact), **changes)
    return rebuilder(toys).reproduce(job, artifact, Console(stream, live=False)), stream.getvalue()


def tree(folder: Path) -> dict[str, tuple[str, int]]:
    """Return the digest and the time of each file of a folder, links and their goals too."""
    return {str(path.relative_to(folder)): (os.readlink(path) if path.is_symlink() else
                                            hashlib.sha256(path.read_bytes()).hexdigest(), path.lstat().st_mtime_ns)
            for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file()}


@pytest.fixture
def untouched(toys: Toys) -> Iterator[Toys]:
    """Return the toys; afterwards their store must hold the one artifact, and nothing staged or failed."""
    yield toys
    store = toys.settings.artifacts
    assert not list((store / ".staging").iterdir())
    assert not (store / "failed").exists()
    assert len([path for path in store.glob("toy/*/*") if not path.is_symlink()]) == 1


def converter(toys: Toys, text: str) -> None:
    """Let the toy's converter write something else."""
    file = toys.target.converter
    file.write_text(file.read_text().replace(_GAIN, text))
    assert text in file.read_text()


# Made again


def test_the_same_inputs_give_the_same_bytes(untouched: Toys) -> None:
    artifact = make(untouched)
    before = tree(untouched.settings.artifacts)
    how, said = reproduce(untouched, artifact)
    assert how == IDENTICAL == "identical"
    assert "convert to toy" in said  # it was not just found
    assert tree(untouched.settings.artifacts) == before


def test_options_and_random_weights_are_taken_from_the_manifest(toys: Toys) -> None:
    artifact = make(toys, options="rounds=3", weights="random", expect="none")
    assert artifact.variant == "toy-rounds3-random"
    job = replan(toys, artifact)
    assert (job.variant, job.options, job.random_weights, job.golden_waived, job.key) == (
        artifact.variant, {"rounds": 3}, True, True, artifact.key)
    assert reproduce(toys, artifact)[0] == IDENTICAL


def test_what_the_recipe_says_of_options_now_does_not_matter(toys: Toys) -> None:
    artifact = make(toys)
    recipe = toys.settings.models / "toy" / "model.yaml"
    recipe.write_text(recipe.read_text().replace("toy: {}", "toy: {rounds: 5, seconds: 7}"))
    (now,) = toys.jobs()
    job = replan(toys, artifact)
    assert now.key != job.key == artifact.key
    assert (job.variant, job.options, job.seconds) == ("toy", {"rounds": 1}, 7)


def test_other_bytes_that_compute_the_same_are_equal_behaviour(untouched: Toys) -> None:
    converter(untouched, NOISE)
    artifact = make(untouched)
    before = tree(untouched.settings.artifacts)
    how, said = reproduce(untouched, artifact)
    assert how == EQUAL == "equal behaviour, other bytes"
    assert "  . other bytes: model.toy; comparing what both compute" in said
    assert "take the files that are given" in said
    line = next(line for line in said.splitlines() if line.startswith("  y "))
    assert line.split()[:4] == ["y", "0", "relative", "1e-05"]
    assert tree(untouched.settings.artifacts) == before


def test_small_differences_are_within_the_limits_of_the_gates(untouched: Toys) -> None:
    mark = untouched.folder / "mark"
    untouched.model(mark=str(mark), drift=1e-6)
    converter(untouched, DRIFT)
    artifact = make(untouched)
    how, said = reproduce(untouched, artifact)
    assert how == EQUAL
    line = next(line for line in said.splitlines() if line.startswith("  y "))
    assert 1e-7 < float(line.split()[1]) < 1e-6
    assert mark.read_text().count("\n") == 2  # the artifact's own files were run, not converted once more


def test_other_behaviour_is_a_gate_error_and_the_old_artifact_stays(untouched: Toys) -> None:
    untouched.model(mark=str(untouched.folder / "mark"), drift=0.25)
    converter(untouched, DRIFT)
    artifact = make(untouched)
    before = tree(untouched.settings.artifacts)
    stream = io.StringIO()
    with pytest.raises(GateError) as caught:
        rebuilder(untouched).reproduce(replan(untouched, artifact), artifact, Console(stream, live=False))
    assert caught.value.message.startswith("made again, it behaves differently: gate parity: ")
    assert "as it was" in caught.value.remedy
    line = next(line for line in stream.getvalue().splitlines() if line.startswith("  y "))
    assert float(line.split()[1]) == pytest.approx(0.125, rel=0.2)
    assert tree(untouched.settings.artifacts) == before


def test_a_toolchain_that_fails_this_time_says_how_to_look_closer(untouched: Toys) -> None:
    untouched.model(mark=str(untouched.folder / "mark"))
    converter(untouched, FLAKY)
    artifact = make(untouched)
    with pytest.raises(ConversionError) as caught:
        reproduce(untouched, artifact)
    assert caught.value.message.startswith("KeyError: 'gain'")
    assert caught.value.remedy == ("make job MODEL=toy TARGET=toy FOLDER=JOB writes the job folder, to look closer; "
                                   "the artifact in the store is as it was")


def refused(toys: Toys, artifact: Artifact, weights: str = "") -> MachineError:
    with pytest.raises(MachineError) as caught:
        replan(toys, artifact, weights)
    return caught.value


def test_other_weights_are_refused_and_the_right_ones_can_be_named(toys: Toys) -> None:
    artifact = make(toys)
    folder = toys.settings.models / "toy"
    (folder / "toy.pt").rename(toys.folder / "the-old-ones.pt")
    toys.model(gain=3)
    error = refused(toys, artifact)
    then = artifact.manifest["predicate"]["buildDefinition"]["resolvedDependencies"][1]["digest"]["sha256"]
    now = hashlib.sha256((folder / "toy.pt").read_bytes()).hexdigest()
    assert error.message == (f"{artifact.folder} cannot be made again here: not all is as it was\n"
                             f"    materials: weights toy.pt: was {then[:12]}, is {now[:12]}")
    assert error.remedy == f"WEIGHTS= names the file with SHA-256 {then}"
    job = replan(toys, artifact, str(toys.folder / "the-old-ones.pt"))
    assert job.key == artifact.key
    assert [material.name for material in job.having("weights")] == ["toy.pt"]  # as the converter saw it then


def test_all_that_changed_is_named_with_each_remedy_once(toys: Toys) -> None:
    artifact = make(toys)
    toys.model(gain=3, more="samples: {random: 3, seed: 5}")
    error = refused(toys, artifact)
    assert [line.strip().split(":")[0] for line in error.message.splitlines()[1:]] == [
        "materials", "recipe.samples.random", "recipe.samples.seed"]
    assert error.remedy.count("check out the revision") == 1
    assert "WEIGHTS= names the file" in error.remedy


def _made_in_image(toys: Toys, content: str, toolchain: dict[str, Any]) -> Artifact:
    """Return the toy's artifact as if it had been made in an image."""
    made = make(toys)
    document = json.loads(json.dumps(made.manifest))
    internal = document["predicate"]["buildDefinition"]["internalParameters"]
    internal["identity"]["toolchain"], internal["toolchain"] = {"image": content}, toolchain
    document["predicate"]["runDetails"]["builder"]["id"] = "urn:modelfarm:runner:docker"
    return replace(made, manifest=document, key=key_of(internal["identity"]))


@dataclass(frozen=True)
class InImage:
    """The venv runner with the identity of an image."""

    content: str
    name: str = "docker"

    def identity(self, *_: Any) -> dict[str, Any]:
        return {"image": self.content}

    def provenance(self, *_: Any) -> dict[str, Any]:
        return {"runner": self.name}


def test_another_runner_is_refused_by_its_name(toys: Toys) -> None:
    error = refused(toys, _made_in_image(toys, "1" * 64, {}))
    assert "toolchain.runner: was an image, is venv" in error.message
    assert error.remedy == "RUNNER=docker"


@pytest.mark.parametrize(("toolchain", "name"), [
    ({"repositories": ["host/toy@sha256:12"], "image": "sha256:34"}, "host/toy@sha256:12"),
    ({"repositories": [], "image": "sha256:34"}, "sha256:34"), ({}, "the manifest's image"),
])
def test_another_image_is_refused_with_the_name_of_the_right_one(toys: Toys, toolchain: dict[str, Any],
                                                                name: str) -> None:
    artifact = _made_in_image(toys, "1" * 64, toolchain)
    farm = toys.farm
    planner = farm.planner(toys.target, Request(), Console(io.StringIO()))
    replanner = Replanner.of(planner, artifact, InImage("2" * 64), {})  # type: ignore[arg-type]
    with pytest.raises(MachineError) as caught:
        replanner.job(farm.recipe("toy"))
    assert f"toolchain.image: was {'1' * 12}, is {'2' * 12}" in caught.value.message
    assert caught.value.remedy.startswith(f"get the image {name}, or check out the revision")


def test_the_runner_is_the_manifests_unless_one_is_named(toys: Toys) -> None:
    origin = replace(read_origin(make(toys)), runner="podman")
    for runner, expected in (("venv", "venv"), ("auto", "podman")):
        runners = replace(toys.farm.runners, settings=replace(toys.settings, runner=runner))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PODMAN", "true")
            assert runner_of(origin, toys.target, runners).name == expected


def test_a_manifest_that_says_nothing_is_an_artifact_error(toys: Toys) -> None:
    made = make(toys)
    with pytest.raises(ArtifactError, match="does not say what it was made from"):
        replan(toys, replace(made, manifest={"predicate": {}}))


# What starts from another artifact: a target that reads what the toy target made

_READER = """\
title: Reader
reads: [onnx]
needs: {{target: toy, options: {{rounds: 2}}}}
makes: toy
python: "{python}"
precisions: [fp32]
promises: [model.toy]
"""


@pytest.fixture
def readers(toys: Toys) -> Toys:
    """Return the toys with a target that starts from the toy's artifact and only copies it."""
    folder = toys.folder / "docker" / "reader"
    shutil.copytree(toys.target.folder, folder)
    (folder / "target.yaml").write_text(_READER.format(python=toys.target.python))
    code = (folder / "converter.py").read_text()
    for old, new in (("job.source.weights.read_text()", "job.source.file.read_text()"),
                     (' if job.source.weights else {"gain": 7}', ""),
                     ('job.facts["rounds"] = job.options["rounds"]', "pass")):
        assert old in code
        code = code.replace(old, new)
    (folder / "converter.py").write_text(code)
    venv = toys.farm.runners.venv
    environment = venv.folder(toys.farm.targets["reader"])
    if not environment.exists():  # the same packages: one environment serves both
        environment.symlink_to(venv.folder(toys.target))
    return toys


def read_job(toys: Toys) -> Job:
    """Plan the reader's job."""
    farm = toys.farm
    (job,) = farm.planner(farm.targets["reader"], Request(), Console(io.StringIO())).jobs(farm.recipe("toy"))
    return job


def test_what_starts_from_another_artifact_is_made_again_as_well(readers: Toys) -> None:
    toys, job = readers, read_job(readers)
    made = toys.builder().build(job, Console(io.StringIO())).artifact
    assert job.origin
    fed = toys.farm.store.latest("toy", "toy-for-reader")
    assert fed and set(fed.subjects) == {"model.toy", "reference.npz"}
    for artifact in (made, fed):
        again = replan(toys, artifact)
        assert again.key == artifact.key
        assert rebuilder(toys).reproduce(again, artifact, Console(io.StringIO())) == IDENTICAL


def test_its_job_folder_holds_what_it_starts_from(readers: Toys) -> None:
    toys, job = readers, read_job(readers)
    rebuilder(toys).write(job, toys.folder / "job", Console(io.StringIO()))
    assert sorted(tree(toys.folder / "job")) == ["in/samples.npz", "in/source/model.toy", "job.json"]
    assert choose([job], "") is job
    assert choose([job], "toy-for-reader") is job.origin


def test_its_script_has_the_digests_of_what_it_starts_from(readers: Toys) -> None:
    toys, job = readers, read_job(readers)
    made = toys.builder().build(job, Console(io.StringIO())).artifact
    fed = toys.farm.store.latest("toy", "toy-for-reader")
    assert fed
    script = made.path("reproduce.sh").read_text()
    assert f"{fed.subjects['model.toy']}  in/source/model.toy" in script
    assert "make job MODEL=toy TARGET=reader FOLDER=JOB" in script
    assert "make job MODEL=toy TARGET=reader VARIANT=toy-for-reader FOLDER=JOB" in fed.path("reproduce.sh").read_text()


def test_a_change_before_it_is_refused_and_can_be_asked_for(readers: Toys) -> None:
    toys, job = readers, read_job(readers)
    made = toys.builder().build(job, Console(io.StringIO())).artifact
    toys.model(gain=3)
    with pytest.raises(MachineError, match="source.artifact: was ") as caught:
        replan(toys, made)
    assert caught.value.remedy == "make why MODEL=toy TARGET=reader says what changed before it"


# The job folder


def write(toys: Toys, folder: Path, **request: str) -> str:
    stream = io.StringIO()
    (job,) = toys.jobs(**request)
    rebuilder(toys).write(job, folder, Console(stream, live=False))
    return stream.getvalue()


def test_a_job_folder_is_what_the_toolchain_gets(toys: Toys) -> None:
    folder = toys.folder / "job"
    said = write(toys, folder)
    assert sorted(tree(folder)) == ["in/samples.npz", "in/source/toy.pt", "in/source/toy.py", "job.json"]
    assert not list((folder / "out").iterdir())
    document = json.loads((folder / "job.json").read_text())
    assert (document["model"], document["reference"], "given" in document) == ("toy", True, False)
    assert f"JOB={folder}\n" in said and said.endswith('-m jobkit "$JOB"\n')
    assert not list((toys.settings.artifacts / ".staging").iterdir())


def test_job_folders_are_equal_at_other_times_and_places(tmp_path: Path, toys: Toys) -> None:
    other = make_toys(tmp_path / "elsewhere", toys.cache)
    other.model()
    write(toys, tmp_path / "one")
    time.sleep(2.1)  # archives keep times in steps of two seconds
    write(other, tmp_path / "two")
    one, two = ({name: digest for name, (digest, _) in tree(tmp_path / name).items()} for name in ("one", "two"))
    assert one == two
    assert not any(str(tmp_path).encode() in (tmp_path / "one" / name).read_bytes() for name in one)


def test_the_folder_must_be_new_or_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert empty_folder("new/deep") == tmp_path / "new" / "deep"
    (tmp_path / "empty").mkdir()
    assert empty_folder(str(tmp_path / "empty")) == tmp_path / "empty"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".hidden").touch()
    for name, message in (("full", "is not empty"), ("full/.hidden", "is no folder"), ("", "where to"),
                          ("~nobody-here/x", "is no folder")):
        with pytest.raises(UsageError, match=message):
            empty_folder(name)


def test_a_folder_that_cannot_be_written_is_the_machines_fault(toys: Toys) -> None:
    (toys.folder / "file").touch()
    with pytest.raises(MachineError, match="cannot be written"):
        write(toys, toys.folder / "file" / "job")


def test_samples_that_do_not_fit_leave_no_half_of_a_folder(toys: Toys) -> None:
    (toys.model(more="samples: {arrays: [x.npz]}") / "x.npz").write_bytes(b"no archive")
    with pytest.raises(FarmError, match=r"x\.npz"):
        write(toys, toys.folder / "job")
    assert not (toys.folder / "job").exists()


def test_one_of_several_variants_must_be_named(toys: Toys) -> None:
    plain, other = *toys.jobs(), *toys.jobs(options="rounds=3")
    assert choose([plain], "") is plain
    assert choose([plain, other], "toy-rounds3") is other
    with pytest.raises(UsageError, match="which variant") as caught:
        choose([plain, other], "")
    assert caught.value.remedy == "say VARIANT=name, one of toy, toy-rounds3"
    with pytest.raises(UsageError, match="no variant 'toy-round'; did you mean toy-rounds3"):
        choose([plain, other], "toy-round")


def test_the_usual_variant_has_the_first_precision_where_there_are_several(toys: Toys) -> None:
    assert usual_variant(toys.target) == "toy"
    assert usual_variant(replace(toys.target, precisions=("fp16", "fp32"))) == "toy-fp16"
