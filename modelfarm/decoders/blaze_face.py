"""blaze_face: MediaPipe's face detectors, anchors without size and six landmarks, before any decode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelfarm.decoders import roles
from modelfarm.decoders.activation import logistic
from modelfarm.decoders.nms import corners_of, detect
from modelfarm.decoders.prediction import Column, Outputs, Placement, Prediction
from modelfarm.errors import RecipeError

Floats = NDArray[np.float64]
WIDTH = 16  # cx, cy, w, h, 6 landmarks x, y
PER_LAYER = 2  # anchors of a cell for each layer of its stride


@lru_cache(maxsize=8)
def anchor_centres(strides: tuple[int, ...], height: int, width: int) -> Floats:
    """Return (N, 2) x, y in pixels: by stride, row, column, and as many times as the cell has anchors.

    Layers that follow each other with one stride share their cells (Bazarevsky et al., BlazeFace,
    https://arxiv.org/abs/1907.05047).
    """
    parts = [_centres(stride, len(list(layers)) * PER_LAYER, height, width) for stride, layers in groupby(strides)]
    return np.concatenate(parts)


def _centres(stride: int, count: int, height: int, width: int) -> Floats:
    rows, columns = -(-height // stride), -(-width // stride)
    cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    centres: Floats = np.repeat((cells + 0.5) * stride, count, axis=0)
    return centres


class Decoder:
    """Read boxes (B, N, 16) in pixels from the anchor's centre, and scores (B, N, 1) before the logistic function.

    A row is the box's centre, its width and height, and six landmarks: right eye, left eye, nose, mouth, right ear,
    left ear, as the person has them. Of boxes that overlap the best stays as it is, where MediaPipe's own graph
    averages them.
    """

    def __init__(self, options: Mapping[str, Any], folder: Path) -> None:
        self._confidence: float = options["confidence"]
        self._iou: float = options["iou"]
        self._names = {role: options[role] for role in ("boxes", "scores")}
        self._strides = tuple(options["strides"])

    def columns(self, outputs: Outputs, size: tuple[int, int]) -> list[Column]:
        """Split the outputs into box and landmarks in pixels, and score; logits of far more than 1 hide in a score."""
        rows, logits = self._rows(outputs, size), self._output(outputs, "scores")[..., 0]
        scores, (boxes, name) = logistic(logits), self._names.values()
        return [
            Column(name="box", unit="px", values=rows[..., 0:4], output=boxes, scores=scores),
            Column(name="landmarks", unit="px", values=rows[..., 4:], output=boxes, scores=scores),
            Column(name="score", unit="score", values=scores, output=name),
            Column(name="logits", unit="", values=logits, output=name),
        ]

    def decode(self, outputs: Outputs, placements: Sequence[Placement | None]) -> list[list[Prediction]]:
        """Return the faces of each item, best first."""
        known = [placement for placement in placements if placement is not None]
        if len(known) != len(placements) or not known:
            raise RecipeError("decoder blaze_face needs an input with a layout, NCHW or NHWC")
        rows = self._rows(outputs, (known[0].input_height, known[0].input_width))
        scores = logistic(self._output(outputs, "scores")[..., 0])
        return [list(self._faces(*item)) for item in zip(rows, scores, known, strict=True)]

    def _faces(self, rows: Floats, scores: Floats, placement: Placement) -> Iterator[Prediction]:
        yield from detect(corners_of(rows[:, 0:4]), scores, rows[:, 4:], placement,
                          confidence=self._confidence, iou=self._iou)

    def _rows(self, outputs: Outputs, size: tuple[int, int]) -> Floats:
        """Return (B, N, 16) rows whose centres and landmarks are pixels of the input."""
        rows = self._output(outputs, "boxes").astype(np.float64)
        centres = anchor_centres(self._strides, *size)
        if len(centres) != rows.shape[1]:
            raise RecipeError(f"decoder blaze_face: output {self._names['boxes']!r} has {rows.shape[1]} boxes, but the "
                              f"strides give {len(centres)} for an input of {size[1]}x{size[0]}",
                              remedy="give a stride for each layer, as the model's anchors have them: [8, 16, 16, 16]")
        rows[..., 0:2] += centres
        rows[..., 4:] += np.tile(centres, (WIDTH - 4) // 2)
        return rows

    def _output(self, outputs: Outputs, role: str) -> NDArray[Any]:
        return roles.rows(outputs, self._names[role], {"boxes": WIDTH, "scores": 1}[role], f"blaze_face: {role}")
