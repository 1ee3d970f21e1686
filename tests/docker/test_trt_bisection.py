"""Which layers must stay in fp32: a search over answers, tried on answers that are known."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from jobkit import GraphError
from trttoys import bisection, halves

LAYERS = [f"layer {index}" for index in range(100)]


class Oracle:
    """Passes where every one of `needed` is kept, and counts how often it is asked."""

    def __init__(self, needed: set[str]) -> None:
        self.needed, self.asked = needed, []

    def __call__(self, kept: frozenset[str]) -> bool:
        self.asked.append(kept)
        return self.needed <= kept


def test_an_engine_that_passes_needs_no_layer_and_one_build() -> None:
    oracle = Oracle(set())
    assert bisection.layers_to_keep(LAYERS, oracle) == []
    assert len(oracle.asked) == 1


def test_where_not_even_all_layers_help_there_is_no_answer() -> None:
    asked = []
    assert bisection.layers_to_keep(LAYERS, lambda kept: bool(asked.append(kept))) is None
    assert asked == [frozenset(), frozenset(LAYERS)]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_exactly_the_layers_that_are_needed_are_found_wherever_they_are(count: int) -> None:
    chance = random.Random(count)
    for _ in range(20):
        needed = set(chance.sample(LAYERS, count))
        oracle = Oracle(needed)
        found = bisection.layers_to_keep(LAYERS, oracle, most=1000)
        assert found == sorted(needed, key=LAYERS.index)
        # Junker's bound: 2k log2(n / k) + 2k, here with the two first questions and a last one.
        assert len(oracle.asked) <= 2 * count * np.log2(len(LAYERS) / count) + 2 * count + 3


def test_nothing_is_asked_twice() -> None:
    oracle = Oracle({"layer 3", "layer 50", "layer 99"})
    bisection.layers_to_keep(LAYERS, oracle, most=1000)
    assert len(oracle.asked) == len(set(oracle.asked))


def test_any_smallest_set_will_do_where_several_help() -> None:
    either = [{"layer 10"}, {"layer 20", "layer 30"}]
    found = bisection.layers_to_keep(LAYERS, lambda kept: any(needed <= kept for needed in either))
    assert found is not None and set(found) in either


def test_all_orders_and_subsets_of_a_few_layers() -> None:
    few = LAYERS[:5]
    for size in range(6):
        for needed in itertools.combinations(few, size):
            for order in (few, few[::-1]):
                assert set(bisection.layers_to_keep(order, Oracle(set(needed))) or []) == set(needed)


def test_with_few_builds_the_answer_is_larger_and_still_passes() -> None:
    needed = {"layer 7", "layer 63"}
    for most in range(2, 30):
        oracle = Oracle(needed)
        found = bisection.layers_to_keep(LAYERS, oracle, most=most)
        assert found is not None and needed <= set(found)
        assert len(oracle.asked) <= most
        assert frozenset(found) in oracle.asked, "what is given was built and has passed"


def test_where_more_layers_can_harm_the_answer_has_passed_all_the_same() -> None:
    def fickle(kept: frozenset[str]) -> bool:
        return len(kept) == len(LAYERS) or ("layer 5" in kept and len(kept) % 7 == 3)

    passed = []

    def watched(kept: frozenset[str]) -> bool:
        if fickle(kept):
            passed.append(kept)
        return fickle(kept)

    found = bisection.layers_to_keep(LAYERS, watched)
    assert found is not None and frozenset(found) in passed


def test_names_that_stand_twice_count_once() -> None:
    assert bisection.layers_to_keep(["a", "b", "a"], Oracle({"a"})) == ["a"]


def test_layers_that_compute_nothing_or_no_floats_are_no_candidates() -> None:
    float32, int32 = "FLOAT", "INT32"

    def layer(name: str, kind: str, *types: str) -> Any:
        return SimpleNamespace(name=name, type=SimpleNamespace(name=kind), num_outputs=len(types),
                               get_output=lambda index: SimpleNamespace(dtype=types[index]))

    network = [layer("weights", "CONSTANT", float32), layer("conv", "CONVOLUTION", float32),
               layer("indices", "TOPK", float32, int32), layer("shape", "SHAPE", int32),
               layer("sum", "ELEMENTWISE", float32), layer("move", "SHUFFLE", float32), layer("nothing", "LOOP")]
    assert halves.candidates(network, float32) == ["conv", "sum"]


@pytest.mark.parametrize(("found", "said"), [
    ([1.0, 2.0, 3.0], ""),
    ([1.01, 2.0, 3.0], ""),
    ([1.1, 2.0, 3.0], "output 'y' is off by 0.05 of its range"),
    ([1.0, np.nan, 3.0], "output 'y' is not finite"),
    ([1.0, np.inf, 3.0], "output 'y' is not finite"),
])
def test_half_precision_is_compared_by_the_range_of_each_output(found: list[float], said: str) -> None:
    wanted = {"y": np.array([1, 2, 3], np.float32)}
    assert halves.complaint({"y": np.array(found, np.float32)}, wanted, 0.01) == said


def test_an_output_without_a_range_or_without_values_is_compared_too() -> None:
    flat = {"y": np.full(3, 5, np.float32)}
    assert halves.complaint({"y": flat["y"] + 0.5}, flat, 0.01).startswith("output 'y' is off by 0.5")
    assert halves.complaint({"y": np.zeros(0, np.float32)}, {"y": np.zeros(0, np.float32)}, 0.01) == ""


def builder(harmful: set[str]) -> tuple[list[frozenset[str]], Callable[[frozenset[str]], list[Any]]]:
    """Return the engines that were built, and what builds them: harmful layers in half precision give NaN."""
    built = []

    def outputs(kept: frozenset[str]) -> list[Any]:
        built.append(kept)
        value = 1.0 if harmful <= kept else np.nan
        return [{"y": np.array([0, value], np.float32)}] * 2

    return built, outputs


WANTED = [{"y": np.array([0, 1], np.float32)}] * 2


def test_the_layers_that_give_nan_in_half_precision_are_found_and_named() -> None:
    built, outputs = builder({"layer 42", "layer 43"})
    assert halves.find_floats(LAYERS, outputs, WANTED, 0.01, 64) == ["layer 42", "layer 43"]
    assert frozenset({"layer 42", "layer 43"}) in built


def test_half_precision_that_no_layer_can_save_is_refused_with_the_reason() -> None:
    _, outputs = builder({"a layer that is not there"})
    with pytest.raises(GraphError, match="even with every layer in fp32: output 'y' is not finite") as caught:
        halves.find_floats(LAYERS, outputs, WANTED, 0.01, 64)
    assert "use fp32" in caught.value.remedy


def test_every_sample_must_come_out_right() -> None:
    def outputs(kept: frozenset[str]) -> list[Any]:
        return [WANTED[0], {"y": np.array([0, 1 if "layer 9" in kept else 2], np.float32)}]

    assert halves.find_floats(LAYERS, outputs, WANTED, 0.01, 64) == ["layer 9"]
