"""Non-maximum suppression against a plain one, and the way from candidates to detections."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelfarm.decoders.nms import _compile, _sweep, corners_of, detect, nms
from modelfarm.decoders.prediction import Placement
from tests.cases import HERE


def plain_nms(boxes: list[list[float]], scores: list[float], limit: float) -> list[int]:
    """Suppress as the definition says: take the best, drop what overlaps it, repeat."""
    left = sorted(range(len(boxes)), key=lambda index: (-scores[index], index))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [other for other in left if plain_iou(boxes[best], boxes[other]) <= limit]
    return kept


def plain_iou(one: list[float], other: list[float]) -> float:
    inner = (max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
             * max(0.0, min(one[3], other[3]) - max(one[1], other[1])))
    union = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - inner
    return inner / union if union else 0.0


@pytest.mark.parametrize("seed", range(25))
def test_it_keeps_what_the_definition_keeps(seed: int) -> None:
    generator = np.random.default_rng(seed)
    count = int(generator.integers(0, 120))
    corners = generator.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(1, 40, (count, 2))], axis=1)
    scores = np.round(generator.uniform(0, 1, count), 1)  # many ties
    limit = float(generator.uniform(0, 1))
    assert nms(boxes, scores, limit).tolist() == plain_nms(boxes.tolist(), scores.tolist(), limit)
    # Not compiled, the loop says the same.
    order = np.argsort(-scores, kind="stable")
    assert order[_sweep(boxes[order], limit)].tolist() == plain_nms(boxes.tolist(), scores.tolist(), limit)


def test_of_equal_scores_the_earlier_box_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [1, 0, 10, 10]], float)
    assert nms(boxes, np.array([0.5, 0.5, 0.5]), 0.5).tolist() == [0]


def test_an_overlap_of_exactly_the_limit_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 5, 10, 15]], float)  # 50 of 150: a third
    assert nms(boxes, np.array([0.9, 0.8]), 1 / 3).tolist() == [0, 1]
    assert nms(boxes, np.array([0.9, 0.8]), 0.333).tolist() == [0]


def test_boxes_without_area_and_no_boxes_do_no_harm() -> None:
    assert nms(np.array([[5, 5, 5, 5], [5, 5, 5, 5]], float), np.array([0.5, 0.9]), 0.5).tolist() == [1, 0]
    assert nms(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []


def test_detections_are_mapped_to_the_picture_and_clipped_to_it() -> None:
    placement = Placement(width=200, height=100, input_width=100, input_height=100, scale_x=0.5, scale_y=0.5,
                          offset_x=0, offset_y=25)
    boxes, marks = np.array([[-10.0, 30, 40, 90]]), np.array([[10.0, 35, 20, 45]])
    found, = detect(boxes, np.array([0.8]), marks, placement, confidence=0.3, iou=0.5)
    assert found.box == (0, 10, 80, 100)
    assert found.landmarks == ((20, 20), (40, 40))
    assert found.score == pytest.approx(0.8)


def test_scores_and_coordinates_that_are_no_numbers_are_dropped() -> None:
    boxes = np.array([[0, 0, 9, 9], [20, 20, 29, 29], [40, 40, np.inf, 49], [60, 60, 69, np.nan]], float)
    found = detect(boxes, np.array([np.nan, 0.9, 0.9, 0.9]), None, HERE, confidence=0.3, iou=0.5)
    assert [entry.box for entry in found] == [(20, 20, 29, 29)]


def test_the_confidence_itself_is_kept_and_the_best_comes_first() -> None:
    boxes = np.array([[0, 0, 9, 9], [20, 20, 29, 29], [40, 40, 49, 49]], float)
    found = detect(boxes, np.array([0.25, 0.75, 0.125]), None, HERE, confidence=0.25, iou=0.5)
    assert [entry.score for entry in found] == [0.75, 0.25]


def test_a_box_outside_of_the_picture_is_no_detection() -> None:
    boxes = np.array([[150, 10, 180, 40], [10, 10, 30, 30]], float)
    assert len(detect(boxes, np.array([0.9, 0.8]), None, HERE, confidence=0.3, iou=0.5)) == 1


def test_centres_and_sizes_become_corners() -> None:
    assert corners_of(np.array([[10, 20, 4, 6]])).tolist() == [[8, 17, 12, 23]]


def test_where_nothing_can_be_cached_it_is_compiled_all_the_same() -> None:
    scope: dict[str, Any] = {}
    exec("def double(x):\n    return 2 * x", scope)  # has no file that a cache could lie beside
    assert _compile(scope["double"])(21) == 42
