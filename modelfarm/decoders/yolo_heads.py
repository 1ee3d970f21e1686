"""yolo_heads: the rows of a YOLOv5 face detector from its raw heads, which the edit `cut_decode` leaves.

A cell of a head holds, for each anchor, what the network says before any decode. With s the logistic function, g the
cell's column and row, and a the anchor's width and height in pixels: centre = (2 s(t) - 0.5 + g) * stride; width and
height = (2 s(t))^2 * a; objectness and class = s(t); a landmark = t * a + g * stride (Qi et al.,
https://arxiv.org/abs/2105.12931, and the centre and size of YOLOv5, https://github.com/ultralytics/yolov5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelfarm.decoders.activation import logistic
from modelfarm.decoders.prediction import Outputs
from modelfarm.errors import RecipeError

Floats = NDArray[np.float64]
WIDTH = 16  # cx, cy, w, h, objectness, 5 landmarks x, y, class

# Of all sizes of the family that have three heads: widths and heights in pixels, a list for each stride.
ANCHORS = {8: (4, 5, 8, 10, 13, 16), 16: (23, 29, 43, 55, 73, 105), 32: (146, 217, 231, 300, 335, 433)}


@dataclass(frozen=True, kw_only=True)
class Head:
    """One raw output (B, anchors * 16, H, W): its stride in pixels, and its anchors (A, 2).

    `parts` are outputs of their own for some columns of each anchor, where the head is taken apart.
    """

    name: str
    stride: int
    anchors: Floats
    parts: Mapping[str, tuple[int, int]]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the outputs that the head is read from."""
        return tuple(self.parts)


def read_heads(facts: Mapping[str, Any], anchors: Sequence[Sequence[float]] | None) -> tuple[Head, ...]:
    """Read what `cut_decode` says of the heads; `anchors` are the recipe's, from the least stride to the greatest.

    Raises RecipeError where a head has no stride, or no anchors are known for it.
    """
    heads = sorted(facts["heads"], key=lambda head: head["stride"] or 0)
    if anchors and len(anchors) != len(heads):
        raise RecipeError(f"decoder yolo_face: anchors for {len(anchors)} heads, but the graph has {len(heads)}",
                          remedy="give one list of widths and heights for each head")
    return tuple(_head(head, anchors[index] if anchors else None) for index, head in enumerate(heads))


def _head(head: Mapping[str, Any], given: Sequence[float] | None) -> Head:
    stride = head["stride"]
    known = given or ANCHORS.get(stride)
    if not known or len(known) % 2:
        raise RecipeError(f"decoder yolo_face: no anchors are known for the head {head['name']}, of stride {stride}",
                          remedy="give them: decoder: {yolo_face: {anchors: [[width, height, ...], ...]}}")
    told = head.get("parts") or {head["name"]: (0, WIDTH)}
    # In the order of their columns: JSON that was written with sorted keys has another.
    parts = {name: (start, stop) for name, (start, stop) in sorted(told.items(), key=lambda part: part[1][0])}
    return Head(name=head["name"], stride=stride, anchors=np.array(known, np.float64).reshape(-1, 2), parts=parts)


def rows_of(outputs: Outputs, heads: Sequence[Head]) -> Floats:
    """Return (B, N, 16) rows in pixels of the input, as the whole network gives them: by head, anchor, row, column."""
    return np.concatenate([_rows(_raw(outputs, head), head) for head in heads], axis=1)


def _raw(outputs: Outputs, head: Head) -> Floats:
    """Return (B, anchors, H, W, 16)."""
    parts = [_part(outputs, name, len(head.anchors), stop - start) for name, (start, stop) in head.parts.items()]
    raw = np.concatenate(parts, axis=2)
    if raw.shape[2] != WIDTH:
        raise RecipeError(f"decoder yolo_face: the parts of {head.name} have {raw.shape[2]} of {WIDTH} columns",
                          remedy="cut_decode: {columns: [[0, 4], [4, 5], [5, 15], [15, 16]]} names them all")
    return raw.transpose(0, 1, 3, 4, 2)


def _part(outputs: Outputs, name: str, anchors: int, width: int) -> Floats:
    """Return (B, anchors, width, H, W)."""
    array = outputs.get(name)
    if array is None or array.ndim != 4 or array.shape[1] != anchors * width:
        found = "no such output" if array is None else f"shape {list(array.shape)}"
        raise RecipeError(f"decoder yolo_face: the head {name} should be (batch, {anchors * width}, rows, "
                          f"columns) for {anchors} anchors; found {found}")
    return np.asarray(array, np.float64).reshape(len(array), anchors, width, *array.shape[2:])


def _rows(raw: Floats, head: Head) -> Floats:
    batch, _, height, width, _ = raw.shape
    cells = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float64)
    sizes = head.anchors[:, None, None, :]
    rows = np.empty_like(raw)
    rows[..., 0:2] = (2 * logistic(raw[..., 0:2]) - 0.5 + cells) * head.stride
    rows[..., 2:4] = (2 * logistic(raw[..., 2:4])) ** 2 * sizes
    rows[..., 4] = logistic(raw[..., 4])
    rows[..., 5:15] = raw[..., 5:15] * np.tile(sizes, 5) + np.tile(cells, 5) * head.stride
    rows[..., 15] = logistic(raw[..., 15])
    return rows.reshape(batch, -1, WIDTH)
