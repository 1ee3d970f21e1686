"""Slices in the form that TNN reads: starts, ends, axes and steps all there, constant, and in range.

TNN's converter writes a StridedSliceV2 of the four lists that it finds, and of each only what it finds: without
steps the layer lacks them, and of the largest integers only one is known to it. Source: Tencent/TNN,
tools/onnx2tnn/src/core/layer/onnx_converter_slice.cc.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from graph import infer_shapes, opset_of
from jobkit import GraphError, OptionError
from jobkit.runtime import Arrays

from passes.change import Change
from passes.columns import Columns
from passes.edit import Builder, Constants, copied, drop_unused, set_attribute, title, unread

NAME = "strided_slices"
REMEDY = "constants: true may fold them; else write this part of the model without it"
WORDS = ("starts", "ends", "axes", "steps")

# TNN holds these numbers in 32 bits.
FAR = 2**31 - 1


def read(value: object, model: onnx.ModelProto, samples: Sequence[Arrays]) -> bool:
    """Read the recipe's ``strided_slices``. Raises OptionError."""
    if not isinstance(value, bool):
        raise OptionError(f"strided_slices {value!r} is neither true nor false", "say strided_slices: true")
    return value


def apply(model: onnx.ModelProto, wish: bool) -> Change:
    """Bring the slices of a copy of `model` into the form.

    Raises GraphError naming a slice whose bounds are computed when the graph runs.
    """
    if not wish:
        return Change(model=model)
    model = infer_shapes(copied(model))
    idle, tracer, builder, lines = unread(model.graph), Columns(model), Builder(model), list[str]()
    for node in model.graph.node:
        if node.op_type == "Slice" and not node.domain:
            parts = tracer.slice_parts(node)
            if parts is None or not tracer.shapes.get(node.input[0]):
                raise GraphError(f"strided_slices: the bounds of {title(node)} are no constants", REMEDY)
            shape = tracer.shapes[node.input[0]]
            wanted = [(axis, *in_range(parts[axis], shape[axis])) for axis in sorted(parts)]
            if _write(builder, tracer.constants, node, wanted):
                lines.append(
                    f"strided_slices: {title(node)}: "
                    + ", ".join(f"{start}:{end}:{step} of axis {axis}" for axis, start, end, step in wanted)
                )
    drop_unused(model.graph, idle)
    return Change(model=model, lines=tuple(lines))


def in_range(part: tuple[int, int, int], size: int | str) -> tuple[int, int, int]:
    """Give start, end and step with bounds that count from the front and lie in the axis, where its size is known."""
    start, end, step = part
    if not isinstance(size, int) or step < 0:
        return max(start, -FAR), min(max(end, -FAR), FAR), step
    start, end, step = slice(start, end, step).indices(size)
    return start, max(start, end), step


def _write(
    builder: Builder, constants: Constants, node: onnx.NodeProto, wanted: Sequence[tuple[int, int, int, int]]
) -> bool:
    """Write the four lists, where they are not so already; tell whether they were not."""
    axes, starts, ends, steps = (list(column) for column in zip(*wanted, strict=True))
    lists = dict(zip(WORDS, (starts, ends, axes, steps), strict=True))
    if opset_of(builder.model) < 10:
        before = {item.name: list(item.ints) for item in node.attribute}
        for word in WORDS[:3]:
            set_attribute(node, word, lists[word])
        return before != {word: lists[word] for word in WORDS[:3]}
    found = [constants.get(name) for name in node.input[1:]]
    if len(found) == 4 and all(
        value is not None and value.dtype == np.int64 and value.tolist() == lists[word]
        for value, word in zip(found, WORDS, strict=True)
    ):
        return False
    like = node.output[0]
    node.input[:] = [node.input[0], *(builder.constant(f"{like}_{word}", lists[word], np.int64) for word in WORDS)]
    return True
