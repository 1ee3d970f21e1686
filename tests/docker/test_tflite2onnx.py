"""TFLite to ONNX in the tflite2onnx toolchain: toys, damaged files and two real models, each in its own interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from jobfolder import data_folder


@pytest.fixture(scope="module")
def found(script_in: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return script_in("tflite2onnx", "tflite2onnx", tmp_path_factory.mktemp("tflite2onnx"), *data_folder())


def refusal(found: Any, name: str) -> str:
    assert found[name].get("class") in ("GraphError", "SourceError"), found[name]
    assert found[name]["remedy"] and found[name]["left"] == ["events.jsonl"]
    return str(found[name]["message"])


def by_hand(case: Any, *, relu: bool = False, bias: bool = True) -> Any:
    """Calculate the toy's layer: five sums over twelve numbers, whatever their shape, and a bias."""
    weights = np.random.default_rng(0).standard_normal((5, 12)).astype(np.float32)
    biases = np.random.default_rng(1).standard_normal(5).astype(np.float32) * 3
    made = weights.astype(np.float64) @ np.array(case["fed"]["x"], np.float32).reshape(12) + (biases if bias else 0)
    return np.maximum(made, 0) if relu else made


@pytest.mark.parametrize("name", ["rank 2", "rank 3", "rank 4 relu", "rank 4 without bias", "rank 4 keeping"])
def test_a_fully_connected_layer_keeps_its_bias_whatever_the_rank_of_its_input(found: Any, name: str) -> None:
    case = found[name]
    assert case["error"] < 1e-5, case
    if "keeping" not in name:
        wanted = by_hand(case, relu="relu" in name, bias="without" not in name)
        np.testing.assert_allclose(np.array(case["expected"]["y"])[0], wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["rank 3", "rank 4 relu"])
def test_the_layer_that_tf2onnx_gets_wrong_is_named_and_proven(found: Any, name: str) -> None:
    facts = found[name]["facts"]
    assert facts["corrected"] == ["FULLY_CONNECTED y: the bias, which tf2onnx drops, was put back"]
    assert facts["proven"] == ["y"]


def test_a_layer_inside_the_graph_is_corrected_and_compared_by_its_own_tensor(found: Any) -> None:
    facts = found["rank 4 inner"]["facts"]
    assert [line.split(":")[0] for line in facts["corrected"]] == ["FULLY_CONNECTED hidden"]
    assert facts["proven"] == ["y", "hidden"]
    assert found["rank 4 inner"]["outputs"] == {"y": [1, 2]}, "what was compared is no output of the artifact"


@pytest.mark.parametrize("name", ["rank 2", "rank 4 without bias", "rank 4 keeping"])
def test_what_is_right_is_left_as_it_is(found: Any, name: str) -> None:
    assert "corrected" not in found[name]["facts"]


def test_without_the_correction_the_proof_refuses_and_names_the_layer(found: Any) -> None:
    said = refusal(found, "uncorrected")
    assert "does not compute what model.tflite does: y differs by" in said
    assert said.endswith("first after operator 1 of 2, FULLY_CONNECTED, in hidden")


def test_equal_sources_give_equal_bytes_and_facts(found: Any) -> None:
    first, second = found["rank 4 inner"], found["rank 4 inner again"]
    assert (first["digest"], first["facts"]) == (second["digest"], second["facts"])
    assert first["digest"] != found["rank 3"]["digest"]


def test_weights_as_halves_are_widened(found: Any) -> None:
    case = found["halves"]
    assert case["error"] < 1e-4 and case["opset"] == [13]
    assert case["facts"]["operators"] == {"DEQUANTIZE": 2, "CONV_2D": 1, "PAD": 1}
    assert case["inputs"] == {"picture": [1, 6, 6, 3]} and case["outputs"] == {"features": [1, 6, 6, 4]}


def test_the_layout_is_found_out_from_the_file(found: Any) -> None:
    assert found["halves"]["layouts"] == ["NHWC"] and found["halves"]["facts"]["layouts"] == {"picture": "NHWC"}
    assert found["planes"]["layouts"] == ["NCHW"] and found["planes"]["error"] == 0
    assert found["rank 2"]["layouts"] == [None] and found["rank 2"]["facts"]["layouts"] == {}


def test_an_open_axis_takes_the_size_of_the_recipe_and_names_stay_with_their_tensors(found: Any) -> None:
    case = found["open batch"]
    assert case["inputs"] == {"a": [3, 4], "b": [3, 4]} and case["outputs"] == {"first": [3, 4], "second": [3, 4]}
    a, b = np.array(case["fed"]["a"]), np.array(case["fed"]["b"])
    np.testing.assert_allclose(case["expected"]["first"], a - b, atol=1e-6)
    np.testing.assert_allclose(case["expected"]["second"], a + b, atol=1e-6)
    assert case["error"] == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("another layout", "the input picture of model.tflite is float32 [1, 6, 6, 3]"),
        ("another shape", "the input picture of model.tflite is float32 [1, 6, 6, 3]; the recipe has float32 [1, 3,"),
        ("another dtype", "the recipe has uint8 [1, 6, 6, 3]"),
        ("another input", "the inputs of model.tflite are picture; the recipe names image"),
        ("an output left out", "the outputs of model.tflite are first, second; the recipe names first"),
        ("one name twice", "the outputs of model.tflite are y, y; the recipe names y"),
    ],
)
def test_a_recipe_that_says_something_else_than_the_file_is_refused(found: Any, name: str, said: str) -> None:
    if name == "another layout":
        said = "the input picture of model.tflite is NHWC; the recipe has NCHW"
    assert said in refusal(found, name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("custom", "model.tflite has the custom operator MyFilter"),
        ("flex", "model.tflite has operators of TensorFlow (Select TF ops)"),
        ("unknown to tf2onnx", "tf2onnx 1.17.0 cannot translate operators of the file: GELU"),
    ],
)
def test_operators_that_onnx_cannot_have_are_refused_by_name(found: Any, name: str, said: str) -> None:
    assert said in refusal(found, name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty", "truncated: it has 0 bytes"),
        ("eight bytes", "truncated: it has 8 bytes"),
        ("another identifier", "a flatbuffer of another kind, 'TFL2'"),
        ("a page", "a page of the web"),
        ("a pointer", "git lfs pull fetches the file itself"),
        ("half", "model.tflite"),
        ("without its last tenth", "model.tflite"),
        ("absurd offset", "model.tflite"),
        ("noise", "model.tflite"),
    ],
)
def test_a_damaged_file_is_one_clear_error_and_the_job_lives_on(found: Any, name: str, said: str) -> None:
    message = refusal(found, name)
    assert said in message and "\n" not in message and len(message) < 420


def test_whatever_bytes_are_changed_the_answer_is_a_result_or_a_refusal(found: Any) -> None:
    cases = [found[f"flipped {number}"] for number in range(12)]
    assert all(case.get("error", 0) < 1e-3 or np.isnan(case["error"]) for case in cases)
    assert any("ended by signal" in case.get("message", "") for case in cases), "some of them end the interpreter"


def test_the_face_mesh_of_mediapipe_agrees_within_a_thousandth_of_a_pixel(found: Any, data: Any) -> None:
    case = found["landmark"]
    assert case["error"] < 1e-3 and case["layouts"] == ["NHWC"]
    assert case["inputs"] == {"input_1": [1, 192, 192, 3]}
    assert case["outputs"] == {"conv2d_20": [1, 1, 1, 1404], "conv2d_30": [1, 1, 1, 1]}
    assert case["reference"] == "TFLite interpreter, no delegate"
    # Counted with the reader of TFLite's own visualizer: 25 + 20 convolutions, of which ONNX has one kind.
    assert case["facts"]["operators"]["CONV_2D"] + case["facts"]["operators"]["DEPTHWISE_CONV_2D"] == 45
    assert case["facts"]["nodes"]["Conv"] == 45


def test_of_equal_nodes_the_same_is_kept_wherever_they_lie_in_memory(found: Any, data: Any) -> None:
    assert found["landmark"]["digest"] == found["landmark elsewhere"]["digest"]


def test_the_face_detector_of_mediapipe_agrees_within_a_ten_thousandth(found: Any, data: Any) -> None:
    case = found["detection"]
    assert case["error"] < 1e-4 and case["layouts"] == ["NHWC"]
    assert case["outputs"] == {"regressors": [1, 896, 16], "classificators": [1, 896, 1]}
    assert case["facts"]["operators"]["DEQUANTIZE"] == 74, "its weights are halves"
