"""Which columns of an output are pixels and which are fractions, found by running the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import onnx
from graph import input_values
from jobkit import OptionError
from jobkit.runtime import Arrays

from passes.edit import dims
from passes.proof import opened, random_samples

# Scores and fractions of the picture stay near 1, and logits rarely leave this; a detector's boxes go all over the
# picture, so that their columns reach at least this part of its longer side.
PIXELS, OF_THE_SIDE = 16.0, 0.1


@dataclass(frozen=True, kw_only=True)
class Run:
    """Columns of one kind, from `start` to `stop`."""

    start: int
    stop: int
    pixels: bool


def runs_of(model: onnx.ModelProto, samples: Sequence[Arrays]) -> dict[str, list[Run]]:
    """Divide the columns of each output into runs of pixels and of others, by their largest values on `samples`."""
    runtime, largest = opened(model), dict[str, np.ndarray[Any, Any]]()
    for sample in samples or list(random_samples(model, [])):
        for name, array in runtime(sample).items():
            if array.dtype.kind == "f" and array.ndim > 1:
                columns = np.abs(array.reshape(-1, array.shape[-1])).max(axis=0)
                largest[name] = np.maximum(largest.get(name, columns), columns)
    least = max(PIXELS, OF_THE_SIDE * longest_side(model, samples))
    return {name: _runs(columns > least) for name, columns in largest.items()}


def _runs(pixels: np.ndarray[Any, Any]) -> list[Run]:
    groups = [
        (bool(kind), [column for column, _ in items])
        for kind, items in groupby(enumerate(pixels), lambda item: item[1])
    ]
    return [Run(start=columns[0], stop=columns[-1] + 1, pixels=kind) for kind, columns in groups]


def mixed_output(runs: Mapping[str, Sequence[Run]]) -> str:
    """Find the one output that holds pixels beside others. Raises OptionError where there is none, or several."""
    mixed = [name for name, items in runs.items() if len(items) > 1]
    if not mixed:
        raise OptionError("no output mixes pixels with scores", "leave this edit out of the recipe, or name columns")
    if len(mixed) > 1:
        raise OptionError(f"several outputs mix pixels with scores: {', '.join(mixed)}", "name one, with its columns")
    return mixed[0]


def longest_side(model: onnx.ModelProto, samples: Sequence[Arrays]) -> int:
    """Give the longer side of the picture that the graph takes, in pixels. Raises OptionError where it is free."""
    for value in input_values(model):
        shape = list(samples[0][value.name].shape) if samples and value.name in samples[0] else dims(value)
        sides = shape[2:] if len(shape) == 4 and shape[1] in (1, 3, 4) else shape[1:3]
        if len(shape) == 4 and all(isinstance(side, int) for side in sides):
            return max(int(side) for side in sides)
    raise OptionError("the size of the picture is not known", "say factor: 640, the longer side in pixels")
