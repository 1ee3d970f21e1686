"""Whole jobs of the tflite target: precisions, names, shapes, and what it refuses; in its own environment."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobfolder import DOCKER, run_job
from tflitenets import ODD

TFLITE = DOCKER / "tflite"


@pytest.fixture(scope="module")
def found(script_in: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return script_in("tflite", "tflite_jobs", tmp_path_factory.mktemp("jobs"))


@pytest.fixture(scope="module")
def tflite_python(interpreter_of: Callable[[str], Path]) -> Path:
    return interpreter_of("tflite")


def refusal(found: Any, name: str, kind: str = "GraphError") -> str:
    assert found[name]["class"] == kind, found[name]
    assert found[name]["remedy"]
    assert found[name]["left"] == ["events.jsonl"]
    return str(found[name]["message"])


# Sigmoid outputs: a step of an integer is 1/256 of their whole range.
@pytest.mark.parametrize(("precision", "error"),
                         [("fp32", 1e-6), ("fp16", 1e-3), ("dynamic", 0.02), ("int8", 0.03), ("uint8", 0.03)])
def test_every_precision_gives_what_onnx_runtime_gives(found: Any, precision: str, error: float) -> None:
    got = found[precision]
    assert got["files"] == ["model.tflite"] and got["left"] == ["events.jsonl", "model.tflite"]
    assert got["errors"]["y"] < error
    assert got["dtypes"] == ["float32"] and got["shapes"] == {"y": [1, 5]} and got["seconds"]


def test_half_and_integers_are_really_in_the_file(found: Any) -> None:
    assert found["fp32"]["errors"]["y"] < 1e-6 < found["fp16"]["errors"]["y"] < found["uint8"]["errors"]["y"]
    assert found["fp16"]["size"] < found["fp32"]["size"]
    assert "DEQUANTIZE" in found["fp16"]["facts"]["operators"]
    assert not [name for name in found["int8"]["facts"]["operators"] if "QUANTIZE" in name]


@pytest.mark.parametrize(("precision", "lowest"), [("int8", -128), ("uint8", 0)])
def test_an_integer_file_takes_and_gives_integers_and_says_what_they_stand_for(
    found: Any, precision: str, lowest: int
) -> None:
    (fed,), (given,) = found[precision]["inputs"], found[precision]["outputs"]
    assert (fed["dtype"], given["dtype"]) == (precision, precision)
    # Calibrated on numbers from 0 to 1; the range of a sigmoid is fixed by TFLite's specification: 1/256.
    assert fed["scale"] == pytest.approx(1 / 255, rel=1e-2) and fed["zero_point"] == lowest
    assert given["scale"] == 1 / 256 and given["zero_point"] == lowest
    assert fed["layout"] == "NCHW"


@pytest.mark.parametrize("precision", ["fp32", "uint8"])
def test_two_conversions_give_equal_bytes_and_facts(found: Any, precision: str) -> None:
    assert found[f"{precision} again"]["digest"] == found[precision]["digest"]
    assert found[f"{precision} again"]["facts"] == found[precision]["facts"]


def test_outputs_of_one_shape_keep_their_names_and_their_order(found: Any) -> None:
    got = found["names"]
    assert [tensor["name"] for tensor in got["outputs"]] == list(ODD)
    assert got["errors"] == dict.fromkeys(ODD, 0.0)


def test_a_free_axis_gets_the_size_of_the_recipe(found: Any) -> None:
    assert found["free"]["inputs"][0]["shape"] == [1, 3, 8, 8]
    assert found["free"]["digest"] == found["fp32"]["digest"]


def test_operators_are_counted(found: Any) -> None:
    counted = found["fp32"]["facts"]["operators"]
    assert (counted["CONV_2D"], counted["FULLY_CONNECTED"], counted["LOGISTIC"]) == (1, 1, 1)
    assert found["fp32"]["facts"]["select_ops"] == []


def test_operators_of_tensorflow_come_in_only_where_they_are_allowed_and_are_listed(found: Any) -> None:
    assert refusal(found, "erf") == "TFLite does not have Erf among its builtin operators"
    assert "select_ops: true" in found["erf"]["remedy"]
    assert found["erf allowed"]["facts"]["select_ops"] == ["Erf"]
    assert found["erf allowed"]["errors"]["y"] < 1e-6


def test_what_onnx_tf_gets_wrong_silently_is_refused_with_the_node(found: Any) -> None:
    said = refusal(found, "wrong resize")
    assert "onnx-tf converts the graph wrongly" in said and "the first node that differs is /part/y (Resize)" in said
    assert "via: onnx2tf" in found["wrong resize"]["remedy"]
    assert found["right resize"]["errors"]["y"] < 1e-6


@pytest.mark.parametrize("name", ["constant", "reflect", "edge", "negative", "attributes"])
def test_every_kind_of_padding_is_what_onnx_runtime_makes_of_it(found: Any, name: str) -> None:
    assert found[f"padded {name}"].get("errors") == {"y": 0.0}, found[f"padded {name}"]


def test_an_input_that_a_node_leaves_out_is_left_out(found: Any) -> None:
    assert found["left out"].get("errors") == {"y": 0.0}, found["left out"]


def test_an_output_of_a_single_number_is_compared_by_its_size(found: Any) -> None:
    assert found["one number"].get("errors", {}).get("y", 1) < 1e-3, found["one number"]


@pytest.mark.parametrize(("name", "words"), [
    ("opset 18", "the graph has opset 18"),
    ("other shape", "the graph has x as [1, 3, 8, 8], the recipe as [1, 3, 9, 8]"),
    ("broken", "model.onnx is no ONNX file"),
    ("no operator", "onnx-tf does not have the operator Unique"),
    ("refused node", "part_y (Pad) pads by numbers that are computed"),
])
def test_a_graph_that_cannot_be_converted_is_refused(found: Any, name: str, words: str) -> None:
    assert words in refusal(found, name)


@pytest.mark.parametrize(("name", "kind", "words"), [
    ("no calibration", "OptionError", "int8 wants calibration samples"),
    ("precision", "OptionError", "there is no precision 'int4'"),
    ("no onnx", "SourceError", "reads an ONNX file only"),
])
def test_a_job_that_is_wrong_is_refused_before_anything_runs(found: Any, name: str, kind: str, words: str) -> None:
    assert words in refusal(found, name, kind)


@pytest.fixture(scope="module")
def own(tflite_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the self-test's small job, done in a process of its own as a runner does it."""
    folder = tmp_path_factory.mktemp("own") / "job"
    shutil.copytree(TFLITE / "self_test", folder)
    code = (folder / "make_source.py").read_text()
    subprocess.run([tflite_python, "-c", code], cwd=folder, check=True)
    ended = run_job(folder, TFLITE / "converter.py", str(tflite_python))
    assert ended.code == 0, ended.output
    return ended


def test_the_job_of_the_self_test_passes_by_jobkit(own: Any) -> None:
    outputs, reference = own.arrays("outputs.npz"), own.arrays("reference.npz")
    for name in reference.files:
        assert outputs[name].shape == reference[name].shape
        np.testing.assert_allclose(outputs[name], reference[name], atol=0.05 * np.abs(reference[name]).max())
    assert own.result["versions"]["onnx-tf"] == "1.10.0"
    assert own.result["device"]["detail"].startswith("TensorFlow Lite 2.13.1")


def given(own: Any, tmp_path: Path, change: Callable[[bytes], bytes]) -> Path:
    """Make the job of the self-test again with its file given, as `change` leaves it."""
    folder = tmp_path / "job"
    shutil.copytree(own.folder, folder, ignore=shutil.ignore_patterns("out"))
    (folder / "in" / "given").mkdir()
    (folder / "in" / "given" / "model.tflite").write_bytes(change((own.folder / "out" / "model.tflite").read_bytes()))
    document = {**json.loads((folder / "job.json").read_text()), "given": ["model.tflite"], "reference": False}
    (folder / "job.json").write_text(json.dumps(document))
    return folder


def test_a_given_file_runs_without_being_converted(own: Any, tmp_path: Path, tflite_python: Path) -> None:
    folder = given(own, tmp_path, lambda data: data)
    ended = run_job(folder, TFLITE / "converter.py", str(tflite_python))
    assert ended.code == 0, ended.output
    same, other = own.arrays("outputs.npz"), ended.arrays("outputs.npz")
    assert all(np.array_equal(same[name], other[name]) for name in same.files)


@pytest.mark.parametrize(("change", "said"), [
    (lambda data: data[: len(data) // 3], "model.tflite"),
    (lambda data: b"not a model at all", "it lacks the identifier TFL3"),
    (lambda data: data[:8] + bytes(len(data) - 8), "model.tflite"),
], ids=["cut off", "text", "zeros"])
def test_a_damaged_file_is_one_clear_error(
    own: Any, tmp_path: Path, tflite_python: Path, change: Callable[[bytes], bytes], said: str
) -> None:
    ended = run_job(given(own, tmp_path, change), TFLITE / "converter.py", str(tflite_python))
    error = ended.result["error"]
    assert ended.code == 1 and (error["kind"], error["class"]) == ("refused", "UnusableError"), error
    assert said in error["message"] and "damaged" in error["remedy"]


def test_the_lock_has_what_goes_together() -> None:
    lock = (TFLITE / "requirements.txt").read_text().splitlines()
    for pin in ("tensorflow-cpu==2.13.1", "onnx==1.14.1", "onnx-tf==1.10.0", "protobuf==3.20.3", "numpy==1.24.3"):
        assert lock.count(pin) == 1, pin
