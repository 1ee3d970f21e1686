"""Predictions: what a decoder finds in the outputs, in pixels of the original picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a picture lies in the network's input: input = original * scale + offset, in pixels.

    Coordinates are continuous: pixel i covers i to i + 1, so that no half pixels need be added.
    `width` and `height` are the original picture's, `input_width` and `input_height` the network's.
    """

    width: int
    height: int
    input_width: int
    input_height: int
    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float

    @classmethod
    def identity(cls, width: int, height: int) -> Placement:
        """Return the placement of a picture that has the network's size already."""
        return cls(width=width, height=height, input_width=width, input_height=height,
                   scale_x=1.0, scale_y=1.0, offset_x=0.0, offset_y=0.0)

    def inside(self, width: int, height: int, left: int, top: int) -> Placement:
        """Return this placement of a part of a picture as one of the whole picture, in which the part lies there."""
        return replace(self, width=width, height=height, offset_x=self.offset_x - left * self.scale_x,
                       offset_y=self.offset_y - top * self.scale_y)

    def to_picture(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Map (..., 2k) coordinates x, y, x, y, ... from input pixels to picture pixels."""
        pairs = points.shape[-1] // 2
        mapped: NDArray[np.float64] = (np.asarray(points, np.float64) - [self.offset_x, self.offset_y] * pairs)
        return mapped / ([self.scale_x, self.scale_y] * pairs)


@dataclass(frozen=True, kw_only=True)
class Detection:
    """A found object: box x1, y1, x2, y2 and landmarks x, y in pixels, score from 0 to 1."""

    box: tuple[float, float, float, float]
    score: float
    landmarks: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Classification:
    """The class ranking of a picture: indices, labels and scores of the first few, best first.

    Scores are from 0 to 1 where the model gives probabilities or the decoder makes them.
    """

    ranking: tuple[int, ...]
    labels: tuple[str, ...]
    scores: tuple[float, ...]


Prediction = Detection | Classification


@dataclass(frozen=True, kw_only=True)
class Column:
    """Output values of one meaning, so that errors are judged in a unit that people understand.

    `unit` is "px" (of the network's input), "score" (0 to 1) or "" (the output's own scale). `output`
    is the output that the values come from: outputs without a column are judged as a whole. `scores`,
    where given, says how likely each row of `values` is to become a prediction: (B, N) for (B, N, k). `covers` names
    all outputs that the values come from, where they are several. `raw` says that the decoder multiplies what the graph
    gives, and its errors too.
    """

    name: str
    unit: str
    values: NDArray[Any]
    output: str = ""
    scores: NDArray[Any] | None = None
    covers: tuple[str, ...] = ()
    raw: bool = False


class Decoder(Protocol):
    """What turns a model's outputs into predictions."""

    def columns(self, outputs: Outputs, size: tuple[int, int]) -> Sequence[Column]:
        """Split outputs, for a network input of (height, width), into columns of meaning."""

    def decode(self, outputs: Outputs, placements: Sequence[Placement | None]) -> list[list[Prediction]]:
        """Return the predictions of each item of the batch, best first.

        A placement is None where an input is no picture.
        """
