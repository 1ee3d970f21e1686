"""Where a quantised file loses what the float one has: real files, and rows whose verdict is worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tfliteparts import FIXED, LIMIT, MOST, Part, Row, Tally, losses


@pytest.fixture(scope="module")
def found(script_in: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return script_in("tflite", "tflite_diagnosis", tmp_path_factory.mktemp("diagnosis"))


def row(**changes: Any) -> Row:
    plain = Row(layer="conv", operator="CONV_2D", tensor="conv;bias", scale=0.1, zero_point=3, minimum=-2.0,
                maximum=4.0, decibels=30.0, before=35.0, constant=False, clipped=0.0)
    return replace(plain, **changes)


def test_a_healthy_file_loses_nowhere(found: Any) -> None:
    layers = found["healthy"]["facts"]["layers"]
    assert (layers["first"], layers["worst"], layers["constant"], layers["saturated"]) == (None, None, [], [])
    assert layers["compared"] > 5 and layers["samples"] == 4 and layers["limit_db"] == LIMIT


@pytest.mark.parametrize(("case", "zero_point"), [("healthy", 0), ("healthy int8", -128)])
def test_what_integers_stand_for_is_in_the_facts_of_inputs_and_outputs(
    found: Any, case: str, zero_point: int
) -> None:
    fed, given = found[case]["facts"]["quantisation"]
    assert (fed["tensor"], given["tensor"]) == ("x", "y")
    # The range of a sigmoid is TFLite's own: 256 steps from 0 on.
    assert given["scale"] == pytest.approx(1 / 256, abs=1e-6) and given["zero_point"] == zero_point
    assert (given["minimum"], given["maximum"]) == (0.0, pytest.approx(255 / 256, abs=1e-3))


def test_the_concatenation_that_destroys_the_scores_is_named_with_its_tensor_and_scale(found: Any) -> None:
    case = found["mixed"]
    layers, (_, output) = case["facts"]["layers"], case["facts"]["quantisation"]
    first = layers["first"]
    assert (first["layer"], first["operator"]) == ("y", "CONCATENATION")
    assert "part_sure" in first["tensor"]
    # All pixels and scores have the one scale of the output; a step of it is more than any score.
    assert first["scale"] == output["scale"] > 1 >= first["maximum"] > first["minimum"] >= 0
    assert first["signal_to_noise_db"] < LIMIT < 30 < first["before_db"]
    assert first["tensor"] in layers["constant"]


def test_the_ratio_is_that_of_the_files_outputs(found: Any) -> None:
    """Compare the figure in the table with one that is computed from what both files gave by themselves."""
    wanted, got = (np.array(found[name]["values"]["y"]) for name in ("mixed floats", "mixed"))
    ratio = 10 * math.log10((wanted**2).sum() / ((wanted - got) ** 2).sum())
    assert found["table"]["y"] == pytest.approx(ratio, abs=0.1)


def test_weights_alone_in_eight_bits_are_compared_too(found: Any) -> None:
    facts = found["dynamic"]["facts"]
    assert facts["quantisation"] == [] and facts["layers"]["compared"] > 5 and facts["layers"]["first"] is None


def test_operators_of_tensorflow_and_branches_do_not_stop_the_comparison(found: Any) -> None:
    assert found["flex"]["facts"]["select_ops"] == ["Erf"] and found["flex"]["errors"]["y"] < 0.05
    assert found["branches"]["errors"]["y"] < 0.02
    for name in ("flex", "branches"):
        assert found[name]["facts"]["layers"]["compared"] >= 2 and found[name]["facts"]["layers"]["first"] is None


def test_floats_are_not_diagnosed(found: Any) -> None:
    assert not {"layers", "quantisation"} & found["mixed floats"]["facts"].keys()


def test_equal_jobs_tell_equal_facts(found: Any) -> None:
    assert found["mixed again"]["facts"] == found["mixed"]["facts"]


def test_a_padded_pooling_is_refused_with_the_tensor_and_its_range(found: Any) -> None:
    said = found["pooled"]
    assert said["class"] == "UnusableError" and "padded_maxpool among the edits" in said["remedy"]
    assert "is absurd: scale 1.334e+36, zero point" in said["message"] and "-3.4e+38" in said["message"]


def test_the_interpreter_really_ends_by_a_signal_on_it_and_that_is_told(found: Any) -> None:
    said = found["pooled, run all the same"]
    assert said["class"] == "UnusableError"
    assert "run model.tflite layer by layer: ended by signal 6 (SIGABRT)" in said["message"]
    # The next job has a process again.
    assert found["after it"]["errors"]["y"] < 1e-6


def test_tensors_of_a_file_are_read_with_their_scales(found: Any) -> None:
    parts = {part["name"]: part for part in found["inside"]["parts"]}
    assert parts["x"]["shape"] == [1, 3, 8, 8] and parts["x"]["dtype"] == "uint8" and not parts["x"]["constant"]
    assert parts["x"]["scale"] == pytest.approx(found["healthy"]["facts"]["quantisation"][0]["scale"], rel=1e-3)
    operators = [node["operator"] for node in found["inside"]["nodes"]]
    assert operators[0] == operators[-1] == "QUANTIZE" and "CONV_2D" in operators
    assert [found["inside"]["parts"][number]["name"] for number in found["inside"]["inputs"]] == ["x"]


def test_a_layer_is_blamed_for_what_it_loses_itself() -> None:
    inherited = row(layer="behind", decibels=5.0, before=6.0)
    lost = row(layer="lossy", decibels=6.0, before=35.0)
    found = losses([row(), lost, inherited])
    assert found["first"]["layer"] == found["worst"]["layer"] == "lossy"
    assert (found["first"]["signal_to_noise_db"], found["first"]["before_db"]) == (6.0, 35.0)
    assert losses([row(), inherited])["first"] is None


def test_the_first_loss_and_the_greatest_are_both_named() -> None:
    found = losses([row(layer="a", decibels=9.0, before=20.0), row(layer="b", decibels=0.0, before=60.0)])
    assert (found["first"]["layer"], found["worst"]["layer"]) == ("a", "b")


def test_a_fall_that_ends_above_the_limit_is_none() -> None:
    assert losses([row(decibels=LIMIT + 0.1, before=60.0)])["first"] is None
    assert losses([row(decibels=LIMIT - 0.1, before=60.0)])["first"] is not None


@pytest.mark.parametrize("operator", FIXED)
def test_operators_whose_scale_is_not_measured_are_not_to_blame(operator: str) -> None:
    assert losses([row(operator=operator, decibels=0.0)])["first"] is None


def test_an_input_is_measured_by_the_limit_alone() -> None:
    assert losses([row(decibels=1.0, before=None)])["worst"]["before_db"] is None


def test_saturation_is_a_hundredth_of_a_tensor() -> None:
    found = losses([row(tensor="a", clipped=0.0099), row(tensor="b", clipped=0.01)])
    assert found["saturated"] == ["b"] and found["constant"] == []
    assert losses([row(tensor="c", constant=True), row(tensor="d")])["constant"] == ["c"]


BYTE = Part("t", (4,), "uint8", False, 0.5, 10)


def test_a_tensor_knows_what_it_can_hold() -> None:
    assert BYTE.bounds == (-5.0, 122.5)
    assert Part("t", (4,), "int8", False, 0.25, -128).bounds == (0.0, 63.75)


def test_power_of_signal_and_error_are_summed_over_samples() -> None:
    tally = Tally(BYTE)
    tally.add(np.array([3.0, 0.0]), np.array([2.5, 0.0]))
    tally.add(np.array([4.0, 0.0]), np.array([4.0, 0.5]))
    assert tally.decibels == pytest.approx(10 * math.log10(25 / 0.5))
    assert (tally.wanted, tally.found) == ((0.0, 4.0), (0.0, 4.0))


def test_no_error_and_no_signal_have_figures_too() -> None:
    same, lost = Tally(BYTE), Tally(BYTE)
    same.add(np.zeros(3), np.zeros(3))
    lost.add(np.zeros(3), np.ones(3))
    assert (same.decibels, lost.decibels) == (MOST, -MOST)


def test_values_beyond_the_range_by_more_than_a_step_are_clipped() -> None:
    tally = Tally(BYTE)
    tally.add(np.array([-5.4, -5.6, 122.9, 123.1]), np.array([-5.0, -5.0, 122.5, 122.5]))
    assert tally.beyond == 2 and tally.size == 4
