"""Quantised operators as float arithmetic. Prints JSON; integers of numpy say what is right."""

import json
import tempfile
from pathlib import Path

import numpy as np
from graph import check_graph, count_nodes, infer_shapes, write_graph
from jobkit import Refused
from onnx import TensorProto, helper, numpy_helper
from passes import edit
from passes.proof import opened

FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8
found = {}
rng = np.random.default_rng(0)
node = helper.make_node


def graph(nodes, weights, shape, outputs=("y",), types=(FLOAT, FLOAT)):
    inputs = [helper.make_tensor_value_info("x", types[0], shape)]
    results = [helper.make_tensor_value_info(name, types[1], None) for name in outputs]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_graph(nodes, "g", inputs, results, tensors)
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


def tried(name, model, x, right):
    try:
        done = edit(model, {"whole_numbers": True}, [{"x": x}])
    except Refused as error:
        found[name] = [type(error).__name__, error.message, error.remedy]
        return
    with tempfile.TemporaryDirectory() as folder:
        write_graph(infer_shapes(done.model), Path(folder))
        check_graph(Path(folder, "model.onnx"), 17)
    runs = [opened(done.model, optimised=optimised)({"x": x})["y"] for optimised in (False, True)]
    found[name] = {"errors": [float(np.abs(run.astype(np.float64) - right).max()) for run in runs], "lines": done.lines,
                   "values": len(np.unique(right)), "operators": count_nodes(done.model),
                   "proof": str(next(iter(done.proofs.values()), "")), "weights": sorted(
                       {numpy_helper.to_array(item).dtype.name for item in done.model.graph.initializer})}


def quantised(x, scale, zero):
    limits = np.iinfo(np.asarray(zero).dtype)
    return np.clip(np.rint(x / np.float32(scale)).astype(np.int64) + int(zero), limits.min, limits.max)


def scaled(total, factor, zero):
    return quantised(total.astype(np.float32) * np.asarray(factor, np.float32), 1, zero)


def convolved(x, w, groups):
    """Add up the products of a 3x3 convolution of whole numbers with padding 1."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width, each, total = x.shape[2], x.shape[3], w.shape[1], []
    for number, kernel in enumerate(w):
        first = number // (len(w) // groups) * each
        part = padded[:, first:first + each]
        total.append(sum((part[:, :, i:i + height, j:j + width] * kernel[None, :, i:i + 1, j:j + 1]).sum(1)
                         for i in range(3) for j in range(3)))
    return np.stack(total, 1)


X = rng.normal(0, 1, (2, 4, 7, 7)).astype(np.float32)
ENDS = {"xs": np.float32(0.021), "xz": np.uint8(117), "ys": np.float32(0.034), "yz": np.uint8(131)}
QUANTISE = node("QuantizeLinear", ["x", "xs", "xz"], ["q"], name="in")
DEQUANTISE = node("DequantizeLinear", ["r", "ys", "yz"], ["y"], name="out")
Q = quantised(X, 0.021, ENDS["xz"])


def real(whole):
    return (whole - 131).astype(np.float32) * np.float32(0.034)


def conv(name, weight, zero, scale, groups, bias):
    names = ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz"] + (["b"] if bias is not None else [])
    nodes = [QUANTISE, node("QLinearConv", names, ["r"], name="conv", pads=[1] * 4, group=groups), DEQUANTISE]
    weights = {**ENDS, "w": weight, "ws": scale, "wz": zero, **({"b": bias} if bias is not None else {})}
    beside = (-1, 1, 1, 1) if zero.size > 1 else ()
    total = convolved(Q - 117, weight.astype(np.int64) - zero.astype(np.int64).reshape(beside), groups)
    if bias is not None:
        total = total + bias[None, :, None, None]
    factor = (np.float32(0.021) * scale / np.float32(0.034)).reshape((-1, 1, 1) if scale.size > 1 else ())
    tried(name, graph(nodes, weights, X.shape), X, real(scaled(total, factor, ENDS["yz"])))


signed = rng.integers(-127, 128, (6, 4, 3, 3)).astype(np.int8)
each = rng.uniform(0.001, 0.004, 6).astype(np.float32)
added = rng.integers(-900, 900, 6).astype(np.int32)
conv("conv, a scale for each channel", signed, np.zeros(6, np.int8), each, 1, added)
conv("conv in groups", signed[:, :2], np.array(0, np.int8), np.float32(0.003), 2, None)
conv("conv, weights with a zero point", (signed.astype(np.int64) + 128).astype(np.uint8), np.array(120, np.uint8),
     np.float32(0.002), 1, None)

FLAT = rng.normal(0, 1, (3, 5)).astype(np.float32)
W = rng.integers(-127, 128, (5, 4)).astype(np.int8)
QF = quantised(FLAT, 0.021, ENDS["xz"])
names = ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
weights = {**ENDS, "w": W, "ws": np.float32(0.01), "wz": np.int8(-3)}
nodes = [QUANTISE, node("QLinearMatMul", names, ["r"], name="product"), DEQUANTISE]
factor = np.float32(0.021) * np.float32(0.01) / np.float32(0.034)
tried("matmul", graph(nodes, weights, FLAT.shape), FLAT,
      real(scaled((QF - 117) @ (W.astype(np.int64) + 3), factor, ENDS["yz"])))

nodes = [QUANTISE, node("Transpose", ["q"], ["t"], name="turned"),
         node("QLinearMatMul", ["q", "xs", "xz", "t", "xs", "xz", "ys", "yz"], ["r"], name="square"), DEQUANTISE]
factor = np.float32(0.021) * np.float32(0.021) / np.float32(0.034)
tried("matmul of two tensors", graph(nodes, ENDS, FLAT.shape), FLAT,
      real(scaled((QF - 117) @ (QF - 117).T, factor, ENDS["yz"])))

B = rng.integers(0, 256, 5).astype(np.uint8)
nodes = [QUANTISE, node("QLinearAdd", ["q", "xs", "xz", "b", "bs", "bz", "ys", "yz"], ["r"], name="sum",
                        domain="com.microsoft"), DEQUANTISE]
# Scales without a common measure: where they have one, many sums lie between two whole numbers.
total = (QF - 117) * (0.021 / 0.034) + (B.astype(np.int64) - 90) * (0.00871309 / 0.034) + 131
tried("add", graph(nodes, {**ENDS, "b": B, "bs": np.float32(0.00871309), "bz": np.uint8(90)}, FLAT.shape), FLAT,
      real(np.clip(np.rint(total), 0, 255)))

nodes = [QUANTISE, node("MaxPool", ["q"], ["p"], name="pool", kernel_shape=[3, 3], pads=[1] * 4),
         node("Split", ["p"], ["a", "b"], name="halves", axis=1),
         node("Concat", ["b", "a"], ["c"], name="join", axis=1),
         node("Transpose", ["c"], ["r"], name="turn", perm=[0, 2, 3, 1]),
         node("DequantizeLinear", ["r", "xs", "xz"], ["y"], name="out")]
around = np.pad(Q, ((0, 0), (0, 0), (1, 1), (1, 1)))
pool = np.max([around[:, :, i:i + 7, j:j + 7] for i in range(3) for j in range(3)], axis=0)
turned = np.concatenate([pool[:, 2:], pool[:, :2]], 1).transpose(0, 2, 3, 1)
tried("what hands numbers on", graph(nodes, ENDS, X.shape), X, (turned - 117).astype(np.float32) * np.float32(0.021))

TIES = np.float32([-1e9, -64.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, 63.25, 1e9]).reshape(1, -1)
for kind in (np.int8, np.uint8):
    ends = {"one": np.float32(1), "z": kind(3)}
    nodes = [node("QuantizeLinear", ["x", "one", "z"], ["q"], name="in"),
             node("DequantizeLinear", ["q", "one", "z"], ["y"], name="out")]
    tried(f"ties and ends of {kind.__name__}", graph(nodes, ends, TIES.shape), TIES,
          quantised(TIES, 1, kind(3)).astype(np.float64) - 3)
nodes = [node("QuantizeLinear", ["x", "one"], ["q"], name="in"),
         node("DequantizeLinear", ["q", "one"], ["y"], name="out")]
tried("without zero points", graph(nodes, {"one": np.float32(1)}, TIES.shape), TIES, quantised(TIES, 1, np.uint8(0)))

nodes = [node("DequantizeLinear", ["w", "ws", "wz"], ["f"], name="weights", axis=0), node("Mul", ["x", "f"], ["y"])]
held = rng.integers(-127, 128, (3, 5)).astype(np.int8)
scale, zero = np.float32([0.1, 0.2, 0.3]), np.int8([1, 0, -5])
tried("constants", graph(nodes, {"w": held, "ws": scale, "wz": zero}, FLAT.shape), FLAT,
      FLAT * ((held.astype(np.float32) - zero[:, None]) * scale[:, None]))

# What is refused

tried("a cast", graph([QUANTISE, node("Cast", ["q"], ["y"], name="numbers", to=FLOAT)], ENDS, FLAT.shape), FLAT, 0)
for what, operator, types in (("input", "DequantizeLinear", (UINT8, FLOAT)),
                              ("output", "QuantizeLinear", (FLOAT, UINT8))):
    tried(f"an {what} of 8 bits", graph([node(operator, ["x", "ys", "yz"], ["y"])], ENDS, (2, 2), types=types),
          np.zeros((2, 2), helper.tensor_dtype_to_np_dtype(types[0])), 0)
nodes = [node("ReduceMax", ["x"], ["s"], name="range", keepdims=0),
         node("QuantizeLinear", ["x", "s", "xz"], ["q"], name="in"),
         node("DequantizeLinear", ["q", "xs", "xz"], ["y"])]
tried("a scale that is computed", graph(nodes, ENDS, FLAT.shape), FLAT, 0)
nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"], name="in"), node("DequantizeLinear", ["q", "s", "z"], ["y"])]
tried("a scale for each channel of a tensor", graph(nodes, {"s": np.ones(5, np.float32), "z": np.zeros(5, np.uint8)},
                                                    FLAT.shape), FLAT, 0)
plain = graph([node("Relu", ["x"], ["y"])], {}, FLAT.shape)
found["nothing to do"] = list(edit(plain, {"whole_numbers": True}, [{"x": FLAT}]).lines)
found["off"] = list(edit(plain, {"whole_numbers": False}, [{"x": FLAT}]).lines)
try:
    edit(plain, {"whole_numbers": "yes"}, [])
except Refused as error:
    found["another value"] = [type(error).__name__, error.message, error.remedy]
print(json.dumps(found))
