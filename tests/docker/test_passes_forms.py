"""Pooling, opsets, half precision and slices in the forms that other toolchains take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from jobfolder import data_folder


@pytest.fixture(scope="module")
def found(script: Callable[..., Any]) -> Any:
    return script("passes_forms", *data_folder())


def refused(got: Any, word: str, kind: str = "GraphError") -> None:
    assert got[0] == kind and word in got[1] and got[2], got


@pytest.mark.parametrize("name", ["relu", "sigmoid", "clip", "joined", "silu", "least", "same", "old"])
def test_padding_becomes_a_node_of_its_own(found: Any, name: str) -> None:
    got = found[f"pool {name}"]
    assert got["error"] < 1e-6 and got["operators"]["Pad"] == 1 and got["operators"]["MaxPool"] == 1
    assert "pads" not in got.get("attributes", [])
    assert "is a Pad with" in got["lines"][0] and "bit for bit" in got["proof"]


def test_the_padding_is_zero_where_nothing_is_below(found: Any) -> None:
    assert "Pad with 0" in found["pool relu"]["lines"][0] and "Pad with -0.2785" in found["pool silu"]["lines"][0]


@pytest.mark.parametrize(("name", "axes"), [("input", 2), ("leaky", 2), ("difference", 2), ("below", 2), ("broad", 2)])
def test_padding_of_what_may_be_below_anything_repeats_the_edges(found: Any, name: str, axes: int) -> None:
    got = found[f"pool {name}"]
    assert got["error"] < 1e-6 and "repeats the edges" in got["lines"][0] and "bit for bit" in got["proof"]
    assert (got["operators"]["Concat"], got["operators"]["Slice"]) == (axes, 2 * axes)
    assert "Pad" not in got["operators"]


def test_windows_with_gaps_need_not_have_the_edge(found: Any) -> None:
    refused(found["pool with gaps"], "the input of MaxPool pool can be, and its windows have gaps")
    refused(found["pool wish"], "is neither true nor false, nor a mapping with `same`", "OptionError")


@pytest.mark.parametrize(("name", "changed"),
                         [("same", False), ("same by name", False), ("unlike", True), ("even", True)])
def test_padding_that_tensorflow_has_a_word_for_may_stay(found: Any, name: str, changed: bool) -> None:
    assert bool(found[f"pool unlike {name}"]) == changed


def test_a_pooling_without_padding_stays(found: Any) -> None:
    assert found["pool without padding"] == []


@pytest.mark.parametrize("source", [18, 17, 14])
@pytest.mark.parametrize("wish", [12, 11, 9])
def test_what_pytorch_writes_goes_back_to_older_opsets(found: Any, source: int, wish: int) -> None:
    got = found[f"{source} to {wish}"]
    assert found[f"modern {source}"] < 1e-5
    assert got["error"] < 1e-6 and got["opset"] == wish
    assert any("HardSwish" in line for line in got["lines"])


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("softmax", {"Transpose": 2, "Softmax": 1}),
        ("relu", {"Relu": 1}),
        ("gelu", {"Mul": 3, "Add": 1, "Erf": 1}),
        ("mish", {"Mul": 1, "Softplus": 1, "Tanh": 1}),
        ("norm", {"Add": 2, "Mul": 2, "ReduceMean": 2, "Div": 1, "Sqrt": 1, "Sub": 1}),
        ("pad", {"Pad": 1}),
        ("shape", {"Add": 1, "Cast": 1, "ReduceSum": 1, "Shape": 1, "Slice": 1}),
        ("divided", {"Concat": 1, "Split": 1}),
    ],
)
def test_each_newer_form_is_written_in_the_older_one(found: Any, name: str, operators: dict[str, int]) -> None:
    assert found[f"opset {name}"]["error"] < 1e-6 and found[f"opset {name}"]["operators"] == operators


def test_only_a_function_written_out_may_round(found: Any) -> None:
    assert "bit for bit" in found["opset relu"]["proof"] and "but for rounding" in found["opset gelu"]["proof"]


def test_a_newer_opset_keeps_the_meaning_too(found: Any) -> None:
    assert found["opset newer"]["error"] < 1e-8 and found["opset newer"]["opset"] == 17


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("einsum", "Einsum sum cannot become opset 11: there is no such operator yet"),
        ("steps", "Slice stride cannot become opset 9: it has steps"),
        ("axes at run time", "ReduceSum total cannot become opset 12: its axes are no constants"),
        ("types", "Relu, node name: ints"),
        ("grid", "GridSample sample cannot become opset 15"),
    ],
)
def test_what_an_older_opset_cannot_say_is_refused_with_its_node(found: Any, name: str, word: str) -> None:
    refused(found[f"opset {name}"], word)


@pytest.mark.parametrize("value", ["8", "24", "'12'", "True"])
def test_an_opset_is_a_number_in_range(found: Any, value: str) -> None:
    refused(found[f"opset wish {value}"], "is not supported", "OptionError")


def test_weights_and_arithmetic_are_half_and_the_signature_is_not(found: Any) -> None:
    got = found["half"]
    assert 1e-6 < got["error"] < 5e-3 and got["dtype"] == "float32"
    assert found["half types"] == [10] and found["half signature"] == [1, 1]
    assert len(found["half weights"]) == 1 and found["half weights"][0] < 1e-3
    assert "half precision, 11 bits" in got["proof"]


def test_operators_without_half_precision_stay_in_float(found: Any) -> None:
    got = found["half, an operator in float"]
    assert "half: NonMaxSuppression nms stays in float" in got["lines"] and got["error"] < 0.02


def test_what_is_beyond_half_precision_becomes_its_largest_number(found: Any) -> None:
    got = found["half, far"]
    assert any("4 values of far are beyond 65504" in line for line in got["lines"]) and got["error"] < 2e-3


def test_what_half_precision_cannot_tell_apart_is_refused(found: Any) -> None:
    refused(found["half, too coarse"], "the pass half changes the output z")
    assert found["half of nothing"] == []


def test_slices_have_all_four_lists_and_bounds_in_range(found: Any) -> None:
    assert found["slices"]["error"] == 0
    assert found["slices form"] == {
        "without axes": [[0, 1], [1, 3], [0, 1], [1, 1]],
        "from behind": [[6], [9], [3], [1]],
        "steps": [[1], [9], [2], [2]],
    }
    assert found["slices again"] == []


def test_other_slices_are_equal_too(found: Any) -> None:
    assert found["slices backwards"]["error"] == 0 and found["slices as attributes"]["error"] == 0


def test_a_slice_with_computed_bounds_is_refused_with_its_name(found: Any) -> None:
    refused(found["slices computed"], "Slice late")


@pytest.mark.parametrize("name", ["ultraface-slim-320", "yolov5n-0.5-face.upstream-heads"])
def test_real_graphs_take_these_forms(found: Any, data: object, name: str) -> None:
    error, before, after = found[f"{name} half"]
    assert error < 0.02 and after < 0.6 * before
    assert found[f"{name} strided_slices+opset"][0] == 0


def test_integers_that_an_older_operator_does_not_take_are_named(found: Any, data: object) -> None:
    refused(found["quantised, opset 11"], "MaxPool")
