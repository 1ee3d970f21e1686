"""ssd_face: face detectors with prior boxes (SSD), such as the 1 MB detectors, or with corner fractions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelfarm.decoders import roles
from modelfarm.decoders.nms import corners_of, detect
from modelfarm.decoders.prediction import Column, Outputs, Placement, Prediction
from modelfarm.errors import RecipeError

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Priors:
    """The boxes that offsets start from: square, of each size, in the centre of each cell."""

    strides: tuple[int, ...]
    sizes: tuple[tuple[float, ...], ...]
    variances: tuple[float, float]


@lru_cache(maxsize=8)
def prior_boxes(priors: Priors, height: int, width: int) -> Floats:
    """Return (N, 4) cx, cy, w, h in pixels: by stride, row, column, size, as SSD orders them."""
    rows = []
    for stride, sizes in zip(priors.strides, priors.sizes, strict=True):
        cells = product(range(-(-height // stride)), range(-(-width // stride)), sizes)
        rows += [((x + 0.5) * stride, (y + 0.5) * stride, size, size) for y, x, size in cells]
    return np.array(rows, np.float64).reshape(-1, 4)


class Decoder:
    """Read boxes (B, N, 4), scores (B, N, 2) and, where there are any, landmarks (B, N, 10).

    With priors the values are SSD's offsets: centre = prior centre + value * variance * prior size,
    size = prior size * exp(value * variance) (Liu et al., https://arxiv.org/abs/1512.02325); without,
    corners x1, y1, x2, y2 as fractions of the input. Scores are background and face, after softmax.
    """

    def __init__(self, options: Mapping[str, Any], folder: Path) -> None:
        self._confidence: float = options["confidence"]
        self._iou: float = options["iou"]
        self._names = {role: options[role] for role in ("boxes", "scores", "landmarks") if options[role]}
        self._priors = _priors(options["priors"]) if options["priors"] else None

    def columns(self, outputs: Outputs, size: tuple[int, int]) -> list[Column]:
        """Split the outputs into box and landmarks, decoded to pixels, and score."""
        boxes, landmarks = self._pixels(outputs, size)
        scores = self._output(outputs, "scores")
        face = scores[..., 1]
        columns = [Column(name="box", unit="px", values=boxes, output=self._names["boxes"], scores=face)]
        if landmarks is not None:
            columns += [Column(name="landmarks", unit="px", values=landmarks, output=self._names["landmarks"],
                               scores=face)]
        return [*columns, Column(name="score", unit="score", values=scores, output=self._names["scores"])]

    def decode(self, outputs: Outputs, placements: Sequence[Placement | None]) -> list[list[Prediction]]:
        """Return the faces of each item, best first."""
        known = [placement for placement in placements if placement is not None]
        if len(known) != len(placements) or not known:
            raise RecipeError("decoder ssd_face needs an input with a layout, NCHW or NHWC")
        boxes, landmarks = self._pixels(outputs, (known[0].input_height, known[0].input_width))
        scores = self._output(outputs, "scores")[..., 1].astype(np.float64)
        return [list(detect(boxes[item], scores[item], None if landmarks is None else landmarks[item], placement,
                            confidence=self._confidence, iou=self._iou))
                for item, placement in enumerate(known)]

    def _pixels(self, outputs: Outputs, size: tuple[int, int]) -> tuple[Floats, Floats | None]:
        """Return boxes (B, N, 4) x1, y1, x2, y2 and landmarks (B, N, 10) in pixels of the input."""
        height, width = size
        boxes = self._output(outputs, "boxes").astype(np.float64)
        marks = self._output(outputs, "landmarks").astype(np.float64) if "landmarks" in self._names else None
        if self._priors is None:
            return boxes * ([width, height] * 2), None if marks is None else marks * ([width, height] * 5)
        priors = self._fitting(self._priors, size, boxes.shape[1])
        return _corners(boxes, priors, self._priors), None if marks is None else _points(marks, priors, self._priors)

    def _fitting(self, priors: Priors, size: tuple[int, int], count: int) -> Floats:
        boxes = prior_boxes(priors, *size)
        if len(boxes) != count:
            raise RecipeError(f"decoder ssd_face: output {self._names['boxes']!r} has {count} boxes, but the priors "
                              f"give {len(boxes)} for an input of {size[1]}x{size[0]}",
                              remedy="compare strides and sizes with the model's training configuration")
        return boxes

    def _output(self, outputs: Outputs, role: str) -> NDArray[Any]:
        width = {"boxes": 4, "scores": 2, "landmarks": 10}[role]
        return roles.rows(outputs, self._names[role], width, f"ssd_face: {role}")


def _priors(options: Mapping[str, Any]) -> Priors:
    strides, sizes = tuple(options["strides"]), tuple(tuple(group) for group in options["sizes"])
    if len(strides) != len(sizes):
        raise RecipeError(f"decoder ssd_face: {len(strides)} strides, but sizes for {len(sizes)}",
                          remedy="give one list of sizes per stride")
    centre, size = options["variances"]
    return Priors(strides=strides, sizes=sizes, variances=(centre, size))


def _corners(offsets: Floats, boxes: Floats, priors: Priors) -> Floats:
    centre, size = priors.variances
    centres = boxes[:, 0:2] + offsets[..., 0:2] * centre * boxes[:, 2:4]
    # An absurd exponent becomes infinity, which detect() drops: no warning is due.
    with np.errstate(over="ignore", invalid="ignore"):
        sides = boxes[:, 2:4] * np.exp(offsets[..., 2:4] * size)
        return corners_of(np.concatenate([centres, sides], axis=-1))


def _points(offsets: Floats, boxes: Floats, priors: Priors) -> Floats:
    return np.tile(boxes[:, 0:2], 5) + offsets * priors.variances[0] * np.tile(boxes[:, 2:4], 5)
