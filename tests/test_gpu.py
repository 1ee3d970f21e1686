"""The GPU of a machine, and what is said where none works."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfarm import gpu
from modelfarm.errors import MachineError, UsageError
from modelfarm.gpu import Gpu
from tests.gpus import DRIVER, RTX_3060, RTX_4090, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "machine")
    machine.path.mkdir(parents=True)
    return machine


def required(machine: Machine, **environment: str) -> Gpu:
    return gpu.require("trt", "make trt-rtx builds without one", system=machine.root,
                       environment={**machine.environment, **environment})


def refused(machine: Machine, **environment: str) -> MachineError:
    with pytest.raises(MachineError) as caught:
        required(machine, **environment)
    return caught.value


def test_a_machine_without_a_gpu_is_told_what_was_looked_at_and_what_can_be_done(machine: Machine) -> None:
    error = refused(machine)
    assert error.code == 4
    assert error.message.splitlines() == [
        "trt needs an NVIDIA GPU, and this machine has none that works",
        "    device files: no /dev/nvidia0",
        "    driver: not loaded, there is no /proc/driver/nvidia/version",
        "    driver's tool: no nvidia-smi on the PATH",
        "    container toolkit: no nvidia-ctk on the PATH, and no CDI file in /etc/cdi or /var/run/cdi"]
    assert error.remedy == "run it on a machine with an NVIDIA GPU and its driver; make trt-rtx builds without one"


def test_nothing_is_started_to_find_that_there_is_no_gpu(machine: Machine) -> None:
    machine.program("nvidia-smi", f"#!/bin/sh\ntouch {machine.root}/asked\n")
    assert "driver's tool: " + str(machine.path / "nvidia-smi") in refused(machine).message
    assert not (machine.root / "asked").exists()


def test_what_is_there_is_named(machine: Machine) -> None:
    machine.write("dev/nvidia0", "")
    machine.write("proc/driver/nvidia/version", DRIVER)
    machine.write("etc/cdi/nvidia.yaml", "")
    toolkit = machine.program("nvidia-ctk")
    said = refused(machine).message
    assert "device files: /dev/nvidia0" in said
    assert "driver: NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03" in said
    assert f"container toolkit: {toolkit}, /etc/cdi/nvidia.yaml" in said
    assert "no nvidia-smi on the PATH" in said


def test_a_gpu_is_what_its_driver_tells(machine: Machine) -> None:
    machine.insert(RTX_3060)
    found = required(machine)
    assert found == RTX_3060
    assert found.architecture == "sm_86"
    assert str(found) == "NVIDIA GeForce RTX 3060 (sm_86), driver 535.54.03, CUDA 12.2"


def test_equal_gpus_count_as_one_and_all_else_makes_another(machine: Machine) -> None:
    assert RTX_3060.identity == {"name": "NVIDIA GeForce RTX 3060", "capability": "8.6", "driver": "535.54.03",
                                 "cuda": "12.2"}
    assert RTX_3060.identity != RTX_4090.identity


@pytest.mark.parametrize("wanted", ["1", RTX_4090.uuid])
def test_of_several_the_first_is_taken_or_the_one_that_is_named(machine: Machine, wanted: str) -> None:
    machine.insert(RTX_3060, RTX_4090)
    assert required(machine) == RTX_3060
    assert required(machine, GPU=wanted) == RTX_4090


def test_a_name_of_none_is_a_wrong_word(machine: Machine) -> None:
    machine.insert(RTX_3060, RTX_4090)
    with pytest.raises(UsageError, match="GPU=2: there is no such GPU") as caught:
        required(machine, GPU="2")
    assert "0 (NVIDIA GeForce RTX 3060), 1 (NVIDIA GeForce RTX 4090)" in caught.value.remedy


def test_a_driver_that_does_not_answer_is_quoted(machine: Machine) -> None:
    machine.insert(RTX_3060)
    said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    machine.program("nvidia-smi", f'#!/bin/sh\necho "{said}"\nexit 9\n')
    error = refused(machine)
    assert said in error.message and "510" in error.remedy


@pytest.mark.parametrize("line", ["0, GPU-1, Tesla K80, [N/A], 470.1", "No devices were found", "0, a, b, 8.6"])
def test_an_answer_in_other_words_is_no_gpu(machine: Machine, line: str) -> None:
    machine.insert(RTX_3060)
    machine.program("nvidia-smi", f"#!/bin/sh\necho '{line}'\n")
    assert line in refused(machine).message


def test_a_driver_that_does_not_say_its_cuda_leaves_it_empty(machine: Machine) -> None:
    machine.insert(RTX_3060)
    text = (machine.path / "nvidia-smi").read_text().replace("CUDA Version: 12.2", "")
    machine.program("nvidia-smi", text)
    found = required(machine)
    assert found.cuda == "" and not str(found).endswith("CUDA ")


def test_no_gpu_behind_the_device_files_is_none(machine: Machine) -> None:
    machine.insert(RTX_3060)
    machine.program("nvidia-smi", "#!/bin/sh\n")
    assert "this machine has none that works" in refused(machine).message


def test_windows_lends_its_gpu_to_linux_under_another_name(machine: Machine) -> None:
    machine.write("dev/dxg", "")
    assert gpu.devices(machine.root) == ["dxg"]
    machine.write("dev/nvidia0", "")
    machine.write("dev/nvidiactl", "")
    assert gpu.devices(machine.root) == ["nvidia0"]
