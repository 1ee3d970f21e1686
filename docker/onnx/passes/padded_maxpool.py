"""The padding of a MaxPool as a node of its own, with a value that no maximum can be mistaken for.

A converter that has no padded MaxPool pads with the lowest float, which wrecks the range of an 8-bit tensor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from graph import infer_shapes, opset_of
from jobkit import GraphError, OptionError
from jobkit.runtime import Arrays

from passes.bounds import Bounds
from passes.change import Change
from passes.edit import Builder, attribute, copied, set_attribute, shapes_of, title

NAME = "padded_maxpool"
REMEDY = "put a Relu before the pooling where the model is made, or leave this edit out of the recipe"


def read(value: object, model: onnx.ModelProto, samples: Sequence[Arrays]) -> bool:
    """Read the recipe's ``padded_maxpool``. Raises OptionError."""
    if not isinstance(value, bool):
        raise OptionError(f"padded_maxpool {value!r} is neither true nor false", "say padded_maxpool: true")
    return value


def apply(model: onnx.ModelProto, wish: bool) -> Change:
    """Take the padding out of the MaxPool nodes of a copy of `model`.

    Raises GraphError naming a node whose input may be below anything.
    """
    model = infer_shapes(copied(model))
    bounds, shapes, builder, lines = Bounds(model), shapes_of(model), Builder(model), list[str]()
    for node in model.graph.node if wish else ():
        pads = _pads(node, shapes.get(node.input[0], [])) if node.op_type == "MaxPool" and not node.domain else []
        if any(pads):
            value = _value(node, bounds)
            node.input[0] = _padded(builder, node.input[0], pads, value)
            set_attribute(node, "pads", None)
            set_attribute(node, "auto_pad", None)
            lines.append(f"padded_maxpool: {title(node)}: its padding {pads} is a Pad with {value:g}")
    builder.place()
    return Change(model=infer_shapes(model) if lines else model, lines=tuple(lines))


def _value(node: onnx.NodeProto, bounds: Bounds) -> float:
    lowest = bounds.lowest(node.input[0])
    if lowest is None:
        raise GraphError(f"padded_maxpool: nothing tells how low the input of {title(node)} can be", REMEDY)
    if len(node.output) > 1 and node.output[1]:
        raise GraphError(f"padded_maxpool: {title(node)} gives the places of its maxima too", REMEDY)
    return 0.0 if lowest >= 0 else lowest


def _pads(node: onnx.NodeProto, shape: Sequence[int | str]) -> list[int]:
    """Give the padding of a pooling, before each axis and then behind each."""
    kernel = attribute(node, "kernel_shape")
    mode = attribute(node, "auto_pad", "NOTSET")
    if mode in ("NOTSET", "VALID"):
        return [] if mode == "VALID" else list(attribute(node, "pads", []))
    strides, dilations = (attribute(node, name, [1] * len(kernel)) for name in ("strides", "dilations"))
    totals = []
    for size, reach, stride, dilation in zip(shape[2:], kernel, strides, dilations, strict=True):
        if not isinstance(size, int):
            raise GraphError(f"padded_maxpool: the padding of {title(node)} follows a free axis", REMEDY)
        totals.append(max((-(-size // stride) - 1) * stride + (reach - 1) * dilation + 1 - size, 0))
    less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return less + more if mode == "SAME_UPPER" else more + less


def _padded(builder: Builder, name: str, pads: Sequence[int], value: float) -> str:
    half = len(pads) // 2
    whole = [0, 0, *pads[:half], 0, 0, *pads[half:]]
    if opset_of(builder.model) < 11:
        return builder.node("Pad", [name], mode="constant", pads=whole, value=value)
    return builder.node(
        "Pad",
        [name, builder.constant(f"{name}_pads", whole, np.int64), builder.constant(f"{name}_pad", value, np.float32)],
        mode="constant",
    )
