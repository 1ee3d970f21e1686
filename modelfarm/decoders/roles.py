"""Roles: the outputs that a recipe names for a decoder, found and checked."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from modelfarm.decoders.prediction import Outputs
from modelfarm.errors import RecipeError, nearest


def named(outputs: Outputs, name: str, where: str) -> NDArray[Any]:
    """Return an output by its name; `where` is the decoder and the role: "ssd_face: boxes". Raises RecipeError."""
    if name not in outputs:
        raise RecipeError(f"decoder {where}: there is no output {name!r}; {nearest(name, outputs)}")
    return outputs[name]


def rows(outputs: Outputs, name: str, width: int, where: str) -> NDArray[Any]:
    """Return an output of shape (B, N, width) by its name; raises RecipeError."""
    array = named(outputs, name, where)
    if array.ndim != 3 or array.shape[2] != width:
        raise RecipeError(f"decoder {where}: output {name!r} has shape {list(array.shape)}, "
                          f"expected (batch, boxes, {width})")
    return array
