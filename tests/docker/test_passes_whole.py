"""Quantised operators written in float arithmetic: the same numbers to the last bit, also where nodes are fused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

EQUAL = ["conv, a scale for each channel", "conv in groups", "conv, weights with a zero point", "matmul",
         "matmul of two tensors", "add", "what hands numbers on", "ties and ends of int8", "ties and ends of uint8",
         "without zero points", "constants"]


@pytest.fixture(scope="module")
def found(script: Callable[..., Any]) -> Any:
    return script("passes_whole")


@pytest.mark.parametrize("name", EQUAL)
def test_the_numbers_are_those_of_integer_arithmetic(found: Any, name: str) -> None:
    got = found[name]
    assert got["errors"] == [0, 0], "as it is, and where the runtime fuses what it can"
    assert got["values"] > 4, "the numbers tell something apart"
    assert "no difference" in got["proof"] and got["proof"].endswith("bit for bit")


@pytest.mark.parametrize("name", EQUAL)
def test_nothing_of_8_bits_is_left(found: Any, name: str) -> None:
    got = found[name]
    assert not [operator for operator in got["operators"] if "uantize" in operator or "QLinear" in operator]
    assert set(got["weights"]) <= {"float32", "int64"}


def test_each_operator_is_counted_in_the_manifest(found: Any) -> None:
    assert found["conv in groups"]["lines"][:3] == [
        "whole_numbers: 1 DequantizeLinear in float arithmetic", "whole_numbers: 1 QLinearConv in float arithmetic",
        "whole_numbers: 1 QuantizeLinear in float arithmetic"]


def test_a_sum_is_rounded_so_that_no_factor_is_folded_into_its_weights(found: Any) -> None:
    operators = found["conv in groups"]["operators"]
    assert (operators["Conv"], operators["Round"]) == (1, 3), "what comes in, the sum, and what goes out"


@pytest.mark.parametrize(("name", "words"), [
    ("a cast", "Cast numbers takes numbers of 8 bits in a way of its own"),
    ("an input of 8 bits", "x is an input or output of 8 bits, and would be no more"),
    ("an output of 8 bits", "y is an input or output of 8 bits, and would be no more"),
    ("a scale that is computed", "the scales and zero points of QuantizeLinear in are no constants"),
    ("a scale for each channel of a tensor", "QuantizeLinear in has a scale or zero point for each channel"),
])
def test_what_cannot_be_written_so_is_refused_with_its_node(found: Any, name: str, words: str) -> None:
    kind, message, remedy = found[name]
    assert (kind, message) == ("GraphError", f"whole_numbers: {words}") and remedy


def test_a_graph_without_such_operators_stays_and_another_value_is_refused(found: Any) -> None:
    assert found["nothing to do"] == found["off"] == []
    kind, message, remedy = found["another value"]
    assert (kind, remedy) == ("OptionError", "say whole_numbers: true") and "neither true nor false" in message
