"""yolo_face: the decoded output of the YOLOv5 face detectors, or their raw heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelfarm.decoders.nms import corners_of, detect
from modelfarm.decoders.prediction import Column, Outputs, Placement, Prediction
from modelfarm.decoders.yolo_heads import WIDTH, Head, read_heads, rows_of
from modelfarm.errors import RecipeError


class Decoder:
    """Read (B, N, 16) rows: box centre and size in pixels, objectness, 5 landmarks in pixels, class.

    A candidate's score is its objectness times its class. Where the graph was cut before its decode, `heads` says what
    the outputs are, and the rows are worked out here.
    """

    def __init__(self, options: Mapping[str, Any], folder: Path, heads: Mapping[str, Any] | None = None) -> None:
        self._confidence: float = options["confidence"]
        self._iou: float = options["iou"]
        self._heads: tuple[Head, ...] = read_heads(heads, options.get("anchors")) if heads else ()

    def columns(self, outputs: Outputs, size: tuple[int, int]) -> list[Column]:
        """Split the rows into box, landmarks, objectness, class, and score, their product."""
        name, rows = self._rows(outputs)
        objectness, face = rows[..., 4], rows[..., 15]
        score = objectness * face
        covers = tuple(name for head in self._heads for name in head.outputs)
        raw = bool(self._heads)
        return [
            Column(name="box", unit="px", values=rows[..., 0:4], output=name, scores=score, covers=covers,
                   raw=raw),
            Column(name="landmarks", unit="px", values=rows[..., 5:15], output=name, scores=score, covers=covers,
                   raw=raw),
            Column(name="objectness", unit="score", values=objectness, output=name, covers=covers),
            Column(name="class", unit="score", values=face, output=name, covers=covers),
            Column(name="score", unit="score", values=score, output=name, covers=covers),
        ]

    def decode(self, outputs: Outputs, placements: Sequence[Placement | None]) -> list[list[Prediction]]:
        """Return the faces of each item, best first."""
        return [self._faces(rows.astype(np.float64), placement)
                for rows, placement in zip(self._rows(outputs)[1], placements, strict=True)]

    def _rows(self, outputs: Outputs) -> tuple[str, NDArray[Any]]:
        if self._heads:
            return self._heads[0].outputs[0], rows_of(outputs, self._heads)
        return _decoded_rows(outputs)

    def _faces(self, rows: NDArray[np.float64], placement: Placement | None) -> list[Prediction]:
        if placement is None:
            raise RecipeError("decoder yolo_face needs an input with a layout, NCHW or NHWC")
        return list(detect(corners_of(rows[:, 0:4]), rows[:, 4] * rows[:, 15], rows[:, 5:15], placement,
                           confidence=self._confidence, iou=self._iou))


def _decoded_rows(outputs: Outputs) -> tuple[str, NDArray[Any]]:
    shapes = {name: array.shape for name, array in outputs.items()}
    fitting = [name for name, shape in shapes.items() if len(shape) == 3 and shape[2] == WIDTH]
    if len(fitting) != 1:
        raise RecipeError(f"decoder yolo_face needs one output of shape (batch, boxes, {WIDTH}); found "
                          + ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()),
                          remedy="export the model with its decoded output; raw heads are read where the edit "
                                 "cut_decode made them")
    return fitting[0], outputs[fitting[0]]
