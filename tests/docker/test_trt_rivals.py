"""The rival that engines are measured beside: ONNX Runtime on the very file, run here on the CPU."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jobfolder import DOCKER
from trttoys import TRT, import_module

rivals = import_module("rivals")


@pytest.fixture(scope="module")
def told(script: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what the rival gives and says in the onnx toolchain, whose ONNX Runtime has no CUDA."""
    return script("trt_rivals", TRT, tmp_path_factory.mktemp("rivals"))


def test_a_file_with_several_inputs_and_outputs_is_measured(told: Any) -> None:
    assert set(told["cpu"]) == {"ONNX Runtime, median ms", "ONNX Runtime, p95 ms"}
    assert 0 < told["cpu"]["ONNX Runtime, median ms"] <= told["cpu"]["ONNX Runtime, p95 ms"]


def test_a_silent_change_to_the_cpu_is_no_measure_of_a_gpu(told: Any) -> None:
    assert told["cuda"] == "it has no CUDAExecutionProvider here, and took CPUExecutionProvider"


def test_what_cannot_be_measured_is_said_and_fails_nothing(told: Any) -> None:
    assert told["measured"] == {}
    (note,) = told["notes"]
    assert note.startswith("ONNX Runtime was not measured: ") and "CUDAExecutionProvider" in note


def test_a_toolchain_without_onnx_runtime_measures_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert rivals.measured(SimpleNamespace(), tmp_path / "model.onnx", {}) == {}


def test_the_names_are_those_that_the_check_of_gpus_looks_for() -> None:
    from modelfarm.gpucheck import _RIVALS

    assert "ONNX Runtime, median ms" in _RIVALS
    told = {node.value for file in (TRT / "rivals.py", DOCKER / "trt-torch2trt" / "eager.py")
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert {name.partition(",")[0] for name in _RIVALS} <= told


@pytest.mark.parametrize("lock", ["trt", "trt-onnx2trt", "trt-torch2trt"])
def test_every_image_of_tensorrt_8_has_the_rival_at_one_version(lock: str) -> None:
    lines = (DOCKER / lock / "requirements.txt").read_text().splitlines()
    assert lines.count("onnxruntime-gpu==1.14.1") == 1
    trt = {line for line in (TRT / "requirements.txt").read_text().splitlines() if "==" in line}
    assert trt <= set(lines), "what stands on the trt image has its packages"
