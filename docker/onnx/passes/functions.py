"""Functions that older opsets lack, written out in the operators that they are made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from passes.edit import attribute
from passes.lowering import Lowering, Made


def hard_swish(lowering: Lowering, node: onnx.NodeProto) -> Made:
    """Write x * hardsigmoid(x)."""
    first = len(lowering.builder.nodes)
    gate = lowering.node("HardSigmoid", [node.input[0]], alpha=1 / 6, beta=0.5)
    lowering.node("Mul", [node.input[0], gate], output=node.output[0])
    return lowering.builder.nodes[first:]


def mish(lowering: Lowering, node: onnx.NodeProto) -> Made:
    """Write x * tanh(softplus(x))."""
    first = len(lowering.builder.nodes)
    gate = lowering.node("Tanh", [lowering.node("Softplus", [node.input[0]])])
    lowering.node("Mul", [node.input[0], gate], output=node.output[0])
    return lowering.builder.nodes[first:]


def gelu(lowering: Lowering, node: onnx.NodeProto) -> Made:
    """Write x * (1 + erf(x / sqrt(2))) / 2."""
    if attribute(node, "approximate", "none") != "none":
        return "it is the approximate one"
    first, x, number = len(lowering.builder.nodes), node.input[0], _number(lowering, node)
    error = lowering.node("Erf", [lowering.node("Mul", [x, number(2**-0.5)])])
    gate = lowering.node("Mul", [lowering.node("Add", [error, number(1.0)]), number(0.5)])
    lowering.node("Mul", [x, gate], output=node.output[0])
    return lowering.builder.nodes[first:]


def layer_norm(lowering: Lowering, node: onnx.NodeProto) -> Made:
    """Write (x - mean) / sqrt(variance + epsilon) * scale + bias."""
    if any(node.output[1:]):
        return "its mean or deviation is read"
    first, x, number = len(lowering.builder.nodes), node.input[0], _number(lowering, node)
    rank = len(lowering.shapes[x])
    axes = list(range(attribute(node, "axis", -1) % rank, rank))
    centred = lowering.node("Sub", [x, lowering.node("ReduceMean", [x], axes=axes, keepdims=1)])
    variance = lowering.node("ReduceMean", [lowering.node("Mul", [centred, centred])], axes=axes, keepdims=1)
    deviation = lowering.node("Sqrt", [lowering.node("Add", [variance, number(attribute(node, "epsilon", 1e-5))])])
    made = lowering.node("Div", [centred, deviation])
    biased = len(node.input) > 2 and node.input[2] != ""
    made = lowering.node("Mul", [made, node.input[1]], output="" if biased else node.output[0])
    if biased:
        lowering.node("Add", [made, node.input[2]], output=node.output[0])
    return lowering.builder.nodes[first:]


def _number(lowering: Lowering, node: onnx.NodeProto) -> Callable[[float], str]:
    return lambda value: lowering.builder.constant(f"{node.output[0]}_number", value, np.float32)
