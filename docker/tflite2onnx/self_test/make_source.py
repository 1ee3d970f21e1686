"""Make the source of the small job: a layer that scores a picture of rank 4, with a bias, from a fixed seed."""

from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

random = np.random.RandomState(0)
model, graph = schema.ModelT(), schema.SubGraphT()
model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
graph.tensors, graph.inputs, graph.outputs = [], [0], [3]


def add(name: str, shape: list[int], values: object = None) -> None:
    """Add a tensor; one with values is constant."""
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name, shape, schema.TensorType.FLOAT32
    if values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.asarray(values, np.float32).tobytes(), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    graph.tensors.append(tensor)


add("picture", [1, 4, 4, 3])
add("weights", [5, 48], random.standard_normal((5, 48)))
add("bias", [5], random.standard_normal(5))
add("scores", [1, 5])

code, layer = schema.OperatorCodeT(), schema.OperatorT()
code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
code.version = 1
layer.inputs, layer.outputs = [0, 1, 2], [3]
layer.builtinOptionsType, layer.builtinOptions = (
    schema.BuiltinOptions.FullyConnectedOptions,
    schema.FullyConnectedOptionsT(),
)
model.operatorCodes, graph.operators = [code], [layer]

builder = flatbuffers.Builder(1024)
builder.Finish(model.Pack(builder), b"TFL3")
file = Path("in", "source", "model.tflite")
file.parent.mkdir(parents=True, exist_ok=True)
file.write_bytes(bytes(builder.Output()))
