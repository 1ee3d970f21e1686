"""What the image is told, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfarm.errors import ConversionError, GateError
from modelfarm.job import Device, Job, JobSpec, Latency, Material, Tensor, read_result
from modelfarm.recipe import Input, Output
from modelfarm.target import read_targets
from tests.cases import picture
from tests.recipes import read

RESULT: dict[str, Any] = {
    "schema": 1, "ok": True, "files": ["model.onnx"],
    "signature": {"inputs": [{"name": "input", "shape": ["batch", 3, 8, 8], "dtype": "float32"}],
                  "outputs": [{"name": "scores", "shape": ["batch", 2], "dtype": "float32"}]},
    "device": {"wanted": "cpu", "used": "cpu", "detail": "CPUExecutionProvider"},
    "latency": {"median_ms": 1.5, "p95_ms": 2.0, "runs": 30, "sample": "a.png"},
    "timings": {"convert": 1.0}, "facts": {"opset": 12}, "versions": {"python": "3.11"}, "error": None,
}


def write(folder: Path, document: Any) -> Path:
    file = folder / "result.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return file


def spec(**changes: Any) -> JobSpec:
    plain = JobSpec(
        model="toy", target="onnx", variant="onnx", precision="fp32",
        source={"kind": "torch", "module": "in/source/toy.py", "factory": "build", "arguments": {}, "weights": None,
                "seed": 0},
        options={"opset": 12}, samples=["a.png", "random-0"], calibration=None, promises=["model.onnx"],
        inputs=[Input(name="input", shape=(1, 3, 8, 8), dtype="float32", layout="NCHW", picture=picture())],
        outputs=[Output(name="scores", shape=(1, 2), dtype="float32"), Output(name="rest")],
        latency={"warmup": 3, "runs": 30, "seconds": 2.0})
    return replace(plain, **changes)


def test_job_json_says_what_the_contract_asks_for(tmp_path: Path) -> None:
    spec().write(tmp_path / "job.json")
    assert json.loads((tmp_path / "job.json").read_text()) == {
        "schema": 1, "model": "toy", "target": "onnx", "variant": "onnx", "precision": "fp32",
        "source": {"kind": "torch", "module": "in/source/toy.py", "factory": "build", "arguments": {}, "weights": None,
                   "seed": 0},
        "options": {"opset": 12}, "samples": ["a.png", "random-0"], "calibration": None, "promises": ["model.onnx"],
        "inputs": [{"name": "input", "shape": [1, 3, 8, 8], "dtype": "float32", "layout": "NCHW"}],
        "outputs": [{"name": "scores", "shape": [1, 2], "dtype": "float32"},
                    {"name": "rest", "shape": None, "dtype": None}],
        "latency": {"warmup": 3, "runs": 30, "seconds": 2.0}, "reference": True,
    }


def test_a_result_is_read(tmp_path: Path) -> None:
    result = read_result(write(tmp_path, RESULT))
    assert result.files == ("model.onnx",)
    assert result.inputs == (Tensor(name="input", shape=("batch", 3, 8, 8), dtype="float32"),)
    assert result.outputs == (Tensor(name="scores", shape=("batch", 2), dtype="float32"),)
    assert result.device == Device(wanted="cpu", used="cpu", detail="CPUExecutionProvider")
    assert result.latency == Latency(median_ms=1.5, p95_ms=2.0, runs=30, sample="a.png")
    assert (result.timings, result.facts, result.versions) == ({"convert": 1.0}, {"opset": 12}, {"python": "3.11"})


def test_layout_scale_and_zero_point_are_read_where_the_toolchain_tells_them(tmp_path: Path) -> None:
    entry = {"name": "input", "shape": [1, 8, 8, 3], "dtype": "uint8", "layout": "NHWC", "scale": 0.5, "zero_point": 0}
    result = read_result(write(tmp_path, {**RESULT, "signature": {**RESULT["signature"], "inputs": [entry]}}))
    (tensor,) = result.inputs
    assert (tensor.layout, tensor.scale, tensor.zero_point) == ("NHWC", 0.5, 0)
    (output,) = result.outputs
    assert (output.layout, output.scale, output.zero_point) == (None, None, None)


def test_the_meaning_of_a_model_is_written_where_there_is_one(tmp_path: Path) -> None:
    spec(meaning={"labels": ["cat"]}, calibration="in/calibration.npz").write(tmp_path / "job.json")
    document = json.loads((tmp_path / "job.json").read_text())
    assert (document["meaning"], document["calibration"]) == ({"labels": ["cat"]}, "in/calibration.npz")


def test_a_refusal_keeps_its_own_words(tmp_path: Path) -> None:
    error = {"kind": "refused", "class": "CheckpointError", "message": "no key fits", "remedy": "use another",
             "log": []}
    with pytest.raises(ConversionError) as caught:
        read_result(write(tmp_path, {"schema": 1, "ok": False, "error": error}))
    assert (caught.value.message, caught.value.remedy) == ("no key fits", "use another")


def test_what_was_made_and_does_not_work_is_the_gates_affair(tmp_path: Path) -> None:
    error = {"kind": "refused", "class": "UnusableError", "message": "it aborts", "remedy": "pad it", "log": []}
    with pytest.raises(GateError) as caught:
        read_result(write(tmp_path, {"schema": 1, "ok": False, "error": error}))
    assert (caught.value.message, caught.value.remedy) == ("it aborts", "pad it")


def test_a_crash_shows_its_class_and_the_last_lines(tmp_path: Path) -> None:
    log = [f"line {n}" for n in range(9)]
    error = {"kind": "crash", "class": "KeyError", "message": "'x'", "remedy": "", "log": log}
    with pytest.raises(ConversionError) as caught:
        read_result(write(tmp_path, {"schema": 1, "ok": False, "error": error}))
    assert caught.value.message.splitlines() == ["KeyError: 'x'", *(f"    line {n}" for n in range(1, 9))]
    assert "convert.log" in caught.value.remedy


def test_no_result_is_a_conversion_error(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="ended without a result"):
        read_result(tmp_path / "result.json")


def _without(key: str) -> dict[str, Any]:
    return {name: value for name, value in RESULT.items() if name != key}


@pytest.mark.parametrize("document", [
    "", "{", "[]", "null", "5", _without("ok"), _without("files"), _without("signature"), _without("device"),
    {**RESULT, "device": {"wanted": "cpu"}}, {**RESULT, "latency": {"median_ms": 1.0}}, {**RESULT, "files": None},
    {"ok": False}, {"ok": False, "error": None}, {"ok": False, "error": {"kind": "crash"}},
])
def test_a_result_of_another_form_is_a_conversion_error(tmp_path: Path, document: Any) -> None:
    with pytest.raises(ConversionError, match=r"result\.json is not what the farm expects"):
        read_result(write(tmp_path, document))


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    def make(**changes: Any) -> Job:
        materials = tuple(Material(role=role, name=name, path=tmp_path / name, sha256="0" * 64)
                          for role, name in (("module", "toy.py"), ("pictures", "a.png"), ("pictures", "b.png")))
        plain = Job(recipe=read(tmp_path), target=read_targets()["onnx"], variant="onnx", precision="fp32", options={},
                    materials=materials, random_weights=False, golden_waived=False, runner="venv", seconds=60,
                    provenance={}, identity={}, key="0")
        return replace(plain, **changes)

    return make


def test_a_job_is_named_by_model_and_variant(job: Callable[..., Job]) -> None:
    assert job(variant="onnx-opset11").name == "toy/onnx-opset11"


def test_materials_are_found_by_role(job: Callable[..., Job]) -> None:
    assert [material.name for material in job().having("pictures")] == ["a.png", "b.png"]
    assert job().having("weights") == ()


@pytest.mark.parametrize(("options", "axes"), [
    ({}, {}), ({"dynamic": None}, {}), ({"dynamic": {}}, {}),
    ({"dynamic": {"input": {"0": "batch", "2": "height"}}}, {"input": {0: "batch", 2: "height"}}),
])
def test_open_axes_are_numbers(job: Callable[..., Job], options: Any, axes: Any) -> None:
    assert job(options=options).dynamic == axes
