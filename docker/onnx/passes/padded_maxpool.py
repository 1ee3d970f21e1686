"""The padding of a MaxPool as a node of its own, with values that no maximum can be mistaken for.

A converter that has no padded MaxPool pads with the lowest float, which wrecks the range of an 8-bit tensor. Where it
is known how low the input can be, that is what it is padded with. Otherwise its edges are repeated: each window has the
element itself that its padding repeats, since a padding is smaller than its window. Copies are joined instead of a Pad
that knows how to repeat, which most converters do not have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from graph import infer_shapes, opset_of
from jobkit import GraphError, OptionError
from jobkit.runtime import Arrays

from passes.bounds import Bounds
from passes.change import Change
from passes.edit import ENDLESS, Builder, attribute, copied, set_attribute, shapes_of, title

NAME = "padded_maxpool"
REMEDY = "put a Relu before the pooling where the model is made, or leave this edit out of the recipe"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Whether to do it at all, and also to what is TensorFlow's padding SAME, which has no value and is quicker."""

    wanted: bool
    same: bool = True


def read(value: object, model: onnx.ModelProto, samples: Sequence[Arrays]) -> Wish:
    """Read the recipe's ``padded_maxpool``. Raises OptionError."""
    if isinstance(value, bool):
        return Wish(wanted=value)
    if isinstance(value, Mapping) and set(value) <= {"same"} and isinstance(value.get("same", True), bool):
        return Wish(wanted=True, same=value.get("same", True))
    raise OptionError(f"padded_maxpool {value!r} is neither true nor false, nor a mapping with `same`",
                      "say padded_maxpool: true")


def apply(model: onnx.ModelProto, wish: Wish) -> Change:
    """Take the padding out of the MaxPool nodes of a copy of `model`.

    Raises GraphError naming a node whose padding nothing can stand for.
    """
    model = infer_shapes(copied(model))
    bounds, shapes, builder, lines = Bounds(model), shapes_of(model), Builder(model), list[str]()
    for node in model.graph.node if wish.wanted else ():
        shape = shapes.get(node.input[0], [])
        pads = _pads(node, shape) if node.op_type == "MaxPool" and not node.domain else []
        if any(pads) and (wish.same or not _is_same(node, shape, pads)):
            node.input[0], said = _padded(builder, node, pads, bounds.lowest(node.input[0]))
            set_attribute(node, "pads", None)
            set_attribute(node, "auto_pad", None)
            lines.append(f"padded_maxpool: {title(node)}: its padding {pads} {said}")
    builder.place()
    return Change(model=infer_shapes(model) if lines else model, lines=tuple(lines))


def _pads(node: onnx.NodeProto, shape: Sequence[int | str]) -> list[int]:
    """Give the padding of a pooling, before each axis and then behind each."""
    mode = attribute(node, "auto_pad", "NOTSET")
    if mode in ("NOTSET", "VALID"):
        return [] if mode == "VALID" else list(attribute(node, "pads", []))
    return _same(node, shape, upper=mode == "SAME_UPPER")


def _is_same(node: onnx.NodeProto, shape: Sequence[int | str], pads: Sequence[int]) -> bool:
    known = len(shape) > 2 and all(isinstance(size, int) for size in shape[2:])
    return known and not attribute(node, "ceil_mode", 0) and list(pads) == _same(node, shape, upper=True)


def _same(node: onnx.NodeProto, shape: Sequence[int | str], *, upper: bool) -> list[int]:
    """Give the padding with which a stride of one keeps the size; what is odd goes behind where it is the `upper`."""
    kernel = attribute(node, "kernel_shape")
    strides, dilations = (attribute(node, name, [1] * len(kernel)) for name in ("strides", "dilations"))
    totals = []
    for size, reach, stride, dilation in zip(shape[2:], kernel, strides, dilations, strict=True):
        if not isinstance(size, int):
            raise GraphError(f"padded_maxpool: the padding of {title(node)} follows a free axis", REMEDY)
        totals.append(max((-(-size // stride) - 1) * stride + (reach - 1) * dilation + 1 - size, 0))
    less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return less + more if upper else more + less


def _padded(builder: Builder, node: onnx.NodeProto, pads: Sequence[int], lowest: float | None) -> tuple[str, str]:
    """Pad the input of `node`; give the tensor, and in words what it is padded with."""
    if len(node.output) > 1 and node.output[1]:
        raise GraphError(f"padded_maxpool: {title(node)} gives the places of its maxima too", REMEDY)
    if lowest is not None:
        value = 0.0 if lowest >= 0 else lowest
        return _filled(builder, node.input[0], pads, value), f"is a Pad with {value:g}"
    if any(size != 1 for size in attribute(node, "dilations", [1])):
        raise GraphError(f"padded_maxpool: nothing tells how low the input of {title(node)} can be, and its windows "
                         "have gaps, so that they need not have the edge that would be repeated", REMEDY)
    return _repeated(builder, node.input[0], pads), "repeats the edges"


def _repeated(builder: Builder, name: str, pads: Sequence[int]) -> str:
    half = len(pads) // 2
    for axis, (before, behind) in enumerate(zip(pads[:half], pads[half:], strict=True), start=2):
        first = [builder.slice(name, axis, 0, 1)] * before if before else []
        last = [builder.slice(name, axis, -1, ENDLESS)] * behind if behind else []
        if first or last:
            name = builder.node("Concat", [*first, name, *last], axis=axis)
    return name


def _filled(builder: Builder, name: str, pads: Sequence[int], value: float) -> str:
    half = len(pads) // 2
    whole = [0, 0, *pads[:half], 0, 0, *pads[half:]]
    if opset_of(builder.model) < 11:
        return builder.node("Pad", [name], mode="constant", pads=whole, value=value)
    return builder.node(
        "Pad",
        [name, builder.constant(f"{name}_pads", whole, np.int64), builder.constant(f"{name}_pad", value, np.float32)],
        mode="constant",
    )
