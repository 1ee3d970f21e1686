"""Pixels divided by the size of the picture before anything joins them with scores.

An 8-bit tensor has one scale: with pixels in it, a step is about 1, and scores are lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from graph import infer_shapes
from jobkit import GraphError, OptionError
from jobkit.runtime import Arrays

from passes.change import Change
from passes.columns import Columns
from passes.edit import copied, drop_unreached, drop_unused, rename_tensor, unread
from passes.ranges import longest_side, runs_of

NAME = "normalise_boxes"
REMEDY = "name columns that the output has, use split_outputs or cut_decode, or leave this edit out of the recipe"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Of each output in `columns`, those from start to stop are divided by `factor`."""

    columns: Mapping[str, tuple[tuple[int, int], ...]]
    factor: float


def read(value: Any, model: onnx.ModelProto, samples: Sequence[Arrays]) -> Wish | None:
    """Read the recipe's ``normalise_boxes``: true, or what it should not find out itself. Raises OptionError."""
    if value is False:
        return None
    given = value if isinstance(value, Mapping) else {}
    if value is not True and (not given or set(given) - {"columns", "factor"}):
        raise OptionError(
            f"normalise_boxes {value!r} is not understood",
            "say true, or {columns: {output: [[0, 4], [5, 15]]}, factor: 640}",
        )
    columns = given.get("columns") or _found(model, samples)
    outputs = [item.name for item in model.graph.output]
    for output in columns:
        if output not in outputs:
            raise OptionError(
                f"normalise_boxes names {output!r}, which is no output", f"choose from {', '.join(outputs)}"
            )
    factor = float(given.get("factor") or longest_side(model, samples))
    return Wish(
        factor=factor,
        columns={output: tuple((int(start), int(stop)) for start, stop in parts) for output, parts in columns.items()},
    )


def _found(model: onnx.ModelProto, samples: Sequence[Arrays]) -> dict[str, list[tuple[int, int]]]:
    columns = {
        name: [(run.start, run.stop) for run in runs if run.pixels] for name, runs in runs_of(model, samples).items()
    }
    found = {name: parts for name, parts in columns.items() if parts}
    if not found:
        raise OptionError("no output holds pixels", "leave this edit out of the recipe, or name the columns")
    return found


def apply(model: onnx.ModelProto, wish: Wish | None) -> Change:
    """Divide the pixels in the outputs of a copy of `model`."""
    if wish is None:
        return Change(model=model)
    model, idle, lines = copied(model), unread(model.graph), list[str]()
    for output, columns in wish.columns.items():
        tracer = Columns(model)
        _divide(tracer, output, columns, wish.factor)
        said = ", ".join(f"{start} to {stop - 1}" for start, stop in columns)
        lines += [f"normalise_boxes: columns {said} of {output} are divided by {wish.factor:g}", *stopped(tracer, NAME)]
    drop_unreached(model.graph)
    drop_unused(model.graph, idle)
    return Change(
        model=infer_shapes(model),
        lines=tuple(lines),
        expected=lambda arrays: divided(arrays, wish),
        facts={
            "factor": wish.factor,
            "columns": {output: [list(part) for part in parts] for output, parts in wish.columns.items()},
        },
    )


def _divide(tracer: Columns, output: str, columns: Sequence[tuple[int, int]], factor: float) -> None:
    axis, count = tracer.output_axis(output)
    if any(not 0 <= start < stop <= count for start, stop in columns):
        raise GraphError(f"normalise_boxes: {output} has {count} columns, not those of the recipe", REMEDY)
    bounds = sorted({0, count, *(bound for part in columns for bound in part), *tracer.cuts(output, axis)})
    scale = tracer.builder.constant(f"{output}_per_pixel", np.float32(1 / factor))
    parts = []
    for start, stop in pairwise(bounds):
        taken = tracer.take(output, axis, start, stop)
        pixels = any(low <= start < high for low, high in columns)
        parts.append(tracer.builder.node("Mul", [taken, scale]) if pixels else taken)
    replace_output(tracer, output, parts, axis)


def divided(arrays: Arrays, wish: Wish) -> Arrays:
    """Divide the columns of the old outputs, as the graph does it."""
    result = {name: array.copy() if name in wish.columns else array for name, array in arrays.items()}
    for output, columns in wish.columns.items():
        for start, stop in columns:
            result[output][..., start:stop] *= np.float32(1 / wish.factor)
    return result


def replace_output(tracer: Columns, output: str, parts: Sequence[str], axis: int) -> None:
    """Join `parts` to what is the output from now on; who read the old one inside the graph still does."""
    aside = tracer.builder.names.new(f"{output}_before")
    rename_tensor(tracer.model.graph, output, aside)
    parts = [aside if part == output else part for part in parts]
    for node in tracer.builder.nodes:
        node.input[:] = [aside if name == output else name for name in node.input]
    if len(parts) > 1:
        tracer.builder.node("Concat", parts, output=output, axis=axis)
    else:
        tracer.builder.node("Identity", parts, output=output)
    tracer.builder.place()


def stopped(tracer: Columns, name: str) -> list[str]:
    """Say where columns could be followed no further."""
    return [f"{name}: columns are taken apart behind {node}" for node in tracer.stops]
