"""yolo_face: the decoded output of the YOLOv5 face detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelfarm.decoders.nms import corners_of, detect
from modelfarm.decoders.prediction import Column, Outputs, Placement, Prediction
from modelfarm.errors import RecipeError

WIDTH = 16  # cx, cy, w, h, objectness, 5 landmarks x, y, class


class Decoder:
    """Read (B, N, 16) rows: box centre and size in pixels, objectness, 5 landmarks in pixels, class.

    A candidate's score is its objectness times its class.
    """

    def __init__(self, options: Mapping[str, Any], folder: Path) -> None:
        self._confidence: float = options["confidence"]
        self._iou: float = options["iou"]

    def columns(self, outputs: Outputs, size: tuple[int, int]) -> list[Column]:
        """Split the rows into box, landmarks, objectness, class, and score, their product."""
        name, rows = _rows(outputs)
        objectness, face = rows[..., 4], rows[..., 15]
        score = objectness * face
        return [
            Column(name="box", unit="px", values=rows[..., 0:4], output=name, scores=score),
            Column(name="landmarks", unit="px", values=rows[..., 5:15], output=name, scores=score),
            Column(name="objectness", unit="score", values=objectness, output=name),
            Column(name="class", unit="score", values=face, output=name),
            Column(name="score", unit="score", values=score, output=name),
        ]

    def decode(self, outputs: Outputs, placements: Sequence[Placement | None]) -> list[list[Prediction]]:
        """Return the faces of each item, best first."""
        return [self._faces(rows.astype(np.float64), placement)
                for rows, placement in zip(_rows(outputs)[1], placements, strict=True)]

    def _faces(self, rows: NDArray[np.float64], placement: Placement | None) -> list[Prediction]:
        if placement is None:
            raise RecipeError("decoder yolo_face needs an input with a layout, NCHW or NHWC")
        return list(detect(corners_of(rows[:, 0:4]), rows[:, 4] * rows[:, 15], rows[:, 5:15], placement,
                           confidence=self._confidence, iou=self._iou))


def _rows(outputs: Outputs) -> tuple[str, NDArray[Any]]:
    shapes = {name: array.shape for name, array in outputs.items()}
    fitting = [name for name, shape in shapes.items() if len(shape) == 3 and shape[2] == WIDTH]
    if len(fitting) != 1:
        raise RecipeError(f"decoder yolo_face needs one output of shape (batch, boxes, {WIDTH}); found "
                          + ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()),
                          remedy="export the model with its decoded output, not its three raw heads")
    return fitting[0], outputs[fitting[0]]
