"""How operators said the same before: axes and bounds as attributes, and functions as what they are made of.

Versions and forms are those of https://onnx.ai/onnx/operators/; the proof has the last word on each.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from passes.edit import Constants, attribute, set_attribute
from passes.functions import gelu, hard_swish, layer_norm, mish
from passes.lowering import EMPTY, Lowering, Made

# Same signature, another meaning, and no way to say it.
CHANGED = {
    ("AveragePool", 19): "the last windows of ceil_mode are divided by another count",
    ("Resize", 19): "it rounds other coordinates",
    ("ScatterElements", 11): "there is no such operator yet",
}


def _inputs_as_attributes(*names: str, keep: int = 1) -> Callable[[Lowering, onnx.NodeProto], Made]:
    """Make a rule that turns the constant inputs behind the first `keep` into attributes."""

    def rule(lowering: Lowering, node: onnx.NodeProto) -> Made:
        for index, name in enumerate(names, keep):
            numbers = lowering.numbers(node, index)
            if numbers is None:
                return f"its {name} are no constants"
            if index < len(node.input) and node.input[index]:
                set_attribute(node, name, numbers)
        del node.input[keep:]
        set_attribute(node, "noop_with_empty_axes", None)
        return EMPTY

    return rule


def _reduce(lowering: Lowering, node: onnx.NodeProto) -> Made:
    if attribute(node, "noop_with_empty_axes", 0) and not lowering.numbers(node, 1):
        return "it does nothing without axes"
    return _inputs_as_attributes("axes")(lowering, node)


def _slice(lowering: Lowering, node: onnx.NodeProto) -> Made:
    steps = lowering.numbers(node, 4)
    if steps is None or any(step != 1 for step in steps):
        return "it has steps"
    del node.input[4:]
    return _inputs_as_attributes("starts", "ends", "axes")(lowering, node)


def _split_18(lowering: Lowering, node: onnx.NodeProto) -> Made:
    if attribute(node, "num_outputs") is None:
        return EMPTY
    axis = attribute(node, "axis", 0)
    sizes = [lowering.shapes[name][axis] for name in node.output]
    if not all(isinstance(size, int) for size in sizes):
        return "the axis that it splits is free"
    node.input.append(lowering.builder.constant(f"{node.output[0]}_split", sizes, np.int64))
    lowering.constants = Constants(lowering.model.graph)
    set_attribute(node, "num_outputs", None)
    return EMPTY


def _scalar(lowering: Lowering, node: onnx.NodeProto, index: int) -> float | str | None:
    if index >= len(node.input) or not node.input[index]:
        return None
    value = lowering.constants.get(node.input[index])
    return "it is no constant" if value is None or value.size != 1 else float(value.reshape(-1)[0])


def _clip(lowering: Lowering, node: onnx.NodeProto) -> Made:
    for index, name in ((1, "min"), (2, "max")):
        value = _scalar(lowering, node, index)
        if isinstance(value, str):
            return f"its {name} is no constant"
        set_attribute(node, name, value)
    del node.input[1:]
    return EMPTY


def _pad_18(lowering: Lowering, node: onnx.NodeProto) -> Made:
    axes, pads, shape = lowering.numbers(node, 3), lowering.numbers(node, 1), lowering.shapes[node.input[0]]
    if not axes:
        return EMPTY if axes is not None else "its axes are no constants"
    if pads is None:
        return "its pads are no constants"
    whole, count = [0] * (2 * len(shape)), len(axes)
    for index, axis in enumerate(axes):
        whole[axis % len(shape)], whole[axis % len(shape) + len(shape)] = pads[index], pads[index + count]
    del node.input[3:]
    node.input[1] = lowering.builder.constant(f"{node.output[0]}_pads", whole, np.int64)
    lowering.constants = Constants(lowering.model.graph)
    return EMPTY


def _pad_11(lowering: Lowering, node: onnx.NodeProto) -> Made:
    pads, value = lowering.numbers(node, 1), _scalar(lowering, node, 2)
    if pads is None or isinstance(value, str):
        return "its pads are no constants"
    set_attribute(node, "pads", pads)
    set_attribute(node, "value", value)
    del node.input[1:]
    return EMPTY


def _softmax(lowering: Lowering, node: onnx.NodeProto) -> Made:
    rank = len(lowering.shapes[node.input[0]])
    axis = attribute(node, "axis", -1) % rank
    set_attribute(node, "axis", rank - 1)
    if axis == rank - 1:
        return EMPTY
    perm = [place for place in range(rank) if place != axis] + [axis]
    back = [perm.index(place) for place in range(rank)]
    first = len(lowering.builder.nodes)
    turned = lowering.node("Transpose", [node.input[0]], perm=perm)
    soft = lowering.node(node.op_type, [turned], axis=rank - 1)
    lowering.node("Transpose", [soft], output=node.output[0], perm=back)
    return lowering.builder.nodes[first:]


def _dropout(lowering: Lowering, node: onnx.NodeProto) -> Made:
    if len(node.output) > 1 and node.output[1]:
        return "its mask is read"
    del node.input[1:]
    set_attribute(node, "seed", None)
    return EMPTY


def _shape(lowering: Lowering, node: onnx.NodeProto) -> Made:
    start, end = attribute(node, "start", 0), attribute(node, "end")
    set_attribute(node, "start", None)
    set_attribute(node, "end", None)
    if start == 0 and end is None:
        return EMPTY
    first = len(lowering.builder.nodes)
    whole = lowering.node("Shape", [node.input[0]])
    bounds = [
        lowering.builder.constant(f"{whole}_{word}", [value], np.int64)
        for word, value in (("start", start), ("end", 2**31 - 1 if end is None else end))
    ]
    lowering.node("Slice", [whole, *bounds], output=node.output[0])
    lowering.constants = Constants(lowering.model.graph)
    return lowering.builder.nodes[first:]


def _linear(lowering: Lowering, node: onnx.NodeProto) -> Made:
    scale = lowering.constants.get(node.input[1])
    if scale is None or scale.size != 1:
        return "it has a scale for each channel"
    set_attribute(node, "axis", None)
    return EMPTY


def _resize_13(lowering: Lowering, node: onnx.NodeProto) -> Made:
    """Give the empty inputs that could not be left out."""
    while len(node.input) < 3:
        node.input.append("")
    for index in (1, 2):
        if not node.input[index]:
            node.input[index] = lowering.builder.constant(f"{node.output[0]}_none", [], np.float32)
    return EMPTY


def _resize_11(lowering: Lowering, node: onnx.NodeProto) -> Made:
    before, after = lowering.shapes[node.input[0]], lowering.shapes[node.output[0]]
    fixed = all(isinstance(size, int) for size in (*before[1:], *after[1:]))
    ratios = [int(b) / int(a) for a, b in zip(before[1:], after[1:], strict=True)] if fixed else []
    mode, place = attribute(node, "mode", "nearest"), attribute(node, "coordinate_transformation_mode", "half_pixel")
    floors = mode == "nearest" and (
        place != "asymmetric" or attribute(node, "nearest_mode", "round_prefer_floor") == "floor"
    )
    if (
        not ratios
        or any(ratio != int(ratio) for ratio in ratios)
        or not (floors or (place == "asymmetric" and mode == "linear"))
    ):
        return "it rounds other coordinates"
    for name in [item.name for item in node.attribute if item.name != "mode"]:
        set_attribute(node, name, None)
    scales = lowering.builder.constant(f"{node.output[0]}_scales", [1.0, *ratios], np.float32)
    node.input[:] = [node.input[0], scales]
    return EMPTY


def _resize_10(lowering: Lowering, node: onnx.NodeProto) -> Made:
    node.op_type = "Upsample"  # the same by its older name, where nothing gets smaller
    return EMPTY


def _pool(lowering: Lowering, node: onnx.NodeProto) -> Made:
    """Leave out what was not there yet where it has no effect: windows side by side, the last of them whole."""
    if set(attribute(node, "dilations", [1])) != {1}:
        return "it has dilations"
    set_attribute(node, "dilations", None)
    if attribute(node, "ceil_mode", 0):
        sizes, kernel = lowering.shapes[node.input[0]][2:], attribute(node, "kernel_shape")
        strides, pads = attribute(node, "strides", [1] * len(kernel)), attribute(node, "pads", [0] * 2 * len(kernel))
        if not all(isinstance(size, int) for size in sizes) or any(
            (int(size) + pads[axis] + pads[axis + len(kernel)] - kernel[axis]) % strides[axis]
            for axis, size in enumerate(sizes)
        ):
            return "there is no ceil_mode yet"
    set_attribute(node, "ceil_mode", None)
    return EMPTY


RULES: dict[tuple[str, int], Callable[[Lowering, onnx.NodeProto], Made]] = {
    **{(name, 13): _inputs_as_attributes("axes") for name in ("Squeeze", "Unsqueeze")},
    ("ReduceSum", 13): _reduce,
    **{
        (f"Reduce{name}", 18): _reduce
        for name in ("Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")
    },
    ("Slice", 10): _slice,
    ("Split", 13): _inputs_as_attributes("split"),
    ("Split", 18): _split_18,
    ("Clip", 11): _clip,
    ("Pad", 18): _pad_18,
    ("Pad", 11): _pad_11,
    **{(name, 13): _softmax for name in ("Softmax", "LogSoftmax")},
    ("Dropout", 12): _dropout,
    ("Shape", 15): _shape,
    **{(name, 13): _linear for name in ("QuantizeLinear", "DequantizeLinear")},
    ("Resize", 13): _resize_13,
    ("Resize", 11): _resize_11,
    ("Resize", 10): _resize_10,
    **{(name, 10): _pool for name in ("MaxPool", "AveragePool")},
    ("HardSwish", 14): hard_swish,
    ("Mish", 18): mish,
    ("Gelu", 20): gelu,
    ("LayerNormalization", 17): layer_norm,
}
