from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from modelfarm.decoders.prediction import Column
from modelfarm.gates.limits import limits_for
from modelfarm.gates.parity import ParityRow, by_column, by_group, columns, compare, complaint, shape_problems
from tests.cases import ToyDecoder

LIMITS = limits_for("fp32")


def row(reference: Any, output: Any, unit: str = "px", **changes: Any) -> ParityRow:
    names = {"sample": "a.png", "group": "a.png", "limits": LIMITS, **changes}
    return compare(Column(name="box", unit=unit, values=np.asarray(reference)),
                   Column(name="box", unit=unit, values=np.asarray(output)), **names)


def test_errors_are_measured_as_the_definitions_say() -> None:
    found = row([[1.0, -2.0], [3.0, 4.0]], [[1.0, -2.0], [3.0, 4.5]])
    # By hand: errors 0, 0, 0, 0.5; range -2 to 4; a . b = 1 + 4 + 9 + 18, |a|^2 = 30, |b|^2 = 34.25.
    assert (found.max_error, found.mean_error) == (0.5, 0.125)
    assert found.relative == pytest.approx(0.5 / 6)
    assert found.cosine == pytest.approx(32 / math.sqrt(30 * 34.25))
    assert not found.passed


def test_pixels_and_scores_are_judged_by_their_greatest_error() -> None:
    assert row([100.0], [100.0009]).passed
    assert not row([100.0], [100.0011]).passed
    assert row([0.5], [0.500009], "score").passed
    assert not row([0.5], [0.500011], "score").passed


def test_other_values_are_judged_by_the_range_of_the_reference() -> None:
    near = row([0.0, 1000.0], [0.0, 1000.009], "")
    assert (near.unit, near.passed, near.error) == ("relative", True, near.relative)
    assert not row([0.0, 1000.0], [0.0, 1000.011], "").passed
    assert not row([0.0, 0.001], [0.0, 0.00100002], "").passed


def test_a_cosine_fails_on_its_own() -> None:
    # Errors under 1e-5 in scores that are themselves under 1e-5.
    found = row([1e-6, 0.0], [0.0, 1e-6], "score")
    assert found.max_error < found.limit
    assert not found.passed
    assert "cosine 0.000000, the least allowed is 0.99999" in complaint(found)


@pytest.mark.parametrize("unit", ["px", "score", ""])
def test_constant_columns_divide_nothing_by_zero(unit: str) -> None:
    assert row([0.0, 0.0], [0.0, 0.0], unit).passed
    assert row([7.0, 7.0], [7.0, 7.0], unit).passed
    almost = row([0.0, 0.0], [0.0, 1e-9], unit)
    assert (almost.passed, almost.cosine, almost.relative) == (True, 1.0, 1e-9)
    assert not row([0.0, 0.0], [0.0, 1.0], unit).passed
    assert row([0.0, 0.0], [0.0, 1.0], unit).cosine == 0


def test_a_column_without_values_passes() -> None:
    found = row(np.zeros((1, 0)), np.zeros((1, 0)))
    assert (found.passed, found.max_error, found.cosine) == (True, 0.0, 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("unit", ["px", "score", ""])
def test_what_is_no_number_never_passes(unit: str, value: float) -> None:
    with np.errstate(invalid="ignore"):
        broken = [row([1.0, value], [1.0, value], unit), row([1.0, 2.0], [1.0, value], unit),
                  row([1.0, value], [1.0, 2.0], unit)]
    assert not any(entry.passed for entry in broken)
    for merged in (by_group(broken), by_group(broken[::-1]), by_group([row([1.0], [1.0], unit), *broken])):
        assert not merged[0].passed
        assert not merged[0].max_error <= 1e30


def test_rows_of_a_group_merge_into_the_worst() -> None:
    rows = [row([1.0], [1.0001], sample="held#0", group="held"), row([1.0], [1.0005], sample="held#1", group="held"),
            row([1.0], [1.0], sample="a.png", group="a.png")]
    held, single = by_group(rows)
    assert (held.sample, held.group, held.samples) == ("held#1", "held", 2)
    assert held.max_error == pytest.approx(5e-4)
    assert held.mean_error == pytest.approx(3e-4)
    assert (single.sample, single.samples) == ("a.png", 1)
    everything, = by_column(rows)
    assert (everything.sample, everything.samples, everything.passed) == ("held#1", 3, True)
    assert not by_column([*rows, row([1.0], [2.0])])[0].passed


def test_rows_that_are_only_shown_come_behind_those_that_are_judged() -> None:
    noise = row([1.0], [9.0], sample="random-0", group="random", limits=LIMITS.lifted)
    rows = [noise, row([1.0], [1.0005])]
    judged, shown = by_column(rows)
    assert (judged.sample, judged.samples, judged.judged) == ("a.png", 1, True)
    assert judged.max_error == pytest.approx(5e-4)
    assert (shown.sample, shown.max_error, shown.judged, shown.passed) == ("random-0", 8.0, False, True)


@pytest.mark.parametrize(("precision", "times"), [("fp32", 1), ("fp16", 2), ("dynamic", 2), ("int8", 2), ("uint8", 2)])
def test_what_a_decoder_works_out_of_raw_heads_may_be_off_by_a_multiple(precision: str, times: int) -> None:
    limits = limits_for(precision)
    raw, plain = (compare(Column(name="box", unit="px", values=np.array([100.0]), raw=raw),
                          Column(name="box", unit="px", values=np.array([100.0]), raw=raw),
                          sample="a.png", group="a.png", limits=limits) for raw in (True, False))
    assert (raw.limit, plain.limit) == (times * limits.errors["px"], limits.errors["px"])


def test_outputs_that_a_decoder_leaves_alone_are_columns_of_their_own() -> None:
    outputs = {"rows": np.zeros((1, 2, 5)), "extra": np.zeros((1, 3))}
    assert [(column.name, column.unit) for column in columns(outputs, ToyDecoder(), (8, 8))] == [
        ("box", "px"), ("score", "score"), ("extra", "")]
    assert [column.name for column in columns(outputs, None, (8, 8))] == ["rows", "extra"]


def test_other_shapes_are_told_with_both() -> None:
    reference, output = {"a": np.zeros((1, 2)), "b": np.zeros(3)}, {"a": np.zeros((2, 1)), "b": np.zeros(3)}
    assert list(shape_problems(reference, output, "a.png")) == [
        "a.png: output 'a' has shape [2, 1], the reference's is [1, 2]"]


def test_a_complaint_says_how_far_and_how_far_it_may_be() -> None:
    assert complaint(row([1.0], [1.5])) == "a.png: box: 0.5 px, the limit is 0.001"
    assert complaint(row([1.0], [np.nan])) == "a.png: box: nan px, the limit is 0.001"


def scored(values: list[list[float]], scores: list[float]) -> Column:
    return Column(name="box", unit="px", values=np.asarray(values), scores=np.asarray(scores))


def compared(reference: Column, output: Column) -> ParityRow:
    return compare(reference, output, sample="a.png", group="a.png", limits=LIMITS)


def test_pixels_are_judged_on_the_rows_that_can_become_a_prediction() -> None:
    reference = scored([[640.0, 100.0], [300.0, 200.0]], [0.9, 1e-6])
    faint = compared(reference, scored([[640.0, 100.0], [300.002, 200.0]], [0.9, 1e-6]))
    assert (faint.passed, faint.max_error) == (True, 0.0)
    likely = compared(reference, scored([[640.002, 100.0], [300.0, 200.0]], [0.9, 1e-6]))
    assert not likely.passed
    assert "0.002 px" in complaint(likely)


@pytest.mark.parametrize("score", [0.5, math.nan])
def test_a_row_that_only_the_artifact_finds_likely_is_judged(score: float) -> None:
    reference = scored([[640.0, 100.0], [300.0, 200.0]], [0.9, 1e-6])
    assert not compared(reference, scored([[640.0, 100.0], [300.002, 200.0]], [0.9, score])).passed


def test_faint_rows_are_bounded_by_the_columns_range() -> None:
    reference = scored([[640.0, 100.0], [300.0, 200.0]], [0.9, 1e-6])
    found = compared(reference, scored([[640.0, 100.0], [300.1, 200.0]], [0.9, 1e-6]))
    assert not found.passed
    assert "rows of low score" in complaint(found)


def test_no_likely_row_at_all_leaves_the_range_to_judge() -> None:
    reference = scored([[640.0, 100.0]], [1e-6])
    assert compared(reference, scored([[640.001, 100.0]], [1e-6])).passed
    assert not compared(reference, scored([[math.nan, 100.0]], [1e-6])).passed
