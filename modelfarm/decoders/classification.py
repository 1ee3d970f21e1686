"""classification: one row of class scores per picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelfarm.decoders import roles
from modelfarm.decoders.activation import softmax
from modelfarm.decoders.prediction import Classification, Column, Outputs, Placement, Prediction
from modelfarm.errors import RecipeError

RANKED = 5  # classes that a prediction names, best first


class Decoder:
    """Read (B, classes) scores, or (B, classes, 1, 1); logits become probabilities by softmax on request."""

    def __init__(self, options: Mapping[str, Any], folder: Path) -> None:
        self._output: str | None = options["output"]
        self._softmax: bool = options["activation"] == "softmax"
        self._labels = _labels(folder / options["labels"]) if options["labels"] else None

    def columns(self, outputs: Outputs, size: tuple[int, int]) -> list[Column]:
        """Return the logits and, of these, the probabilities; or the scores as the model gives them.

        A softmax near 1 hides errors of the logits, therefore both are columns. Values without
        softmax may be of any scale: they are judged by their own.
        """
        name, scores = self._scores(outputs)
        if not self._softmax:
            return [Column(name=name, unit="", values=scores, output=name)]
        return [Column(name="logits", unit="", values=scores, output=name),
                Column(name="probabilities", unit="score", values=softmax(scores), output=name)]

    def decode(self, outputs: Outputs, placements: Sequence[Placement | None]) -> list[list[Prediction]]:
        """Return one ranking for each item; of equal scores the lower index goes first."""
        scores = self._scores(outputs)[1].astype(np.float64)
        return [[self._ranked(row)] for row in (softmax(scores) if self._softmax else scores)]

    def _ranked(self, scores: NDArray[np.float64]) -> Classification:
        best = np.argsort(-scores, kind="stable")[:RANKED].tolist()
        return Classification(ranking=tuple(best), labels=tuple(self._label(index) for index in best),
                              scores=tuple(scores[best].tolist()))

    def _label(self, index: int) -> str:
        return self._labels[index] if self._labels else str(index)

    def _scores(self, outputs: Outputs) -> tuple[str, NDArray[Any]]:
        name = self._output or _only(outputs)
        array = roles.named(outputs, name, "classification")
        scores = array.reshape(len(array), -1)
        if self._labels and len(self._labels) != scores.shape[1]:
            raise RecipeError(f"decoder classification: {len(self._labels)} labels, but output {name!r} has "
                              f"{scores.shape[1]} classes", remedy="the labels file has one class name a line")
        return name, scores


def _only(outputs: Outputs) -> str:
    if len(outputs) != 1:
        raise RecipeError(f"decoder classification: the model has {len(outputs)} outputs: {', '.join(outputs)}",
                          remedy="say which holds the classes: decoder: {classification: {output: ...}}")
    return next(iter(outputs))


def _labels(file: Path) -> tuple[str, ...]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: the labels cannot be read: {error}") from error
    return tuple(line.strip() for line in lines if line.strip())
