"""The sizes of every tensor of a graph, followed node by node for one size of the inputs.

Two worlds with two batches, side by side, tell which axis of which tensor is the batch: the one that differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from graph import input_values
from jobkit import GraphError, brief
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from passes.edit import Array, attribute, constant_of, title

Shape = tuple[int, ...]

# Shapes are computed from tensors of a few numbers; larger ones are data.
FEW = 1024


class World:
    """What is known of each tensor: its type, its sizes, and its value where it is small and constant."""

    def __init__(self, model: onnx.ModelProto, inputs: Mapping[str, Sequence[int]]) -> None:
        self.model = model
        self.types: dict[str, onnx.TypeProto] = {}
        self.values: dict[str, Array] = {}
        self._weights: dict[str, onnx.TensorProto] = {}
        for value in input_values(model):
            self.set_shape(value.name, value.type.tensor_type.elem_type, inputs[value.name])
        self.add_weights(model.graph.initializer)

    def add_weights(self, tensors: Iterable[onnx.TensorProto]) -> None:
        """Learn of constant tensors."""
        for tensor in tensors:
            self._weights[tensor.name] = tensor
            self.set_shape(tensor.name, tensor.data_type, tensor.dims)
            if np.prod(tensor.dims) <= FEW:
                self.values[tensor.name] = np.asarray(numpy_helper.to_array(tensor))

    def set_shape(self, name: str, element: int, shape: Sequence[int]) -> None:
        """Set the type and the sizes of a tensor."""
        self.types[name] = helper.make_tensor_type_proto(element, list(shape))

    def shape(self, name: str) -> Shape | None:
        """Give the sizes of a tensor, or None where they are not known."""
        if name not in self.types or not self.types[name].tensor_type.HasField("shape"):
            return None
        dims = self.types[name].tensor_type.shape.dim
        return tuple(dim.dim_value for dim in dims) if all(dim.HasField("dim_value") for dim in dims) else None

    def step(self, node: onnx.NodeProto) -> None:
        """Work out what `node` gives. Raises GraphError where it cannot take its inputs."""
        value = self._value(node)
        if value is not None:
            for name, array in zip(node.output, value, strict=False):
                self._set_value(name, np.asarray(array))
            return
        types = self._inferred(node)
        if any(not types.get(name) or _open(types[name]) for name in node.output if name):
            types = {**types, **self._measured(node)}
        self.types.update(types)

    def _set_value(self, name: str, array: Array) -> None:
        self.set_shape(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        if array.size <= FEW:
            self.values[name] = array

    def _value(self, node: onnx.NodeProto) -> Sequence[Any] | None:
        constant = constant_of(node)
        if constant is not None:
            self._weights[node.output[0]] = numpy_helper.from_array(constant, node.output[0])
            return [constant]
        shape = self.shape(node.input[0]) if node.input else None
        if node.op_type == "Shape" and shape is not None:
            return [np.array(shape[attribute(node, "start", 0) : attribute(node, "end", len(shape))], np.int64)]
        known = [name in self.values for name in node.input if name]
        if node.domain or not known or not all(known) or node.op_type.startswith(("Random", "Bernoulli")):
            return None
        return _evaluated(node, self.values, self.model)

    def _inferred(self, node: onnx.NodeProto) -> dict[str, onnx.TypeProto]:
        try:
            version = next(item.version for item in self.model.opset_import if item.domain in (node.domain, "ai.onnx"))
            schema = onnx.defs.get_schema(node.op_type, version, node.domain)
        except (StopIteration, onnx.defs.SchemaError):
            return {}
        if any(name and name not in self.types for name in node.input):
            return {}
        data = {name: numpy_helper.from_array(self.values[name], name) for name in node.input if name in self.values}
        types = {name: self.types[name] for name in node.input if name}
        try:
            return dict(
                onnx.shape_inference.infer_node_outputs(
                    schema,
                    node,
                    types,
                    data,
                    opset_imports=list(self.model.opset_import),
                    ir_version=self.model.ir_version,
                )
            )
        except (onnx.shape_inference.InferenceError, RuntimeError) as error:
            raise GraphError(f"{title(node)} cannot take its inputs: {brief(error)}", "") from error

    def _measured(self, node: onnx.NodeProto) -> dict[str, onnx.TypeProto]:
        """Run the node alone, for operators whose sizes onnx does not know; their sizes may depend on no values."""
        if not node.domain or any(name and self.shape(name) is None for name in node.input):
            return {}
        inputs = [
            helper.make_value_info(name, self.types[name])
            for name in dict.fromkeys(node.input)
            if name and name not in self._weights
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        weights = [self._weights[name] for name in dict.fromkeys(node.input) if name in self._weights]
        graph = helper.make_graph([node], "one", inputs, outputs, weights)
        alone = helper.make_model(graph, opset_imports=list(self.model.opset_import), ir_version=self.model.ir_version)
        zeros = {value.name: _zeros(value) for value in inputs}
        try:
            session = onnxruntime.InferenceSession(alone.SerializeToString(), providers=["CPUExecutionProvider"])
            results = session.run(None, zeros)
        except Exception as error:
            raise GraphError(f"{title(node)} cannot take its inputs: {brief(error)}", "") from error
        return {
            value.name: helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for value, array in zip(outputs, results, strict=True)
        }


def _open(proto: onnx.TypeProto) -> bool:
    shape = proto.tensor_type.shape
    return not proto.tensor_type.HasField("shape") or not all(dim.HasField("dim_value") for dim in shape.dim)


def _zeros(value: onnx.ValueInfoProto) -> Array:
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return np.zeros(shape, helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _evaluated(node: onnx.NodeProto, values: Mapping[str, Array], model: onnx.ModelProto) -> Sequence[Any] | None:
    feeds = {name: values[name] for name in node.input if name}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "one", inputs, outputs)
    try:
        return ReferenceEvaluator(
            helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
        ).run(None, feeds)
    except Exception:
        return None  # then its type is inferred, and only its value stays unknown
