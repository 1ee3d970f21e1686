"""Non-maximum suppression, and the way from candidate boxes to detections that all detectors share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from modelfarm.decoders.prediction import Detection, Placement

Floats = NDArray[np.float64]


def _sweep(boxes: Floats, limit: float) -> NDArray[np.bool_]:
    """Mark, of boxes sorted best first, those that no better kept box overlaps by more than `limit`."""
    count = boxes.shape[0]
    kept = np.ones(count, np.bool_)
    areas = np.empty(count, np.float64)
    for index in range(count):
        areas[index] = (boxes[index, 2] - boxes[index, 0]) * (boxes[index, 3] - boxes[index, 1])
    for best in range(count):
        if not kept[best]:
            continue
        left, top, right, bottom = boxes[best, 0], boxes[best, 1], boxes[best, 2], boxes[best, 3]
        for other in range(best + 1, count):
            if not kept[other]:
                continue
            width = min(right, boxes[other, 2]) - max(left, boxes[other, 0])
            height = min(bottom, boxes[other, 3]) - max(top, boxes[other, 1])
            if width > 0 and height > 0:
                overlap = width * height
                # As a product, so that boxes without area divide nothing by zero.
                kept[other] = overlap <= limit * (areas[best] + areas[other] - overlap)
    return kept


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True)(function)
    except RuntimeError:  # numba found no folder that it may write its cache to
        compiled = numba.njit(function)
    return compiled


_sweep_compiled = _compile(_sweep)


def nms(boxes: NDArray[Any], scores: NDArray[Any], iou: float) -> NDArray[np.intp]:
    """Return the indices of the boxes that stay, best first; of equal scores the earlier box goes first.

    `boxes` are (N, 4) x1, y1, x2, y2, `scores` (N,) without NaN; a box goes where it overlaps a
    better one that stays by an intersection over union of more than `iou`.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ranked = np.ascontiguousarray(boxes, np.float64)[order]
    kept: NDArray[np.intp] = order[_sweep_compiled(ranked, iou)]
    return kept


def detect(boxes: Floats, scores: NDArray[Any], landmarks: Floats | None, placement: Placement, *,
           confidence: float, iou: float) -> list[Detection]:
    """Turn the candidates of one picture into detections, best first, clipped to the picture.

    `boxes` (N, 4) x1, y1, x2, y2 and `landmarks` (N, 2k) are in pixels of the network's input.
    Dropped are candidates under `confidence`, with a score or coordinate that is no number, and
    boxes that show nothing of the picture.
    """
    candidates = np.flatnonzero((scores >= confidence) & np.isfinite(boxes).all(axis=1))
    chosen = candidates[nms(boxes[candidates], scores[candidates], iou)]
    corners = np.clip(placement.to_picture(boxes[chosen]), 0, [placement.width, placement.height] * 2)
    visible = (corners[:, 2:] > corners[:, :2]).all(axis=1)
    chosen, corners = chosen[visible], corners[visible]
    points = placement.to_picture(landmarks[chosen]) if landmarks is not None else np.zeros((len(chosen), 0))
    return [_detection(box, score, marks)
            for box, score, marks in zip(corners.tolist(), scores[chosen].tolist(), points.tolist(), strict=True)]


def _detection(box: list[float], score: float, marks: list[float]) -> Detection:
    return Detection(box=(box[0], box[1], box[2], box[3]), score=score,
                     landmarks=tuple(zip(marks[0::2], marks[1::2], strict=True)))


def corners_of(centred: NDArray[Any]) -> Floats:
    """Turn (..., 4) boxes cx, cy, w, h into x1, y1, x2, y2."""
    boxes = np.asarray(centred, np.float64)
    half = boxes[..., 2:4] / 2
    return np.concatenate([boxes[..., 0:2] - half, boxes[..., 0:2] + half], axis=-1)


def warm_up() -> None:
    """Load the compiled loop, or compile it where nothing is cached yet, before it is needed."""
    nms(np.zeros((1, 4)), np.zeros(1), 0.5)
