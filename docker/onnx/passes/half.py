"""Weights and arithmetic in half precision; inputs and outputs stay as they are."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from graph import infer_shapes, opset_of
from jobkit import GraphError, OptionError
from jobkit.runtime import Arrays
from onnx import TensorProto, numpy_helper

from passes.change import Change, Limit
from passes.edit import (
    Array,
    Builder,
    attribute,
    consumers,
    copied,
    drop_unused,
    reads,
    set_attribute,
    subgraphs,
    title,
    unread,
)
from passes.islands import chosen
from passes.proof import opened

NAME = "half"
REMEDY = "leave half out of the recipe for this model"
LIMIT = Limit(relative=0.05, reason="half precision, 11 bits, through all layers")
LARGEST = float(np.finfo(np.float16).max)

# The operators that nearly all weights of nets stand in.
WEIGHTED = frozenset(["Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"])

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16

# What is behind the last weights costs little, and often holds pixels, which half precision counts in steps of 0.5.
# What a detector's last convolutions give is multiplied by whole anchors there.
TAILS = ("half", "float")

# What makes a tensor of a type that an attribute states.
TYPED = {"Cast": "to", "RandomNormal": "dtype", "RandomUniform": "dtype", "EyeLike": "dtype"}


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Which nodes stay in float: those of these names, and with `tail` those that tail_of() gives."""

    floats: tuple[str, ...] = ()
    tail: bool = False


def read(value: object, model: onnx.ModelProto, samples: Sequence[Arrays]) -> Wish | None:
    """Read the recipe's ``half``: true, or ``{tail: float}``, and nodes to leave in float. Raises OptionError."""
    if isinstance(value, bool):
        return Wish() if value else None
    if not isinstance(value, Mapping) or set(value) - {"float", "tail"} or value.get("tail", "half") not in TAILS:
        raise OptionError(f"half {value!r} is neither true nor false", "say half: true, or half: {tail: float}")
    return Wish(floats=tuple(value.get("float") or ()), tail=value.get("tail") == "float")


def apply(model: onnx.ModelProto, wish: Wish | None) -> Change:
    """Bring a copy of `model` to half precision, but for the operators that have none and the nodes that are named.

    Raises GraphError naming a node with a graph of its own.
    """
    if wish is None:
        return Change(model=model)
    blocked, floats = set[str](), chosen(model.graph, wish.floats, NAME)
    if wish.tail:
        floats |= tail_of(model.graph)
    while True:
        made = Halved(model, blocked, floats)
        if not made.halved:
            return Change(model=model)
        try:
            opened(made.model)
        except GraphError as error:
            lacking = re.search(r"implementation for (\w+)\(", error.message)
            if not lacking or lacking[1] in blocked:
                raise
            blocked.add(lacking[1])
        else:
            return Change(
                model=infer_shapes(made.model), lines=tuple(made.lines), limit=LIMIT, tried=rounded(model, made)
            )


def tail_of(graph: onnx.GraphProto) -> frozenset[str]:
    """Give the names of the last convolutions, and of the nodes behind which no operator with weights comes."""
    read = consumers(graph)
    before, tail = set[str](), set[str]()  # by their first outputs: what operators with weights are computed from
    for node in reversed(graph.node):
        behind = [other for name in node.output for other in read.get(name, ())]
        if any(other.output[0] in before or other.op_type in WEIGHTED for other in behind):
            before.add(node.output[0])
        elif node.op_type == "Conv" or node.op_type not in WEIGHTED:
            tail.add(node.name or node.output[0])
    return frozenset(tail)


def rounded(model: onnx.ModelProto, halved: Halved) -> onnx.ModelProto:
    """Give a copy in float that rounds each weight and each tensor to half precision.

    ONNX Runtime's CPU has few kernels for half precision; around the others it casts, and drops the casts between two
    of them, so that running the halved graph itself rounds next to nothing.
    """
    model = copied(model)
    for tensor in model.graph.initializer:
        if tensor.name in halved.weights:
            array = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(_fitted(array).astype(np.float32), tensor.name))
    builder, inputs = Builder(model), {value.name for value in model.graph.input} & halved.floats - halved.weights
    short = {name: builder.node("Cast", [builder.node("Cast", [name], to=HALF)], to=FLOAT) for name in sorted(inputs)}
    for node in list(model.graph.node):
        node.input[:] = [short.get(name, name) for name in node.input]
        for index, name in enumerate(node.output):
            if name in halved.floats and name not in halved.wide:
                node.output[index] = builder.names.new(f"{name}_exact")
                builder.node("Cast", [builder.node("Cast", [node.output[index]], to=HALF)], output=name, to=FLOAT)
    builder.place()
    return model


def _fitted(array: Array) -> Array:
    return np.clip(array, -LARGEST, LARGEST).astype(np.float16)


class Halved:
    """A copy in half precision.

    Operators in `blocked`, those that onnx defines for float only, and nodes whose names are in `floats` keep float.
    """

    def __init__(self, model: onnx.ModelProto, blocked: set[str], floats: Collection[str] = ()) -> None:
        self.model, self.lines = infer_shapes(copied(model)), list[str]()
        self._named = floats
        self.wide: dict[str, str] = {}  # what kept nodes give, in float
        self._blocked, self._builder = blocked, Builder(self.model)
        graph = self.model.graph
        idle = unread(graph)
        self.floats = self._float_tensors()
        self._weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == FLOAT}
        self._casts: dict[tuple[str, int], str] = {}
        self.weights = set[str]()
        self._kept: dict[str, None] = {}
        self._inputs = {value.name for value in graph.input} - set(self._weights)
        self.halved = len(self._weights) - len(idle & set(self._weights)) > 0
        for node in list(graph.node):
            self._node(node)
        self._outputs()
        self._builder.place()
        del graph.value_info[:]
        drop_unused(graph, idle)
        self.lines = [f"half: {len(self._casts)} casts and {len(self.weights)} weights in half precision", *self.lines]
        self.lines += [f"half: {name} stays in float" for name in self._kept]

    def _float_tensors(self) -> set[str]:
        graph = self.model.graph
        values = (*graph.input, *graph.value_info, *graph.output)
        return {value.name for value in values if value.type.tensor_type.elem_type == FLOAT} | {
            tensor.name for tensor in graph.initializer if tensor.data_type == FLOAT
        }

    def _keeps(self, node: onnx.NodeProto) -> bool:
        """Tell whether a node that handles floats has no half precision."""
        if node.op_type == "Cast" or not any(name in self.floats for name in (*node.input, *node.output)):
            return False
        if node.domain or node.op_type in self._blocked or (node.name or node.output[0]) in self._named:
            return True
        schema = onnx.defs.get_schema(node.op_type, opset_of(self.model))
        return any(
            name in self.floats and not _admits(schema, schema.outputs, index) for index, name in enumerate(node.output)
        )

    def _node(self, node: onnx.NodeProto) -> None:
        if list(subgraphs(node)) and reads(node) & self.floats:
            raise GraphError(f"half: {title(node)} has a graph of its own", REMEDY)
        keeps = self._keeps(node)
        schema = None if keeps else onnx.defs.get_schema(node.op_type, opset_of(self.model), node.domain)
        for index, name in enumerate(node.input):
            if name in self.floats:
                admits = schema is not None and _admits(schema, schema.inputs, index)
                node.input[index] = self._as(name, HALF if admits else FLOAT)
                if keeps or (not admits and name not in self._weights):
                    self._kept[title(node)] = None
        if keeps:
            for index, name in enumerate(node.output):
                if name in self.floats:
                    self.wide[name] = node.output[index] = self._builder.names.new(f"{name}_float")
        else:
            self._state_type(node)

    def _as(self, name: str, kind: int) -> str:
        """Give the tensor `name` in a precision: weights converted, inputs and others cast, each once."""
        if name in self.wide:
            return self.wide[name] if kind == FLOAT else self._narrow(name)
        held = FLOAT if name in self._weights or name in self._inputs else HALF
        if held == kind:
            return name
        if (name, kind) not in self._casts:
            self._casts[name, kind] = (
                self._weight(name)
                if name in self._weights
                else self._builder.node(
                    "Cast",
                    [name],
                    output=self._builder.names.new(f"{name}_{'half' if kind == HALF else 'float'}"),
                    to=kind,
                )
            )
        return self._casts[name, kind]

    def _narrow(self, name: str) -> str:
        """Give what a kept node gives in half precision, cast where the first one reads it so."""
        if (name, HALF) not in self._casts:
            self._casts[name, HALF] = self._builder.node("Cast", [self.wide[name]], output=name, to=HALF)
        return name

    def _weight(self, name: str) -> str:
        array = numpy_helper.to_array(self._weights[name])
        large = np.abs(array) > LARGEST
        if large.any():
            self.lines.append(f"half: {int(large.sum())} values of {name} are beyond {LARGEST:g} and become that")
        self.weights.add(name)
        return self._builder.constant(f"{name}_half", _fitted(array))

    def _state_type(self, node: onnx.NodeProto) -> None:
        key = TYPED.get(node.op_type)
        if key and attribute(node, key, FLOAT if key == "dtype" else None) == FLOAT:
            set_attribute(node, key, int(HALF))
        if node.op_type in ("Constant", "ConstantOfShape") and node.output[0] in self.floats:
            value = attribute(node, "value")
            array = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
            for item in list(node.attribute):
                node.attribute.remove(item)
            set_attribute(node, "value", numpy_helper.from_array(array.astype(np.float16)))

    def _outputs(self) -> None:
        graph = self.model.graph
        made = {name for node in (*graph.node, *self._builder.nodes) for name in node.output}
        for value in graph.output:
            if value.name in self.floats and value.name in made and value.name not in self.wide:
                inner = self._builder.names.new(f"{value.name}_half")
                self._rename(value.name, inner)
                self._builder.node("Cast", [inner], output=value.name, to=FLOAT)
            if value.name in self.wide:
                self._rename(value.name, self._builder.names.new(f"{value.name}_half"))
                self._rename(self.wide[value.name], value.name)

    def _rename(self, old: str, new: str) -> None:
        for node in (*self.model.graph.node, *self._builder.nodes):
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name == old:
                        names[index] = new


def _admits(schema: onnx.defs.OpSchema, formals: Sequence[onnx.defs.OpSchema.FormalParameter], index: int) -> bool:
    formal = formals[min(index, len(formals) - 1)]
    return "tensor(float16)" in formal.types
