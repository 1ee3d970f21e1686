from __future__ import annotations

import math
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from modelfarm.decoders.prediction import Detection, Prediction
from modelfarm.gates.agreement import difference, disagreements, iou, match, other_classes
from modelfarm.gates.limits import limits_for
from tests.cases import detection, ranking

LIMITS = limits_for("fp32")


def said(reference: Sequence[Prediction], found: Sequence[Prediction]) -> list[str]:
    return [problem for differ in (disagreements, other_classes) for problem in differ(reference, found, LIMITS)]


def test_the_overlap_of_boxes() -> None:
    assert iou((0, 0, 10, 10), (0, 5, 10, 15)) == pytest.approx(50 / 150)
    assert iou((0, 0, 10, 10), (10, 0, 20, 10)) == iou((0, 0, 1, 1), (5, 5, 6, 6)) == 0
    assert iou((3, 3, 3, 9), (3, 3, 3, 9)) == 1
    assert iou((3, 3, 3, 9), (4, 3, 4, 9)) == 0


def test_the_best_overlaps_are_paired_whatever_the_order() -> None:
    left, right = detection(10), detection(60)
    near_right = detection(61)
    assert match([left, right], [near_right, left]) == [(left, left), (right, near_right)]
    # Greedy in order of overlap: the perfect pair first, though both overlap.
    wide = detection(12)
    assert match([left, wide], [wide, left]) == [(left, left), (wide, wide)]


def test_as_many_pairs_as_the_shorter_list_has() -> None:
    assert match([detection(10), detection(60)], [detection(60)]) == [(detection(60), detection(60))]
    assert match([], [detection()]) == []


def by_brute_force(expected: Sequence[Detection], found: Sequence[Detection]) -> list[tuple[Detection, Detection]]:
    """Pair the best of all that is left, again and again."""
    rows, columns, pairs = set(range(len(expected))), set(range(len(found))), dict[int, int]()
    while rows and columns:
        row, column = min(((row, column) for row in rows for column in columns),
                          key=lambda pair: (-iou(expected[pair[0]].box, found[pair[1]].box), pair))
        pairs[row] = column
        rows.remove(row)
        columns.remove(column)
    return [(expected[row], found[column]) for row, column in sorted(pairs.items())]


@pytest.mark.parametrize("seed", range(20))
def test_pairs_are_those_of_brute_force(seed: int) -> None:
    random = np.random.default_rng(seed)
    # On a coarse grid many overlaps are equal, and many boxes have no partner that they touch.
    some, others = ([detection(float(x)) for x in random.integers(0, 200, size) * 3]
                    for size in random.integers(0, 12, 2))
    assert match(some, others) == by_brute_force(some, others)


def test_thousands_of_boxes_are_matched_in_little_memory() -> None:
    many = [detection(40.0 * place) for place in range(3000)]
    tracemalloc.start()
    assert match(many, many[::-1]) == [(one, one) for one in many]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000, "the pairs of all with all would take a gigabyte"


def test_differences_are_per_coordinate() -> None:
    one = Detection(box=(0, 0, 10, 10), score=0.5, landmarks=((1, 1), (2, 2)))
    other = Detection(box=(0, 0, 10, 12), score=0.75, landmarks=((1, 1), (2, 5)))
    found = difference(one, other)
    assert (found.iou, found.box, found.score, found.points) == (pytest.approx(10 / 12), 2, 0.25, 3)
    assert difference(one, replace(other, landmarks=())).points == math.inf
    assert math.isnan(difference(one, replace(one, box=(0, math.nan, 10, 10))).box)


def test_equal_predictions_agree() -> None:
    assert said([detection(10), detection(60)], [detection(60), detection(10)]) == []
    assert said([], []) == []
    assert said([ranking(0.1, 0.9)], [ranking(0.2, 0.8)]) == []


@pytest.mark.parametrize(("changed", "message"), [
    (detection(10.3), "overlaps the reference's"),
    (detection(score=0.9002), "score 0.90020"),
    (replace(detection(), landmarks=(*detection().landmarks[:4], (14.06, 14))), "landmarks"),
    (detection(points=0), "landmarks"),
    (detection(score=math.nan), "score nan"),
    (replace(detection(), box=(math.nan, 10, 30, 30)), "overlaps"),
    (replace(detection(), landmarks=(*detection().landmarks[:4], (math.nan, 14))), "landmarks"),
])
def test_what_differs_is_said(changed: Detection, message: str) -> None:
    found = said([detection()], [changed])
    assert any(message in problem for problem in found)


def test_within_the_limits_they_agree() -> None:
    near = replace(detection(), box=(10.01, 10, 30, 30), score=0.90009,
                   landmarks=(*detection().landmarks[:4], (14.04, 14)))
    assert said([detection()], [near]) == []


def test_slivers_at_the_edge_agree_by_their_corners() -> None:
    one = Detection(box=(0, 0, 0.01, 50), score=0.5)
    other = Detection(box=(0, 0, 0.02, 50), score=0.5)
    assert iou(one.box, other.box) == pytest.approx(0.5)
    assert said([one], [other]) == []


def test_another_number_of_predictions_is_said() -> None:
    assert said([detection()], []) == ["0 predictions, the reference has 1"]


def test_another_best_class_is_said_unless_both_are_as_good() -> None:
    assert said([ranking(0.6, 0.4)], [ranking(0.4, 0.6)]) == ["best class 'b', the reference has 'a'"]
    assert said([ranking(0.5, 0.4999995)], [ranking(0.4999995, 0.5)]) == []
    assert said([ranking(0.5, 0.499998)], [ranking(0.4, 0.5)]) != []
    assert said([ranking(0.5, math.nan)], [ranking(0.1, 0.5)]) != []


def test_a_class_unknown_to_the_reference_is_said() -> None:
    assert said([ranking(0.6, 0.4)], [ranking(0.1, 0.2, 0.7)]) == ["best class 'c', the reference has 'a'"]


def test_boxes_instead_of_classes_are_said() -> None:
    assert said([ranking(1.0)], [detection()]) == ["a Detection where the reference has a Classification"]


def test_eight_bits_leave_a_box_four_pixels_and_landmarks_five() -> None:
    limits = limits_for("uint8")
    near = [Detection(box=(14, 10, 30, 30), score=0.86, landmarks=detection().landmarks)]
    assert list(disagreements([detection()], near, limits)) == []
    far = [Detection(box=(14.1, 10, 30, 30), score=0.84, landmarks=tuple((x + 5.1, y) for x, y in near[0].landmarks))]
    box, score, points = disagreements([detection()], far, limits)
    assert "box (14.1" in box and "score 0.84" in score and "5.1 px from" in points
