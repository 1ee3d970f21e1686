"""A model's own decoder: the share of the first number in the sum decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelfarm.decoders.prediction import Classification, Column


class Decoder:
    """Says "first" where the first of two numbers has at least the share that the options ask for."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._share = float(options["share"])

    def columns(self, outputs: Mapping[str, Any], size: tuple[int, int]) -> list[Column]:
        return [Column(name="first", unit="", values=outputs["y"][:, :1], output="y"),
                Column(name="second", unit="", values=outputs["y"][:, 1:], output="y")]

    def decode(self, outputs: Mapping[str, Any], placements: Sequence[Any]) -> list[list[Classification]]:
        return [[self._decided(*row)] for row in outputs["y"].tolist()]

    def _decided(self, first: float, second: float) -> Classification:
        best = 0 if first >= self._share * (first + second) else 1
        return Classification(ranking=(best,), labels=("first" if best == 0 else "second",), scores=(1.0,))
