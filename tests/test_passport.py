"""What an engine was made for, by its manifest: refused for another GPU or version before anything is loaded.

The machines are stand-ins: device files and nvidia-smi; the manifests are written as `make trt` writes them.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from modelfarm.artifact import Artifact
from modelfarm.build import Builder
from modelfarm.console import Console
from modelfarm.errors import ArtifactError, MachineError, UsageError
from modelfarm.gpu import Gpu
from modelfarm.passport import Passport, inspect, read_passport
from modelfarm.plan import Planner, Request
from modelfarm.runners import Runners
from modelfarm.target import read_target
from tests.gpus import RTX_3060, RTX_4090, Machine
from tests.toys import CONVERTER, ToyFarm, Toys

ENGINE = {"tensorrt": "8.2.4.2", "gpu": RTX_3060.name, "capability": "8.6", "driver": "535.54.03", "cuda": "12.2",
          "size": 7, "sha256": "0" * 64}
COMMAND = "make toy MODEL=toy PRECISION=fp32"


@dataclass(frozen=True)
class GpuFarm(ToyFarm):
    """A farm of toys on a machine of the test's own."""

    @cached_property
    def runners(self) -> Runners:
        return Runners(settings=self.settings, digests=self.digests, system=self.settings.models.parent / "machine")


@pytest.fixture
def machine(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a machine whose toy target is for GPUs and leaves the passport of an engine."""
    folder = toys.target.folder
    (folder / "target.yaml").write_text((folder / "target.yaml").read_text() + "device: gpu\notherwise: use a pencil\n")
    text = CONVERTER.replace('job.facts["rounds"]', f'job.facts["engine"] = {ENGINE!r}\n    job.facts["rounds"]')
    text = text.replace('Device("cpu", _weights(job).get("device", "cpu"), "numpy")', 'Device("gpu", "gpu", "a toy")')
    (folder / "converter.py").write_text(text)
    machine = Machine(toys.folder / "machine")
    machine.path.mkdir(parents=True)
    monkeypatch.setenv("PATH", machine.environment["PATH"])
    return machine


@pytest.fixture
def farm(toys: Toys, machine: Machine) -> GpuFarm:
    """Return a farm whose store has an engine, which was made on an RTX 3060."""
    machine.insert(RTX_3060)
    farm = GpuFarm(toys.settings)
    build(farm)
    return farm


def build(farm: GpuFarm) -> Artifact:
    farm.runners.venv.prepare(farm.targets["toy"], Console(io.StringIO()))
    target = farm.targets["toy"]
    planner = Planner(target=target, runner=farm.runners.of(target), lookup=farm.lookup, digests=farm.digests,
                      request=Request(), gpu=farm.runners.gpu(target))
    (job,) = planner.jobs(farm.recipe("toy"))
    return Builder(store=farm.store, runners=farm.runners.of).build(job, Console(io.StringIO())).artifact


def look(toys: Toys, picture: Path) -> None:
    """Do what `make trt-run` does, in a process that starts anew."""
    GpuFarm(toys.settings).look("toy", "toy", str(picture), Console(io.StringIO()))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "face.jpg"
    file.write_bytes(b"a picture")
    return file


def test_the_manifest_tells_what_an_engine_was_made_for(farm: GpuFarm) -> None:
    issued = read_passport(farm.artifact("toy", "toy"))
    assert issued == Passport(tensorrt="8.2.4.2", gpu="NVIDIA GeForce RTX 3060", capability="8.6")
    assert str(issued) == "TensorRT 8.2.4.2 on NVIDIA GeForce RTX 3060 (sm_86)"


def test_an_engine_for_sm_86_is_refused_on_another_gpu_with_both_and_the_command(toys: Toys, farm: GpuFarm,
                                                                                 machine: Machine,
                                                                                 picture: Path) -> None:
    machine.insert(replace(RTX_4090, index=0))
    with pytest.raises(MachineError) as caught:
        look(toys, picture)
    assert caught.value.message == (
        "toy/toy is for another architecture, sm_86: it was built for TensorRT 8.2.4.2 on NVIDIA GeForce RTX 3060 "
        "(sm_86), and here is TensorRT of an unknown version on NVIDIA GeForce RTX 4090 (sm_89)")
    assert caught.value.remedy == f"build the right one here: {COMMAND}"
    assert caught.value.code == 4


def test_on_a_machine_without_a_gpu_the_message_says_what_the_engine_is_for_and_what_lacks(toys: Toys, farm: GpuFarm,
                                                                                          machine: Machine,
                                                                                          picture: Path) -> None:
    (machine.root / "dev" / "nvidia0").unlink()
    with pytest.raises(MachineError) as caught:
        look(toys, picture)
    assert caught.value.message.startswith("toy/toy was built for TensorRT 8.2.4.2 on NVIDIA GeForce RTX 3060 (sm_86). "
                                           "toy needs an NVIDIA GPU, and this machine has none that works")
    assert caught.value.remedy.endswith("use a pencil")


def test_an_engine_of_another_version_is_refused_by_name(toys: Toys, farm: GpuFarm, picture: Path) -> None:
    lock = toys.target.requirements
    lock.write_text("toy==1.0\ntensorrt-cu12-bindings==10.16.1.11\n")
    with pytest.raises(MachineError) as caught:
        look(toys, picture)
    assert "is for another version of TensorRT, 8.2.4.2" in caught.value.message
    assert "here is TensorRT 10.16.1.11 on NVIDIA GeForce RTX 3060 (sm_86)" in caught.value.message


def test_a_truncated_engine_is_damaged_before_anybody_looks_at_its_passport(toys: Toys, farm: GpuFarm,
                                                                            machine: Machine, picture: Path) -> None:
    file = farm.artifact("toy", "toy").path("model.toy")
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-1])
    machine.insert(replace(RTX_4090, index=0))
    with pytest.raises(ArtifactError, match=f"model.toy has {size - 1} bytes where the manifest says {size}") as caught:
        look(toys, picture)
    assert caught.value.code == 7


def test_an_engine_for_this_gpu_is_let_through_to_its_toolchain(toys: Toys, farm: GpuFarm, picture: Path) -> None:
    with pytest.raises(UsageError, match="toy names no decoder"):
        look(toys, picture)


@pytest.mark.parametrize(("gpu", "tensorrt", "said"), [
    (RTX_3060, "8.2.4.2", None), (RTX_3060, "", None),
    (replace(RTX_3060, driver="1.0", cuda="9.9", uuid="GPU-other", index=3), "8.2.4.2", None),
    (RTX_3060, "8.2.5.1", "another version of TensorRT, 8.2.4.2:"),
    (RTX_4090, "8.2.4.2", "another architecture, sm_86:"),
    (replace(RTX_3060, name="NVIDIA RTX A2000"), "8.2.4.2", "another GPU, NVIDIA GeForce RTX 3060:"),
    (RTX_4090, "10.1", "another version of TensorRT, 8.2.4.2 and another architecture, sm_86:"),
])
def test_version_architecture_and_name_must_agree_and_nothing_else(farm: GpuFarm, gpu: Gpu, tensorrt: str,
                                                                   said: str | None) -> None:
    artifact = farm.artifact("toy", "toy")
    issued = read_passport(artifact)
    assert issued is not None
    if said is None:
        inspect(issued, artifact, gpu, tensorrt, COMMAND)
        return
    with pytest.raises(MachineError) as caught:
        inspect(issued, artifact, gpu, tensorrt, COMMAND)
    assert said in caught.value.message


def harmed(artifact: Artifact, engine: Any) -> Artifact:
    manifest = json.loads(json.dumps(artifact.manifest))
    manifest["predicate"]["verification"]["facts"]["engine"] = engine
    return replace(artifact, manifest=manifest)


@pytest.mark.parametrize("engine", [{**ENGINE, "gpu": ""}, {**ENGINE, "tensorrt": None}, {"capability": "8.6"}])
def test_a_garbled_passport_is_a_damaged_artifact(farm: GpuFarm, engine: Any) -> None:
    with pytest.raises(ArtifactError, match="does not say what its engine was made for"):
        read_passport(harmed(farm.artifact("toy", "toy"), engine))


@pytest.mark.parametrize("engine", [None, {}, {"version": "1.7.1", "bytes": 3}, "words"])
def test_an_artifact_that_names_no_machine_runs_anywhere(farm: GpuFarm, engine: Any) -> None:
    assert read_passport(harmed(farm.artifact("toy", "toy"), engine)) is None


def test_the_key_of_an_engine_is_of_its_gpu(farm: GpuFarm, toys: Toys, machine: Machine) -> None:
    first = farm.artifact("toy", "toy")
    machine.insert(replace(RTX_4090, index=0))
    assert build(GpuFarm(toys.settings)).key != first.key
    assert read_target(toys.target.folder / "target.yaml").device == "gpu"
