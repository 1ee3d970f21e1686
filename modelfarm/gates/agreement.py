"""Agreement: whether two sets of predictions say the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelfarm.decoders.prediction import Classification, Detection, Prediction
from modelfarm.gates.limits import Limits

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far two matched detections are apart; `box` and `points` in pixels of the picture, per coordinate."""

    iou: float
    box: float
    score: float
    points: float


def iou(one: Box, other: Box) -> float:
    """Return the intersection over union; of two equal boxes without area 1."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    overlap = max(width, 0.0) * max(height, 0.0)
    union = _area(one) + _area(other) - overlap
    return overlap / union if union > 0 else float(one == other)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def match(expected: Sequence[Detection], found: Sequence[Detection]) -> list[tuple[Detection, Detection]]:
    """Pair detections one to one, the best overlaps first; as many pairs as the shorter list has."""
    ranked = sorted((-iou(one.box, other.box), row, column)
                    for row, one in enumerate(expected) for column, other in enumerate(found))
    rows: dict[int, int] = {}
    for _, row, column in ranked:
        if row not in rows and column not in rows.values():
            rows[row] = column
    return [(expected[row], found[column]) for row, column in sorted(rows.items())]


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
