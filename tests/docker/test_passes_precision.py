"""Int8 by Q and DQ nodes, and half precision, each with islands of float: what TensorRT-RTX is fed with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

METHODS = ("minmax", "entropy", "percentile")


@pytest.fixture(scope="module")
def found(script: Callable[..., Any]) -> Any:
    return script("passes_precision")


@pytest.mark.parametrize("method", METHODS)
def test_what_has_weights_reads_q_and_dq(found: Any, method: str) -> None:
    got = found[method]
    # An activation has a pair; a weight is stored as the integers that it becomes, and has DQ alone.
    assert got["operators"]["QuantizeLinear"] == 3 and got["operators"]["DequantizeLinear"] == 6
    assert got["facts"]["method"] == method and got["facts"]["nodes"] == 3 and got["facts"]["inputs"] == 16
    assert got["noise"] < 0.2
    assert f"quantise: 3 nodes in int8, ranges by {method} on 16 inputs" in got["lines"][0]


@pytest.mark.parametrize("method", METHODS)
def test_nothing_but_q_and_dq_was_added(found: Any, method: str) -> None:
    got = found[method]
    assert {name: got["operators"].get(name) for name in ("Conv", "Relu", "MatMul", "Mul", "Flatten")} == {
        "Conv": 2, "Relu": 1, "MatMul": 1, "Mul": 1, "Flatten": 1}
    assert "no difference" in got["lines"][-1] and "bit for bit" in got["lines"][-1]


def test_it_is_the_form_that_tensorrt_takes(found: Any) -> None:
    got = found["usual"]
    assert got["points"] == [0]  # symmetric: every zero point is 0
    assert all(entry["zero_point"] == 0 for entry in got["facts"]["tensors"])


def test_weights_are_rounded_per_channel_as_numpy_would(found: Any) -> None:
    assert found["weights"] == 0


def test_weights_are_stored_in_a_quarter_of_the_bytes(found: Any) -> None:
    assert found["usual"]["bytes"] >= 8 * 27 + 32 + 720  # each weight a byte, and the zero points


def test_facts_tell_the_range_of_each_activation(found: Any) -> None:
    tensors = {entry["tensor"]: entry for entry in found["minmax"]["facts"]["tensors"]}
    assert set(tensors) == {"x", "b", "f"} or set(tensors) == {"x", "b", "c"}
    for entry in tensors.values():
        assert entry["maximum"] == pytest.approx(127 * entry["scale"], rel=1e-4)
        assert entry["minimum"] == pytest.approx(-128 * entry["scale"], rel=1e-4)


def test_equal_inputs_give_equal_bytes(found: Any) -> None:
    assert found["twice"] is True


def test_nodes_that_are_named_stay_in_float(found: Any) -> None:
    got = found["by name"]
    assert got["operators"]["DequantizeLinear"] == 4 and got["facts"]["float"] == ["second"]
    assert got["facts"]["nodes"] == 2


def test_the_most_sensitive_nodes_become_islands_of_float(found: Any) -> None:
    got = found["islands"]
    assert got["facts"]["float"] == ["second"]
    assert got["noise"] <= 0.1 < float(got["lines"][1].rpartition(" ")[2])
    assert "quantise: second in float, without which the noise is" in got["lines"][1]


def test_where_islands_are_not_enough_it_is_refused(found: Any) -> None:
    kind, message, remedy = found["too noisy"]
    assert kind == "GraphError" and "of 3 nodes in float, the noise is still" in message
    assert "fp16" in remedy and "noise: 0.1" in remedy


@pytest.mark.parametrize(("name", "kind", "said"), [
    ("no calibration", "OptionError", "measures on calibration samples, and there are none"),
    ("method", "OptionError", "there is no method 'guess'"),
    ("noise", "OptionError", "noise 0 is no share"),
    ("key", "OptionError", "cannot be read"),
    ("node", "OptionError", "quantise: the graph has no node 'secnd' to keep in float; did you mean 'second'?"),
    ("opset", "GraphError", "needs opset 13 or newer; this is 12"),
    ("both", "OptionError", "to int8 or to half precision, not to both"),
    ("half", "OptionError", "is neither true nor false"),
    ("half node", "OptionError", "half: the graph has no node 'frst' to keep in float; did you mean 'first'?"),
])
def test_wishes_that_cannot_be_read_are_refused(found: Any, name: str, kind: str, said: str) -> None:
    got = found["refused"][name]
    assert got and got[0] == kind and said in got[1] and got[2], got


def test_without_a_wish_and_without_weights_nothing_is_done(found: Any) -> None:
    assert found["no"] == found["computed"] == []


def test_nodes_without_names_are_quantised_too(found: Any) -> None:
    assert found["nameless"]["facts"]["nodes"] == 3


# Half precision


def test_a_tail_in_float_is_all_that_comes_behind_the_last_weights(found: Any) -> None:
    assert found["tail"] == ["scaled"]
    assert found["tail of heads"] == ["score", "second"]


def test_a_tail_is_not_rounded_between_its_nodes(found: Any) -> None:
    whole, tail = found["half"], found["half tail"]
    assert "k_half" in whole["half"] and "k" in tail["float"]
    assert "half: Mul scaled stays in float" in tail["lines"]
    assert tail["between"] == [1] and whole["between"] == [10]
    assert tail["outputs"] == whole["outputs"] == ["y"]
    assert tail["noise"] < 0.01


def test_named_nodes_hand_on_floats_to_one_another(found: Any) -> None:
    got = found["half named"]
    # One cast in front of the named nodes, one of the input; none between them and none behind.
    assert got["casts"] == 2
    assert got["float"] == ["k", "m", "v"]


# The measure


def test_noise_is_the_worst_columns_error_beside_its_spread(found: Any) -> None:
    none, little, much, constant = found["noise"]
    assert none == 0
    assert little == pytest.approx(0.1)  # the first column's spread is 1, the second's 10
    assert much == pytest.approx(0.5)
    assert constant is True
