"""landmarks: many points on one object that fills the picture, such as MediaPipe's face mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelfarm.decoders import roles
from modelfarm.decoders.activation import logistic
from modelfarm.decoders.prediction import Column, Detection, Outputs, Placement, Prediction
from modelfarm.errors import RecipeError

Floats = NDArray[np.float64]


class Decoder:
    """Read points, any shape of `dimensions` numbers each: x and y in pixels of the input, and perhaps a depth.

    `score` is an output with one number per item, before the logistic function: whether the object is there at all.
    The prediction's box is the points' own, which is as much as such a model says of one.
    """

    def __init__(self, options: Mapping[str, Any], folder: Path) -> None:
        self._confidence: float = options["confidence"]
        self._dimensions: int = options["dimensions"]
        self._names: dict[str, str | None] = {role: options[role] for role in ("points", "score")}

    def columns(self, outputs: Outputs, size: tuple[int, int]) -> list[Column]:
        """Split the outputs into landmarks, their depth, and score; a depth has the scale of x."""
        points = self._points(outputs)
        columns = [Column(name="landmarks", unit="px", values=points[..., :2], output=str(self._names["points"]))]
        if self._dimensions > 2:
            columns.append(Column(name="depth", unit="px", values=points[..., 2:], output=str(self._names["points"])))
        if self._names["score"]:
            columns.append(Column(name="score", unit="score", values=self._scores(outputs, len(points)),
                                  output=self._names["score"]))
        return columns

    def decode(self, outputs: Outputs, placements: Sequence[Placement | None]) -> list[list[Prediction]]:
        """Return of each item one object with its landmarks, or nothing."""
        points = self._points(outputs)
        items = zip(points[..., :2], self._scores(outputs, len(points)), placements, strict=True)
        return [[_object(*item)] if item[1] >= self._confidence else [] for item in items]

    def _points(self, outputs: Outputs) -> Floats:
        """Return (B, points, dimensions)."""
        array = self._output(outputs, "points")
        if not array.size or (array.size // len(array)) % self._dimensions:
            raise RecipeError(f"decoder landmarks: points: output {self._names['points']!r} has shape "
                              f"{list(array.shape)}, no points of {self._dimensions} numbers",
                              remedy="say how many numbers a point has: decoder: {landmarks: {dimensions: 3}}")
        return array.astype(np.float64).reshape(len(array), -1, self._dimensions)

    def _scores(self, outputs: Outputs, batch: int) -> Floats:
        """Return (B,), all 1 where the model has no score."""
        if not self._names["score"]:
            return np.ones(batch)
        array = self._output(outputs, "score")
        if array.size != batch:
            raise RecipeError(f"decoder landmarks: score: output {self._names['score']!r} has shape "
                              f"{list(array.shape)}, expected one number per item")
        return logistic(array.reshape(batch))

    def _output(self, outputs: Outputs, role: str) -> NDArray[Any]:
        return roles.named(outputs, str(self._names[role]), f"landmarks: {role}")


def _object(points: Floats, score: float, placement: Placement | None) -> Detection:
    if placement is None:
        raise RecipeError("decoder landmarks needs an input with a layout, NCHW or NHWC")
    places = placement.to_picture(points)
    (left, top), (right, bottom) = places.min(axis=0).tolist(), places.max(axis=0).tolist()
    return Detection(box=(left, top, right, bottom), score=float(score),
                     landmarks=tuple((x, y) for x, y in places.tolist()))
