"""One output made several, so that pixels and scores each have a tensor, and in 8 bits a scale, of their own."""

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
from passes.edit import copied, drop_unreached, drop_unused, unread
from passes.normalise_boxes import stopped
from passes.ranges import mixed_output, runs_of

NAME = "split_outputs"
REMEDY = "name columns that the output has, each once"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """`parts` of `output` by name: from start to stop each."""

    output: str
    parts: Mapping[str, tuple[int, int]]


def read(value: Any, model: onnx.ModelProto, samples: Sequence[Arrays]) -> Wish | None:
    """Read the recipe's ``split_outputs``: true, or {output: {name: [start, stop]}}. Raises OptionError."""
    if value is False:
        return None
    outputs = [item.name for item in model.graph.output]
    if value is True:
        runs = runs_of(model, samples)
        output = mixed_output(runs)
        parts = {f"{output}_{run.start}_{run.stop}": (run.start, run.stop) for run in runs[output]}
        return Wish(output=output, parts=parts)
    if not isinstance(value, Mapping) or len(value) != 1 or not isinstance(next(iter(value.values())), Mapping):
        raise OptionError(
            f"split_outputs {value!r} is not understood", "say true, or {output: {boxes: [0, 4], scores: [4, 5]}}"
        )
    output, parts = next(iter(value.items()))
    if output not in outputs:
        raise OptionError(f"split_outputs names {output!r}, which is no output", f"choose from {', '.join(outputs)}")
    return Wish(output=output, parts={name: (int(start), int(stop)) for name, (start, stop) in parts.items()})


def apply(model: onnx.ModelProto, wish: Wish | None) -> Change:
    """Split an output of a copy of `model`."""
    if wish is None:
        return Change(model=model)
    model, idle = copied(model), unread(model.graph)
    tracer = Columns(model)
    axis, count = tracer.output_axis(wish.output)
    _check(model, wish, count)
    cuts = tracer.cuts(wish.output, axis)
    for name, (start, stop) in wish.parts.items():
        bounds = sorted({start, stop, *(cut for cut in cuts if start < cut < stop)})
        taken = [tracer.take(wish.output, axis, low, high) for low, high in pairwise(bounds)]
        if len(taken) == 1:
            tracer.builder.node("Identity", taken, output=name)
        else:
            tracer.builder.node("Concat", taken, output=name, axis=axis)
    tracer.builder.place()
    _name_outputs(model, wish, tracer)
    drop_unreached(model.graph)
    drop_unused(model.graph, idle)
    lines = [
        f"split_outputs: {name} is columns {start} to {stop - 1} of {wish.output}"
        for name, (start, stop) in wish.parts.items()
    ]
    return Change(
        model=infer_shapes(model),
        lines=(*lines, *stopped(tracer, NAME)),
        expected=lambda arrays: split(arrays, wish),
        facts={"output": wish.output, "parts": {name: list(part) for name, part in wish.parts.items()}},
    )


def _check(model: onnx.ModelProto, wish: Wish, count: int) -> None:
    columns = [column for start, stop in wish.parts.values() for column in range(start, stop)]
    if len(columns) != len(set(columns)) or not set(columns) <= set(range(count)):
        raise GraphError(f"split_outputs: {wish.output} has {count} columns, not those of the recipe", REMEDY)
    taken = {name for node in model.graph.node for name in node.output} | {value.name for value in model.graph.input}
    clash = sorted(taken & set(wish.parts))
    if clash:
        raise OptionError(f"split_outputs: the graph has a tensor {clash[0]} already", "choose another name")


def _name_outputs(model: onnx.ModelProto, wish: Wish, tracer: Columns) -> None:
    values = []
    for value in model.graph.output:
        if value.name != wish.output:
            values.append(value)
            continue
        for name, (start, stop) in wish.parts.items():
            shape = [*tracer.shapes[wish.output][:-1], stop - start]
            sizes = [None if size == "?" else size for size in shape]
            values.append(onnx.helper.make_tensor_value_info(name, value.type.tensor_type.elem_type, sizes))
    del model.graph.output[:]
    model.graph.output.extend(values)


def split(arrays: Arrays, wish: Wish) -> Arrays:
    """Split the old output, each part in the place where the whole was."""
    parts = {
        name: np.ascontiguousarray(arrays[wish.output][..., start:stop]) for name, (start, stop) in wish.parts.items()
    }
    return {
        key: item
        for name, array in arrays.items()
        for key, item in (parts.items() if name == wish.output else [(name, array)])
    }
