"""Quantised operators as float arithmetic on whole numbers, for runtimes that have no zero points.

A tensor of 8 bits becomes a float tensor with the same whole numbers. Sums of products of them are whole too, and below
2**24 a float32 holds each of them, so that nothing is lost: https://onnx.ai/onnx/operators/ has the formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from graph import infer_shapes
from jobkit import GraphError, OptionError
from jobkit.runtime import Arrays

from passes.change import Change
from passes.edit import Array, Builder, Constants, attribute, copied, drop_unused, shapes_of, title

NAME = "whole_numbers"
REMEDY = "leave this edit out of the recipe, or quantise the model in another way"
BITS8 = (onnx.TensorProto.UINT8, onnx.TensorProto.INT8)

# They hand numbers on as they are, whatever the type. A padded MaxPool pads with less than any of them.
PASSING = frozenset(["Concat", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice", "Split",
                     "Squeeze", "Transpose", "Unsqueeze"])


def read(value: object, model: onnx.ModelProto, samples: Sequence[Arrays]) -> bool:
    """Read the recipe's ``whole_numbers``. Raises OptionError."""
    if not isinstance(value, bool):
        raise OptionError(f"whole_numbers {value!r} is neither true nor false", "say whole_numbers: true")
    return value


def apply(model: onnx.ModelProto, wish: bool) -> Change:
    """Write the quantised operators of a copy of `model` as float arithmetic.

    Raises GraphError naming a node that does something else with numbers of 8 bits.
    """
    if not wish:
        return Change(model=model)
    writer = Writer(infer_shapes(copied(model)))
    counts = writer.write()
    lines = [f"whole_numbers: {count} {operator} in float arithmetic" for operator, count in sorted(counts.items())]
    return Change(model=infer_shapes(writer.model) if lines else model, lines=tuple(lines))


class Writer:
    """A graph whose quantised operators are written in float arithmetic, one after the other."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.builder = model, Builder(model)
        self.constants, self.shapes = Constants(model.graph), shapes_of(model)
        graph = model.graph
        values = (*graph.input, *graph.value_info, *graph.output)
        self._types = {value.name: value.type.tensor_type.elem_type for value in values}
        self._rules: Mapping[str, Callable[[onnx.NodeProto], None]] = {
            "QuantizeLinear": self._quantize, "DequantizeLinear": self._dequantize, "QLinearConv": self._conv,
            "QLinearMatMul": self._matmul, "QLinearAdd": self._add}

    def write(self) -> dict[str, int]:
        """Write all of them; give how many there were of each."""
        graph, counts = self.model.graph, dict[str, int]()
        self._refuse_types_outside()
        for node in list(graph.node):
            rule = self._rules.get(node.op_type)
            if rule is not None:
                rule(node)
                graph.node.remove(node)
                counts[node.op_type] = counts.get(node.op_type, 0) + 1
            elif any(self._types.get(name) in BITS8 for name in node.input) and node.op_type not in PASSING:
                raise GraphError(f"whole_numbers: {title(node)} takes numbers of 8 bits in a way of its own", REMEDY)
        self.builder.place()
        del graph.value_info[:]  # the types of the tensors between have changed
        drop_unused(graph)
        return counts

    def _refuse_types_outside(self) -> None:
        for value in (*self.model.graph.input, *self.model.graph.output):
            if value.type.tensor_type.elem_type in BITS8:
                raise GraphError(f"whole_numbers: {value.name} is an input or output of 8 bits, and would be no more",
                                 REMEDY)

    def _constant(self, node: onnx.NodeProto, index: int) -> Array:
        value = self.constants.get(node.input[index])
        if value is None:
            raise GraphError(f"whole_numbers: the scales and zero points of {title(node)} are no constants", REMEDY)
        return value

    def _zero(self, node: onnx.NodeProto, index: int) -> Array:
        """Give a zero point; one that is left out is 0 of the type uint8."""
        given = index < len(node.input) and node.input[index]
        return self._constant(node, index) if given else np.zeros((), np.uint8)

    def _single(self, node: onnx.NodeProto, *arrays: Array) -> list[Array]:
        """Give arrays of one number as scalars. Raises GraphError where there are more."""
        if any(array.size != 1 for array in arrays):
            raise GraphError(f"whole_numbers: {title(node)} has a scale or zero point for each channel", REMEDY)
        return [array.reshape(()) for array in arrays]

    def _float(self, like: str, value: Array) -> str:
        return self.builder.constant(like, np.asarray(value, np.float32))

    def _whole(self, node: onnx.NodeProto, index: int, zero: Array) -> str:
        """Give an input without its zero point, whether it is constant or not."""
        name = node.input[index]
        return self._weight(node, index, zero) if name in self.constants else self._shifted(name, zero)

    def _shifted(self, name: str, zero: Array) -> str:
        """Give a tensor without its zero point."""
        if not np.any(zero):
            return name
        return self.builder.node("Sub", [name, self._float(f"{name}_zero", zero)])

    def _weight(self, node: onnx.NodeProto, index: int, zero: Array) -> str:
        """Give constant weights as floats without their zero point, which may be one for each output."""
        weight = self._constant(node, index)
        beside = (-1, *[1] * (weight.ndim - 1)) if zero.size > 1 else ()
        return self._float(f"{node.input[index]}_whole", weight.astype(np.float32) - zero.reshape(beside))

    def _rounded(self, name: str, zero: Array, output: str) -> None:
        """Round to even, add the zero point, and saturate as its type does."""
        rounded = self.builder.node("Round", [name])
        if np.any(zero):
            rounded = self.builder.node("Add", [rounded, self._float(f"{output}_zero", zero)])
        self._saturated(rounded, zero, output)

    def _saturated(self, name: str, zero: Array, output: str) -> None:
        """Keep whole numbers in the range of the zero point's type."""
        limits = np.iinfo(zero.dtype)
        low, high = (self._float(f"{output}_{word}", np.asarray(limit))
                     for word, limit in (("least", limits.min), ("most", limits.max)))
        self.builder.node("Clip", [name, low, high], output=output)

    def _quantize(self, node: onnx.NodeProto) -> None:
        scale, zero = self._single(node, self._constant(node, 1), self._zero(node, 2))
        if zero.dtype not in (np.uint8, np.int8):
            raise GraphError(f"whole_numbers: {title(node)} does not quantise to 8 bits", REMEDY)
        divided = self.builder.node("Div", [node.input[0], self._float(f"{node.output[0]}_scale", scale)])
        self._rounded(divided, zero, node.output[0])

    def _dequantize(self, node: onnx.NodeProto) -> None:
        scale, zero = self._constant(node, 1), self._zero(node, 2)
        held = self.constants.get(node.input[0])
        if held is not None:
            axis = attribute(node, "axis", 1)
            beside = [-1 if number == axis % held.ndim else 1 for number in range(held.ndim)] if scale.ndim else []
            whole = held.astype(np.float32) - zero.astype(np.float32).reshape(beside if zero.ndim else [])
            made = self._float(node.output[0], whole * scale.reshape(beside))
            self.builder.node("Identity", [made], output=node.output[0])
            return
        scale, zero = self._single(node, scale, zero)
        shifted = self._shifted(node.input[0], zero)
        self.builder.node("Mul", [shifted, self._float(f"{node.output[0]}_scale", scale)], output=node.output[0])

    def _conv(self, node: onnx.NodeProto) -> None:
        x_scale, x_zero, y_scale, y_zero = self._single(node, *(self._constant(node, index) for index in (1, 2, 6, 7)))
        w_scale, w_zero = self._constant(node, 4), self._constant(node, 5)
        inputs = [self._shifted(node.input[0], x_zero), self._weight(node, 3, w_zero)]
        if len(node.input) > 8 and node.input[8]:
            inputs.append(self._float(f"{node.input[8]}_whole", self._constant(node, 8)))
        own = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        total = self.builder.node("Conv", inputs, **own)
        beside = (-1, *[1] * (len(self.shapes[node.input[3]]) - 2)) if w_scale.size > 1 else ()
        self._scaled(node, total, (x_scale * w_scale / y_scale).reshape(beside), y_zero)

    def _matmul(self, node: onnx.NodeProto) -> None:
        scales = self._single(node, *(self._constant(node, index) for index in (1, 4, 6)))
        a_zero, b_zero, y_zero = self._single(node, *(self._constant(node, index) for index in (2, 5, 7)))
        total = self.builder.node("MatMul", [self._whole(node, 0, a_zero), self._whole(node, 3, b_zero)])
        self._scaled(node, total, scales[0] * scales[1] / scales[2], y_zero)

    def _scaled(self, node: onnx.NodeProto, total: str, factor: Array, zero: Array) -> None:
        """Bring a sum of products to the scale of the output.

        The sum is whole, and is rounded all the same: a runtime may add in any order, and must not fold the factor into
        the weights, which are whole no more then.
        """
        name = node.output[0]
        whole = self.builder.node("Round", [total])
        self._rounded(self.builder.node("Mul", [whole, self._float(f"{name}_factor", factor)]), zero, name)

    def _add(self, node: onnx.NodeProto) -> None:
        """Add two tensors, each with its scale and zero point, then those of the sum: ONNX Runtime's own operator.

        It rounds once all zero points are in the sum, which is another number where a sum lies between two.
        """
        y_scale, y_zero = self._single(node, self._constant(node, 6), self._zero(node, 7))
        zero, parts = np.float32(y_zero), list[str]()
        for index in (0, 3):
            scale, own = self._single(node, self._constant(node, index + 1), self._zero(node, index + 2))
            zero -= scale / y_scale * np.float32(own)
            factor = self._float(f"{node.input[index]}_factor", scale / y_scale)
            parts.append(self.builder.node("Mul", [self._whole(node, index, np.zeros_like(own)), factor]))
        second = self.builder.node("Add", [parts[1], self._float(f"{node.output[0]}_zero", zero)])
        total = self.builder.node("Round", [self.builder.node("Add", [parts[0], second])])
        self._saturated(total, y_zero, node.output[0])
