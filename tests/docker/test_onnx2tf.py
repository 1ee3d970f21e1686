"""The second way to TFLite, by onnx2tf, in its own toolchain: what goes in, what comes out, and under which name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def found(script_in: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return script_in("tflite-onnx2tf", "onnx2tf_jobs", tmp_path_factory.mktemp("onnx2tf"))


# Steps of a quantised output are about 1/128 of its range, which here is under 4.
@pytest.mark.parametrize(("precision", "limit"),
                         [("fp32", 1e-5), ("fp16", 1e-2), ("dynamic", 0.1), ("int8", 0.1), ("uint8", 0.1)])
def test_every_precision_gives_each_output_under_its_own_name_and_shape(
    found: Any, precision: str, limit: float
) -> None:
    case = found[precision]
    assert "errors" in case, case
    # Two outputs have one shape and opposite signs: exchanged, they would be far off.
    assert list(case["errors"]) == ["/z:0", "a", "rows"] and max(case["errors"].values()) < limit
    assert case["shapes"] == {"/z:0": [1, 4, 8, 8], "a": [1, 4, 8, 8], "rows": [1, 8, 8, 4]}


def test_the_file_takes_channels_last(found: Any) -> None:
    assert found["fp32"]["inputs"] == [["picture", [1, 8, 8, 3], "float32", "NHWC"]]


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_integer_precisions_have_integers_outside_too(found: Any, precision: str) -> None:
    assert found[precision]["inputs"] == [["picture", [1, 8, 8, 3], precision, "NHWC"]]
    assert found[precision]["outputs"] == [[name, precision, True] for name in ("/z:0", "a", "rows")]


def test_equal_jobs_give_equal_bytes_and_leave_their_source_as_it_was(found: Any) -> None:
    assert found["again"]["digest"] == found["uint8"]["digest"] != found["int8"]["digest"]
    assert found["again"]["untouched"] and found["again"]["left"] == ["events.jsonl", "model.tflite"]


def test_grouped_convolutions_keep_their_weights(found: Any) -> None:
    assert "errors" in found["grouped"], found["grouped"]
    assert found["grouped"]["errors"]["y"] < 1e-5 and found["grouped"]["shapes"] == {"y": [1, 8, 8, 8]}


def test_the_node_at_which_onnx2tf_fails_is_named(found: Any) -> None:
    assert found["strange"]["message"].startswith("onnx2tf fails at coin (Bernoulli): ")
    assert "via: onnx-tf" in found["strange"]["remedy"]


def test_another_shape_than_the_recipe_says_is_refused(found: Any) -> None:
    assert "the graph has picture as [1, 3, 8, 8]; the recipe says [1, 3, 9, 9]" in found["another shape"]["message"]
