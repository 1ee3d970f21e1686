from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from modelfarm.decoders.prediction import Prediction
from modelfarm.gates.golden import Tried, accuracy, missed
from modelfarm.gates.limits import limits_for
from tests.cases import detection, ranking, sample

FACE = {"box": [10, 10, 30, 30], "score": 0.9, "landmarks": None}
POINTS = [[10, 10], [11, 11], [12, 12], [13, 13], [14, 14]]


def tried(*items: Sequence[Prediction], name: str = "a.png", group: str | None = None, labels: Any = None) -> Tried:
    return Tried(sample=sample(name, group, len(items), labels=labels), found=items)


def said(expected: Any, *items: Sequence[Prediction]) -> list[str]:
    return list(missed("a.png", expected, [tried(*items)]))


def test_what_is_found_as_expected_is_not_missed() -> None:
    assert said([], []) == []
    assert said([FACE], [detection()]) == []
    assert said([{**FACE, "landmarks": POINTS}], [detection()]) == []
    assert said([FACE, {"box": [60, 10, 80, 30], "score": 0.9}], [detection(60), detection(10)]) == []


def test_a_pixel_and_a_hundredth_are_tolerated_and_no_more() -> None:
    assert said([FACE], [detection(10.9, score=0.9099)]) == []
    assert "1.1 px apart" in said([FACE], [detection(11.1)])[0]
    assert "score 0.9110" in said([FACE], [detection(score=0.911)])[0]
    shifted = [[x + 1.1, y] for x, y in POINTS]
    assert "landmarks" in said([{**FACE, "landmarks": shifted}], [detection()])[0]
    assert "landmarks" in said([{**FACE, "landmarks": POINTS}], [detection(points=0)])[0]


@pytest.mark.parametrize("broken", [detection(x=float("nan")), detection(score=float("nan"))])
def test_what_is_no_number_is_missed(broken: Prediction) -> None:
    assert said([FACE], [broken])


def test_more_or_fewer_than_expected_are_told() -> None:
    assert said([], [detection(score=0.875)]) == ["a.png: 1 found (scores 0.875), expected 0"]
    assert said([FACE], []) == ["a.png: 0 found, expected 1"]


def test_every_item_of_a_batch_must_meet_the_expectation() -> None:
    assert said([FACE], [detection()], [detection()]) == []
    assert len(said([FACE], [detection()], [])) == 1


@pytest.mark.parametrize("name", ["b", "1", 1])
def test_the_best_class_is_expected_by_label_or_index(name: Any) -> None:
    expected = {"top1": name, "top5": None, "accuracy": None}
    assert said(expected, [ranking(0.1, 0.7, 0.2)]) == []
    assert said(expected, [ranking(0.7, 0.1, 0.2)]) == [f"a.png: found a; expected {name}"]


def test_the_best_five_are_expected_in_their_order() -> None:
    best = ranking(0.05, 0.4, 0.3, 0.2, 0.05)
    assert said({"top5": ["b", "2", "d", "a", "e"]}, [best]) == []
    assert said({"top5": ["2", "b", "d", "a", "e"]}, [best]) == ["a.png: found b, c, d, a, e; expected 2, b, d, a, e"]
    assert said({"top5": ["b", "c", "d", "a", "e"]}, [ranking(0.1, 0.9)]) != []


def test_a_decoder_of_another_kind_is_told() -> None:
    assert said([FACE], [ranking(1.0)]) == ["a.png: boxes are expected, but the decoder gives classes"]
    assert said({"top1": "a"}, [detection()]) == ["a.png: a class is expected, but the decoder gives boxes"]
    assert said({"top1": "a"}, []) == ["a.png: a class is expected, but the decoder gives boxes"]


def test_an_unknown_sample_is_told_with_the_nearest_names() -> None:
    found = list(missed("astronut.png", [], [tried([], name="astronaut.png")]))
    assert found == ["astronut.png: there is no such sample; did you mean astronaut.png?"]


def test_accuracy_counts_the_labelled_rows_of_a_file() -> None:
    first, second = [ranking(0.9, 0.1)], [ranking(0.2, 0.8)]
    rows = [tried(first, second, name="held.npz#0", group="held.npz", labels=np.array([0, 0])),
            tried(first, second, name="held.npz#1", group="held.npz", labels=np.array([0, 1])),
            tried(first, name="other.png")]
    assert accuracy(rows) == 0.75
    expected = {"top1": None, "top5": None, "accuracy": 0.75}
    assert list(missed("held.npz", expected, rows)) == []
    assert list(missed("held.npz", {"accuracy": 0.76}, rows)) == ["held.npz: accuracy 0.7500, expected at least 0.76"]
    assert list(missed("other.png", expected, rows)) == [
        "other.png: accuracy is expected, but the file has no array `label`"]


def test_boxes_and_nothing_hit_no_label() -> None:
    assert accuracy([tried([detection()], [], labels=np.array([0, 0]))]) == 0
    assert accuracy([]) is None


def test_eight_bits_may_lose_what_is_stated_and_no_more() -> None:
    slack = limits_for("uint8").golden
    near = detection(13.9, score=0.86)
    assert list(missed("a.png", [FACE], [tried([near])], slack)) == []
    assert "4.1 px apart" in next(missed("a.png", [FACE], [tried([detection(14.1)])], slack))
    assert list(missed("a.png", [FACE], [tried([near])])) != []


def test_a_point_of_accuracy_is_left_to_eight_bits_and_said() -> None:
    slack = limits_for("int8").golden
    row = tried(*[[ranking(0.9, 0.1)]] * 100, labels=np.array([0] * 98 + [1] * 2))
    assert accuracy([row]) == 0.98
    assert list(missed("a.png", {"accuracy": 0.99}, [row], slack)) == []
    assert list(missed("a.png", {"accuracy": 0.995}, [row], slack)) == [
        "a.png: accuracy 0.9800, expected at least 0.995 less 0.01 for the precision"]
    assert list(missed("a.png", {"accuracy": 0.99}, [row])) != []
