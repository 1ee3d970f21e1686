"""Small .tflite files written operator by operator, as no converter would write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TYPES = {"float32": schema.TensorType.FLOAT32, "float16": schema.TensorType.FLOAT16, "int32": schema.TensorType.INT32}


class FlatFile:
    """One graph of float tensors; tensors are known by their numbers."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version, self.model.description = 3, "a toy"
        self.model.buffers, self.model.operatorCodes = [schema.BufferT()], []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, name: str, shape: list[int], dtype: str = "float32", signature: list[int] | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.shapeSignature = name.encode(), shape, TYPES[dtype], signature
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, array: Any) -> int:
        number = self.tensor(name, list(array.shape), array.dtype.name)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        self.graph.tensors[number].buffer = len(self.model.buffers) - 1
        return number

    def operator(self, name: str, inputs: list[int], outputs: list[int], options: Any = None) -> None:
        """Add an operator; a name that is none of TFLite's makes a custom one."""
        known = getattr(schema.BuiltinOperator, name, None)
        code = schema.OperatorCodeT()
        code.version = 1
        code.builtinCode = schema.BuiltinOperator.CUSTOM if known is None else known
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.customCode = name if known is None else None
        self.model.operatorCodes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(self.model.operatorCodes) - 1, inputs, outputs
        if options is not None:
            made.builtinOptions = options
            made.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.graph.operators.append(made)

    def write(self, path: Path, inputs: list[int], outputs: list[int]) -> None:
        self.graph.inputs, self.graph.outputs = inputs, outputs
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))


def random(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def dense(
    path: Path, *, rank: int, bias: bool = True, relu: bool = False, keep: bool = False, inner: bool = False
) -> None:
    """Write a fully connected layer from 12 numbers in a tensor of `rank` to 5; `inner`: another one comes after it."""
    file = FlatFile()
    shape = {2: [1, 12], 3: [1, 1, 12], 4: [1, 2, 2, 3]}[rank]
    given = file.tensor("x", shape)
    weights = file.constant("w", random(5, shape[-1] if keep else 12))
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = keep
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU if relu else 0
    made = file.tensor("hidden" if inner else "y", [*shape[:-1], 5] if keep else [1, 5])
    extra = [file.constant("b", random(5, seed=1) * 3)] if bias else [-1]
    file.operator("FULLY_CONNECTED", [given, weights, *extra], [made], options)
    if inner:
        last = file.tensor("y", [1, 2])
        more = [file.constant("w2", random(2, 5, seed=2)), file.constant("b2", random(2, seed=3))]
        file.operator("FULLY_CONNECTED", [made, *more], [last], schema.FullyConnectedOptionsT())
        made = last
    file.write(path, [given], [made])


def halves(path: Path) -> None:
    """Write a convolution whose weights are halves behind DEQUANTIZE, after a padding."""
    file = FlatFile()
    given = file.tensor("picture", [1, 6, 6, 3])
    padded = file.tensor("padded", [1, 8, 8, 3])
    file.operator("PAD", [given, file.constant("by", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))], [padded],
                  schema.PadOptionsT())
    whole = []
    for name, array in (("kernel", random(4, 3, 3, 3)), ("bias", random(4, seed=1))):
        half = file.constant(f"{name}_half", array.astype(np.float16))
        whole.append(file.tensor(name, list(array.shape)))
        file.operator("DEQUANTIZE", [half], [whole[-1]], schema.DequantizeOptionsT())
    options = schema.Conv2DOptionsT()
    options.padding, options.strideW, options.strideH = schema.Padding.VALID, 1, 1
    options.dilationWFactor = options.dilationHFactor = 1
    made = file.tensor("features", [1, 6, 6, 4])
    file.operator("CONV_2D", [padded, *whole], [made], options)
    file.write(path, [given], [made])


def planes(path: Path) -> None:
    """Write a pooling behind a transposition: the file takes NCHW."""
    file = FlatFile()
    given, turned, made = file.tensor("x", [1, 3, 4, 4]), file.tensor("t", [1, 4, 4, 3]), file.tensor("y", [1, 2, 2, 3])
    order = file.constant("order", np.array([0, 2, 3, 1], np.int32))
    file.operator("TRANSPOSE", [given, order], [turned], schema.TransposeOptionsT())
    options = schema.Pool2DOptionsT()
    options.strideW = options.strideH = options.filterWidth = options.filterHeight = 2
    file.operator("MAX_POOL_2D", [turned], [made], options)
    file.write(path, [given], [made])


def sums(path: Path, *, open_batch: bool = False, names: tuple[str, str] = ("first", "second")) -> None:
    """Write two outputs of two inputs, their sum and their difference; the batch may be open."""
    file = FlatFile()
    signature = [-1, 4] if open_batch else None
    inputs = [file.tensor(name, [1, 4], signature=signature) for name in ("a", "b")]
    outputs = [file.tensor(name, [1, 4], signature=signature) for name in names]
    file.operator("SUB", inputs, [outputs[0]], schema.SubOptionsT())
    file.operator("ADD", inputs, [outputs[1]], schema.AddOptionsT())
    file.write(path, inputs, outputs)


def custom(path: Path, name: str) -> None:
    """Write one operator of a name that is none of TFLite's, or one that tf2onnx does not know."""
    file = FlatFile()
    given, made = file.tensor("x", [1, 4]), file.tensor("y", [1, 4])
    options = schema.GeluOptionsT() if name == "GELU" else None
    file.operator(name, [given], [made], options)
    file.write(path, [given], [made])
