"""Weights that nothing reads, dropped."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from jobkit import OptionError
from jobkit.runtime import Arrays

from passes.change import Change
from passes.edit import copied, counted, drop_unused

NAME = "unused"


def read(value: object, model: onnx.ModelProto, samples: Sequence[Arrays]) -> bool:
    """Read the recipe's ``unused``. Raises OptionError."""
    if not isinstance(value, bool):
        raise OptionError(f"unused {value!r} is neither true nor false", "say unused: true")
    return value


def apply(model: onnx.ModelProto, wish: bool) -> Change:
    """Drop the unused weights of a copy of `model`."""
    model = copied(model)
    gone = drop_unused(model.graph) if wish else []
    lines = (f"unused: dropped {len(gone)} weights: {counted(gone)}",) if gone else ()
    return Change(model=model, lines=lines)
