"""Which runner a job for the GPU gets, and that it gets that GPU: device files and nvidia-smi are stand-ins."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from modelfarm.build import Builder
from modelfarm.console import Console
from modelfarm.digest import Digests
from modelfarm.errors import GateError, MachineError
from modelfarm.plan import Planner, Request
from modelfarm.runners import Runners, VenvRunner
from modelfarm.target import Target, read_target
from tests.gpus import RTX_3060, RTX_4090, Machine
from tests.toys import TARGET, Toys


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path / "machine")
    machine.path.mkdir(parents=True)
    monkeypatch.setenv("PATH", machine.environment["PATH"])
    return machine


@pytest.fixture
def wanting(toys: Toys) -> Target:
    """Return the toy target as one for the GPU."""
    file = toys.target.folder / "target.yaml"
    file.write_text(file.read_text() + "device: gpu\notherwise: paint it by hand\n")
    return read_target(file)


def runners(toys: Toys, machine: Machine) -> Runners:
    return Runners(settings=toys.settings, digests=Digests(toys.cache), system=machine.root)


def test_targets_say_where_their_artifacts_run_and_what_can_be_done_elsewhere(toys: Toys, wanting: Target) -> None:
    assert (wanting.device, wanting.otherwise) == ("gpu", "paint it by hand")
    assert TARGET.count("device") == 0


def test_a_target_for_the_processor_never_looks_for_a_gpu(toys: Toys, machine: Machine) -> None:
    assert runners(toys, machine).gpu(toys.target) is None
    assert runners(toys, machine).of(toys.target).name == "venv"


def test_a_machine_without_one_is_told_before_any_runner_is_chosen(toys: Toys, machine: Machine,
                                                                   wanting: Target) -> None:
    nowhere = replace(runners(toys, machine), settings=replace(toys.settings, runner="docker"))
    with pytest.raises(MachineError, match="toy needs an NVIDIA GPU") as caught:
        nowhere.of(wanting)
    assert caught.value.remedy.endswith("paint it by hand")


def test_an_environment_sees_the_chosen_gpu_alone(toys: Toys, machine: Machine, wanting: Target, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    machine.insert(RTX_3060, RTX_4090)
    monkeypatch.setenv("GPU", "1")
    runner = runners(toys, machine).of(wanting)
    assert isinstance(runner, VenvRunner) and runner.gpu == RTX_4090
    (tmp_path / "job" / "out").mkdir(parents=True)
    (tmp_path / "job" / "job.json").write_text(json.dumps({"schema": 0}))
    (toys.target.folder.parent / "jobkit" / "__main__.py").write_text(
        "import os\nprint('sees', os.environ.get('CUDA_VISIBLE_DEVICES'))\n")
    runner.run(wanting, tmp_path / "job", tmp_path / "log", lambda: None, 30)
    assert f"sees {RTX_4090.uuid}" in (tmp_path / "log").read_text()


def test_the_key_holds_the_gpu_and_not_which_of_several_equal_ones(toys: Toys, machine: Machine,
                                                                   wanting: Target) -> None:
    machine.insert(RTX_3060)
    keys = {}
    twin = replace(RTX_3060, index=1, uuid="GPU-of-the-same-make")
    for gpu in (RTX_3060, twin, RTX_4090, replace(RTX_3060, driver="550.1"), None):
        planner = Planner(target=wanting, runner=runners(toys, machine).of(wanting), lookup=toys.farm.lookup,
                          digests=toys.farm.digests, request=Request(), gpu=gpu)
        (job,) = planner.jobs(toys.farm.recipe("toy"))
        assert job.identity.get("gpu") == (gpu.identity if gpu else None)
        keys[gpu] = job.key
    assert keys[RTX_3060] == keys[twin]
    assert len(set(keys.values())) == 4


def test_an_artifact_that_did_not_run_on_the_gpu_is_not_published(toys: Toys, machine: Machine,
                                                                  wanting: Target) -> None:
    machine.insert(RTX_3060)
    chosen = runners(toys, machine)
    planner = Planner(target=wanting, runner=chosen.of(wanting), lookup=toys.farm.lookup, digests=toys.farm.digests,
                      request=Request(), gpu=chosen.gpu(wanting))
    (job,) = planner.jobs(toys.farm.recipe("toy"))
    builder = Builder(store=toys.farm.store, runners=chosen.of)
    with pytest.raises(GateError, match=r"gate device: ran on cpu \(numpy\), but was to run on gpu"):
        builder.build(job, Console(io.StringIO()))
    assert toys.farm.store.latest("toy", "toy") is None
