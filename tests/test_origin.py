"""Targets that start from another target's artifact: one job feeds many, each held against the source all the same."""

from __future__ import annotations

import io
import json
import shutil

import pytest

from modelfarm.console import Console
from modelfarm.engines.engine import Outcome
from modelfarm.errors import UsageError
from modelfarm.farm import Farm
from modelfarm.plan import Request
from tests.toys import Toys

TARGET = """\
title: Twin
reads: [onnx]
needs: {target: toy, options: {rounds: 2}}
makes: twin
python: "3.11"
precisions: [fp32, fp16]
promises: [model.twin]
seconds: 30
"""

CONVERTER = '''
"""Twins: what the toy does, rounded to whole numbers where it is half precision."""
import json

import numpy as np
from jobkit import Device, Runtime, Tensor

def convert(job):
    gain = json.loads(job.source.file.read_text())["gain"]
    (job.out / "model.twin").write_text(str(round(gain) if job.precision == "fp16" else gain))
    return ["model.twin"]

def load(files, job):
    gain = np.float32((job.out / files[0]).read_text())
    shape = job.inputs[0].shape
    return Runtime(lambda inputs: {"y": gain * inputs["x"]}, (Tensor("x", shape, "float32"),),
                   (Tensor("y", shape, "float32"),), Device("cpu", "cpu", "numpy"))
'''


@pytest.fixture
def twins(toys: Toys) -> Toys:
    """Return toys with a second toolchain, which reads what the first makes."""
    folder = toys.folder / "docker" / "twin"
    folder.mkdir()
    (folder / "target.yaml").write_text(TARGET)
    shutil.copy(toys.folder / "docker" / "toy" / "requirements.txt", folder)
    (folder / "converter.py").write_text(CONVERTER)
    farm = toys.farm
    environment = farm.runners.venv.folder(farm.targets["twin"])
    if not environment.exists():  # the same packages: one environment serves both
        environment.symlink_to(farm.runners.venv.folder(farm.targets["toy"]))
    return toys


def run(toys: Toys, *models: str, workers: int = 1) -> dict[str, Outcome]:
    farm = toys.farm
    console = Console(io.StringIO(), live=False)
    planner = farm.planner(farm.targets["twin"], Request(options="precision=[fp32,fp16]"), console)
    jobs = [job for model in models for job in planner.jobs(farm.recipe(model))]
    outcomes = toys.run(jobs, console, at_a_time=workers)
    return {outcome.name: outcome for outcome in outcomes}


@pytest.mark.parametrize("workers", [1, 3])
def test_what_a_target_needs_is_made_first_and_once(twins: Toys, workers: int) -> None:
    twins.model(gain=2, mark=str(twins.folder / "mark"))
    outcomes = run(twins, "toy", workers=workers)
    assert list(outcomes) == ["toy/toy-for-twin", "toy/twin-fp32", "toy/twin-fp16"]
    assert all(outcome.built for outcome in outcomes.values())
    assert (twins.folder / "mark").read_text().count("\n") == 1
    assert all(outcome.built and outcome.built.cached for outcome in run(twins, "toy").values())


def test_what_is_needed_has_the_options_that_the_reader_needs(twins: Toys) -> None:
    twins.model(gain=2)
    outcomes = run(twins, "toy")
    origin = outcomes["toy/toy-for-twin"].built
    assert origin and origin.artifact.manifest["predicate"]["verification"]["facts"]["rounds"] == 2
    reader = outcomes["toy/twin-fp32"].built
    assert reader and reader.job.identity["source"] == {"artifact": origin.artifact.key}


def test_the_reader_is_held_against_the_source(twins: Toys) -> None:
    twins.model(gain=2.4)
    outcomes = run(twins, "toy")
    assert outcomes["toy/twin-fp32"].built
    failure = outcomes["toy/twin-fp16"].error
    assert failure and "gate parity" in failure.message


def test_where_the_first_fails_its_readers_are_not_started(twins: Toys) -> None:
    twins.model("bad", gain=2, error=1, mark=str(twins.folder / "mark"))
    twins.model("good", gain=2)
    for workers in (1, 3):
        outcomes = run(twins, "bad", "good", workers=workers)
        failure = outcomes["bad/toy-for-twin"].error
        assert failure and "gate parity" in failure.message
        assert [outcomes[f"bad/twin-{precision}"].waited_for for precision in ("fp32", "fp16")] == [
            "bad/toy-for-twin"] * 2
        assert outcomes["good/twin-fp32"].built
    assert (twins.folder / "mark").read_text().count("\n") == 2


def test_a_farm_says_what_was_not_started_and_ends_with_the_code_of_the_failure(
    twins: Toys, capsys: pytest.CaptureFixture[str]
) -> None:
    twins.model(gain=2, error=1)
    assert twins.farm.convert("twin", "toy", Request(), Console(live=False)) == 6
    said = capsys.readouterr()
    assert "toy/twin-fp32 was not started: it starts from toy/toy-for-twin, which failed" in said.out
    assert "gate parity" in said.err


def test_a_collected_origin_is_made_anew_when_it_is_needed(twins: Toys) -> None:
    twins.model(gain=2)
    run(twins, "toy")
    for variant in ("toy-for-twin", "twin-fp32"):
        shutil.rmtree(twins.settings.artifacts / "toy" / variant)
    farm: Farm = twins.farm
    job = next(farm.planner(farm.targets["twin"], Request(), Console(io.StringIO())).jobs(farm.recipe("toy")))
    assert twins.builder().build(job, Console(io.StringIO())).artifact.path("model.twin").is_file()


def test_the_origin_keeps_the_outputs_of_the_source_under_its_manifest(twins: Toys) -> None:
    twins.model(gain=2)
    built = run(twins, "toy")["toy/toy-for-twin"].built
    assert built and set(built.artifact.subjects) == {"model.toy", "reference.npz"}
    smoke = json.loads(built.artifact.path("smoke.json").read_text())
    assert smoke["files"].keys() == {"model.toy"}


def test_options_are_the_readers_own(twins: Toys) -> None:
    twins.model(gain=2)
    farm = twins.farm
    planner = farm.planner(farm.targets["twin"], Request(options="rounds=3"), Console(io.StringIO()))
    with pytest.raises(UsageError, match="rounds: unknown key"):
        list(planner.jobs(farm.recipe("toy")))


def test_another_source_means_another_key_for_the_reader(twins: Toys) -> None:
    twins.model(gain=2)
    first = {name: outcome.built.job.key for name, outcome in run(twins, "toy").items() if outcome.built}
    twins.model(gain=3)
    second = {name: outcome.built.job.key for name, outcome in run(twins, "toy").items() if outcome.built}
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())
