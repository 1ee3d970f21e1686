"""Agreement: whether two sets of predictions say the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from modelfarm.decoders.prediction import Classification, Detection, Prediction
from modelfarm.gates.limits import Limits

Box = tuple[float, float, float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far two matched detections are apart; `box` and `points` in pixels of the picture, per coordinate."""

    iou: float
    box: float
    score: float
    points: float


def iou(one: Box, other: Box) -> float:
    """Return the intersection over union; of two equal boxes without area 1."""
    return float(_overlaps(one, np.array([other], float))[0])


def _overlaps(box: Box, others: Floats) -> Floats:
    """Return the intersection over union of a box with each of the others, of shape (n, 4)."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = sides.clip(min=0).prod(axis=1)
    union = (box[2] - box[0]) * (box[3] - box[1]) + (others[:, 2:] - others[:, :2]).prod(axis=1) - shared
    same: Floats = (others == box).all(axis=1).astype(np.float64)
    np.divide(shared, union, out=same, where=union > 0)
    return same


def match(expected: Sequence[Detection], found: Sequence[Detection]) -> list[tuple[Detection, Detection]]:
    """Pair detections one to one, the best overlaps first; as many pairs as the shorter list has."""
    rows: dict[int, int] = {}
    columns: set[int] = set()
    for row, column in chain(_overlapping(expected, found), _left(rows, columns, len(expected), len(found))):
        if row not in rows and column not in columns:
            rows[row] = column
            columns.add(column)
    return [(expected[row], found[column]) for row, column in sorted(rows.items())]


def _overlapping(expected: Sequence[Detection], found: Sequence[Detection]) -> Iterator[tuple[int, int]]:
    """Yield the rows and columns of boxes that overlap, the best first: few of all the pairs do."""
    boxes = np.array([other.box for other in found], float).reshape(-1, 4)
    pairs = []
    for row, one in enumerate(expected):
        overlaps = _overlaps(one.box, boxes)
        pairs += [(-overlaps[column], row, int(column)) for column in np.flatnonzero(overlaps)]
    yield from ((row, column) for _, row, column in sorted(pairs))


def _left(rows: Mapping[int, int], columns: Set[int], height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield in their order the rows and columns that have no partner when this begins."""
    yield from zip([row for row in range(height) if row not in rows],
                   [column for column in range(width) if column not in columns], strict=False)


def difference(one: Detection, other: Detection) -> Difference:
    """Measure two detections against each other; landmarks of different number are infinitely apart."""
    return Difference(iou=iou(one.box, other.box), box=_apart(one.box, other.box), score=abs(one.score - other.score),
                      points=_apart([value for point in one.landmarks for value in point],
                                    [value for point in other.landmarks for value in point]))


def _apart(one: Sequence[float], other: Sequence[float]) -> float:
    if len(one) != len(other):
        return math.inf
    distances = [abs(left - right) for left, right in zip(one, other, strict=True)]
    return math.nan if any(map(math.isnan, distances)) else max(distances, default=0.0)


def disagreements(reference: Sequence[Prediction], found: Sequence[Prediction], limits: Limits) -> Iterator[str]:
    """Yield every way in which the predictions of one picture are not those of the reference, but for best classes."""
    if len(reference) != len(found):
        yield f"{len(found)} predictions, the reference has {len(reference)}"
        return
    theirs, ours = ([entry for entry in entries if isinstance(entry, Detection)] for entries in (reference, found))
    for one, other in match(theirs, ours):
        yield from _of_detections(one, other, limits)
    for first, second in zip(reference, found, strict=True):
        if type(first) is not type(second):
            yield f"a {type(second).__name__} where the reference has a {type(first).__name__}"


def other_classes(reference: Sequence[Prediction], found: Sequence[Prediction], limits: Limits) -> Iterator[str]:
    """Yield where the best class of one picture is not that of the reference."""
    for first, second in zip(reference, found, strict=False):
        if isinstance(first, Classification) and isinstance(second, Classification):
            yield from _of_classes(first, second, limits)


def _of_detections(one: Detection, other: Detection, limits: Limits) -> Iterator[str]:
    apart = difference(one, other)
    # The IoU of slivers at a picture's edge says little: corners that agree are enough.
    if not (apart.iou >= limits.iou or apart.box <= limits.box):
        yield f"box {_shown(other.box)} overlaps the reference's {_shown(one.box)} by {apart.iou:.4f}"
    if not apart.score <= limits.score:
        yield f"score {other.score:.5f} at {_shown(one.box)}, the reference has {one.score:.5f}"
    if not apart.points <= limits.points:
        yield f"landmarks at {_shown(one.box)} are {apart.points:.3g} px from the reference's"


def _of_classes(one: Classification, other: Classification, limits: Limits) -> Iterator[str]:
    if one.ranking[0] == other.ranking[0]:
        return
    scores = dict(zip(one.ranking, one.scores, strict=True))
    rival = scores.get(other.ranking[0], -math.inf)
    if not one.scores[0] - rival <= limits.tie:
        yield f"best class {other.labels[0]!r}, the reference has {one.labels[0]!r}"


def _shown(box: Box) -> str:
    return "(" + ", ".join(f"{value:.1f}" for value in box) + ")"
