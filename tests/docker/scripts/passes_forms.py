"""Pooling, opsets, precision, slices. Prints JSON; numpy and PyTorch say what is right."""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from graph import check_graph, count_nodes, infer_shapes, read_graph, write_graph
from jobkit import Refused
from onnx import helper, numpy_helper
from passes import edit
from passes.proof import opened
from torch import nn

data = Path(sys.argv[1]) if len(sys.argv) > 1 else None
found = {}
rng = np.random.default_rng(0)
torch.manual_seed(0)
node = helper.make_node


def graph(nodes, outputs, weights=(), shape=(1, 3, 9, 9), opset=13, dtype=1):
    inputs = [helper.make_tensor_value_info("x", dtype, shape)]
    results = [helper.make_tensor_value_info(name, 1, size) for name, size in outputs.items()]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(weights).items()]
    made = helper.make_graph(nodes, "g", inputs, results, tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def exported(module, example, opset):
    with tempfile.TemporaryDirectory() as folder:
        torch.onnx.export(
            module,
            example,
            f"{folder}/m.onnx",
            dynamo=False,
            opset_version=opset,
            input_names=["x"],
            output_names=["y"],
        )
        return read_graph(Path(folder, "m.onnx"))


def refusal(model, wishes, samples=()):
    try:
        edit(model, wishes, list(samples))
    except Refused as error:
        return [type(error).__name__, error.message, error.remedy]
    return None


def checked(model):
    with tempfile.TemporaryDirectory() as folder:
        write_graph(infer_shapes(model), Path(folder))
        check_graph(Path(folder, "model.onnx"), next(item.version for item in model.opset_import if not item.domain))


def tried(name, model, wishes, x, right, more=()):
    try:
        done = edit(model, wishes, [{"x": x}])
    except Refused as error:
        found[name] = {"class": type(error).__name__, "message": error.message, "remedy": error.remedy}
        return None
    checked(done.model)
    got = opened(done.model)({"x": x})["y"]
    found[name] = {
        "error": float(np.abs(got.astype(np.float64) - right).max()),
        "dtype": got.dtype.name,
        "lines": done.lines,
        "operators": count_nodes(done.model),
        "opset": done.model.opset_import[0].version,
        "bytes": done.model.ByteSize(),
        "before": model.ByteSize(),
        "proof": str(next(iter(done.proofs.values()), "")),
    }
    return done


# Padded MaxPool, the maxima by numpy
def pooled(x, kernel=3, stride=2, pad=1):
    wide = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=-np.inf)
    count = (wide.shape[2] - kernel) // stride + 1
    return np.array(
        [
            [
                [
                    [
                        wide[0, c, i * stride : i * stride + kernel, j * stride : j * stride + kernel].max()
                        for j in range(count)
                    ]
                    for i in range(count)
                ]
                for c in range(x.shape[1])
            ]
        ],
        np.float32,
    )


x = rng.standard_normal((1, 3, 9, 9), dtype=np.float32)
pool = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
five = {"y": [1, 3, 5, 5]}
low = {"low": np.float32(0.5), "high": np.float32(6)}
silu = x / (1 + np.exp(-x.astype(np.float64)))
for name, nodes, weights, values in [
    ("relu", [node("Relu", ["x"], ["a"])], {}, np.maximum(x, 0)),
    ("sigmoid", [node("Sigmoid", ["x"], ["a"])], {}, 1 / (1 + np.exp(-x))),
    ("clip", [node("Clip", ["x", "low", "high"], ["a"])], low, np.clip(x, 0.5, 6)),
    (
        "joined",
        [
            node("Relu", ["x"], ["r"]),
            node("Mul", ["x", "x"], ["s"]),
            node("Add", ["r", "s"], ["t"]),
            node("Transpose", ["t"], ["a"], perm=[0, 1, 3, 2]),
        ],
        {},
        (np.maximum(x, 0) + x * x).transpose(0, 1, 3, 2),
    ),
    ("silu", [node("Sigmoid", ["x"], ["g"]), node("Mul", ["x", "g"], ["a"])], {}, silu),
]:
    model = graph([*nodes, node("MaxPool", ["a"], ["y"], name="pool", **pool)], five, weights)
    done = tried(f"pool {name}", model, {"padded_maxpool": True}, x, pooled(values))
    kept = next(item for item in done.model.graph.node if item.op_type == "MaxPool")
    found[f"pool {name}"]["attributes"] = sorted(item.name for item in kept.attribute)
least = graph(
    [
        node("Abs", ["x"], ["p"]),
        node("Neg", ["p"], ["n"]),
        node("Sigmoid", ["n"], ["g"]),
        node("Mul", ["n", "g"], ["dip"]),
        node("Relu", ["n"], ["r"]),
        node("Concat", ["r", "dip"], ["a"], axis=1),
        node("MaxPool", ["a"], ["y"], **pool),
    ],
    {"y": [1, 6, 5, 5]},
)
negative = -np.abs(x)
dip = negative / (1 + np.exp(-negative))
tried("pool least", least, {"padded_maxpool": True}, x, pooled(np.concatenate([np.maximum(negative, 0), dip], 1)))
same = graph(
    [
        node("Relu", ["x"], ["a"]),
        node("MaxPool", ["a"], ["y"], kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
    ],
    five,
)
wide = np.pad(np.maximum(x, 0), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=-np.inf)
tried("pool same", same, {"padded_maxpool": True}, x, pooled(wide, 2, 2, 0))
old = graph([node("Relu", ["x"], ["a"]), node("MaxPool", ["a"], ["y"], **pool)], five, opset=9)
tried("pool old", old, {"padded_maxpool": True}, x, pooled(np.maximum(x, 0)))
leaky = np.where(x < 0, np.float32(0.01) * x, x)
for name, nodes, values in [
    ("input", [node("Identity", ["x"], ["a"])], x),
    ("leaky", [node("LeakyRelu", ["x"], ["a"])], leaky),
    ("difference", [node("Relu", ["x"], ["r"]), node("Sub", ["r", "x"], ["a"])], np.maximum(x, 0) - x),
]:
    model = graph([*nodes, node("MaxPool", ["a"], ["y"], name="pool", **pool)], five)
    tried(f"pool {name}", model, {"padded_maxpool": True}, x, pooled(values))
below = graph([node("Neg", ["x"], ["a"]), node("MaxPool", ["a"], ["y"], **pool)], five, opset=9)
tried("pool below", below, {"padded_maxpool": True}, x, pooled(-x))
# Five and a padding of two: the edge is repeated twice, and more behind than before.
broad = {"kernel_shape": [5, 5], "strides": [2, 2], "pads": [1, 2, 3, 2]}
model = graph([node("Neg", ["x"], ["a"]), node("MaxPool", ["a"], ["y"], **broad)], five)
around = np.pad(-x, ((0, 0), (0, 0), (1, 3), (2, 2)), constant_values=-np.inf)
tried("pool broad", model, {"padded_maxpool": True}, x, pooled(around, 5, 2, 0))
gaps = {**pool, "dilations": [2, 2], "strides": [1, 1]}
model = graph([node("Neg", ["x"], ["a"]), node("MaxPool", ["a"], ["y"], name="pool", **gaps)], {"y": [1, 3, 7, 7]})
found["pool with gaps"] = refusal(model, {"padded_maxpool": True})
found["pool wish"] = refusal(model, {"padded_maxpool": "same"})
for name, more, shape in [
    ("same", {"kernel_shape": [5, 5], "strides": [1, 1], "pads": [2, 2, 2, 2]}, [1, 3, 9, 9]),
    ("same by name", {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, [1, 3, 5, 5]),
    ("unlike", {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"}, [1, 3, 5, 5]),
    ("even", {**pool, "kernel_shape": [4, 4]}, [1, 3, 4, 4]),
]:
    model = graph([node("Relu", ["x"], ["a"]), node("MaxPool", ["a"], ["y"], **more)], {"y": shape})
    found[f"pool unlike {name}"] = list(edit(model, {"padded_maxpool": {"same": False}}, []).lines)
plain = graph([node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2])], {"y": [1, 3, 8, 8]})
found["pool without padding"] = list(edit(plain, {"padded_maxpool": True}, []).lines)


# Opsets
class Modern(nn.Module):
    """Written by PyTorch with operators of many opsets."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        x = nn.functional.hardswish(self.norm(self.conv(x)))
        x = nn.functional.interpolate(nn.functional.pad(x, (1, 0, 1, 0)), scale_factor=2, mode="nearest").clamp(-1, 5)
        a, b = x.softmax(1).split(2, 1)
        return (a * b).sum(2).unsqueeze(1).squeeze(1) + x.mean((1, 2))[:, None] + x.amax((1, 2))[:, None]


net = Modern().eval()
for buffer in (net.norm.running_mean, net.norm.running_var):
    buffer.copy_(torch.rand(4) + 0.5)
with torch.no_grad():
    for source in (18, 17, 14):
        modern = exported(net, torch.from_numpy(x), source)
        right = opened(modern)({"x": x})["y"]
        found[f"modern {source}"] = float(np.abs(right - net(torch.from_numpy(x)).numpy()).max())
        for wish in (12, 11, 9):
            tried(f"{source} to {wish}", modern, {"opset": wish, "constants": True}, x, right)
e = np.exp(x - x.max(1, keepdims=True))
erf = torch.erf(torch.from_numpy(x / np.sqrt(2))).numpy()
gain, bias = rng.random(9, dtype=np.float32), rng.random(9, dtype=np.float32)
deviation = np.sqrt(x.astype(np.float64).var(-1, keepdims=True) + 1e-5)
fours = {"y": [1, 3, 9, 9]}
for name, nodes, weights, opset, wish, right in [
    ("softmax", [node("Softmax", ["x"], ["y"], axis=1)], {}, 13, 12, e / e.sum(1, keepdims=True)),
    ("relu", [node("Relu", ["x"], ["y"])], {}, 14, 9, np.maximum(x, 0)),
    ("gelu", [node("Gelu", ["x"], ["y"])], {}, 20, 11, x * 0.5 * (1 + erf)),
    ("mish", [node("Mish", ["x"], ["y"])], {}, 18, 11, x * np.tanh(np.log1p(np.exp(x)))),
    (
        "norm",
        [node("LayerNormalization", ["x", "gain", "bias"], ["y"])],
        {"gain": gain, "bias": bias},
        17,
        12,
        (x - x.astype(np.float64).mean(-1, keepdims=True)) / deviation * gain + bias,
    ),
    (
        "pad",
        [node("Pad", ["x", "pads", "", "axes"], ["y"])],
        {"pads": np.array([-1, 1]), "axes": np.array([-1])},
        18,
        9,
        np.pad(x[..., 1:], ((0, 0), (0, 0), (0, 0), (0, 1))),
    ),
    (
        "shape",
        [
            node("Shape", ["x"], ["s"], start=1, end=3),
            node("Cast", ["s"], ["c"], to=1),
            node("ReduceSum", ["c"], ["t"], keepdims=0),
            node("Add", ["x", "t"], ["y"]),
        ],
        {},
        15,
        11,
        x + 12,
    ),
    (
        "divided",
        [node("Split", ["x"], ["a", "b", "c"], axis=1, num_outputs=3), node("Concat", ["c", "b", "a"], ["y"], axis=1)],
        {},
        18,
        11,
        x[:, ::-1],
    ),
]:
    tried(f"opset {name}", graph(nodes, fours, weights, opset=opset), {"opset": wish}, x, right)
tried(
    "opset newer",
    graph([node("Softmax", ["x"], ["y"], axis=1)], fours, opset=11),
    {"opset": 17},
    x,
    np.exp(x - x.max()) / np.exp(x - x.max()).sum(),
)
for name, nodes, weights, opset, wish in [
    ("einsum", [node("Einsum", ["x"], ["y"], equation="abcd->abcd", name="sum")], {}, 12, 11),
    (
        "steps",
        [node("Slice", ["x", "s", "e", "a", "two"], ["y"], name="stride")],
        {"s": np.array([0]), "e": np.array([9]), "a": np.array([3]), "two": np.array([2])},
        13,
        9,
    ),
    (
        "axes at run time",
        [
            node("Cast", ["x"], ["i"], to=7),
            node("Reshape", ["i", "minus"], ["f"]),
            node("Slice", ["f", "o", "one"], ["g"]),
            node("ReduceSum", ["x", "g"], ["y"], name="total"),
        ],
        {"minus": np.array([-1]), "o": np.array([0]), "one": np.array([1])},
        13,
        11,
    ),
    (
        "types",
        [node("Cast", ["x"], ["d"], to=6), node("Relu", ["d"], ["r"], name="ints"), node("Cast", ["r"], ["y"], to=1)],
        {},
        14,
        12,
    ),
    (
        "grid",
        [
            node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]),
            node("Slice", ["t", "o", "two", "three"], ["g"]),
            node("GridSample", ["x", "g"], ["y"], name="sample"),
        ],
        {"o": np.array([0]), "two": np.array([2]), "three": np.array([3])},
        16,
        15,
    ),
]:
    found[f"opset {name}"] = refusal(
        graph(nodes, {"y": None} if name != "steps" else {"y": [1, 3, 9, 5]}, weights, opset=opset), {"opset": wish}
    )
for value in (8, 24, "12", True):
    found[f"opset wish {value!r}"] = refusal(plain, {"opset": value})

# Half precision
reference = net(torch.from_numpy(x)).detach().numpy()
half = tried("half", exported(net, torch.from_numpy(x), 12), {"half": True}, x, reference)
found["half types"] = sorted({item.data_type for item in half.model.graph.initializer})
found["half signature"] = [
    item.type.tensor_type.elem_type for item in (*half.model.graph.input, *half.model.graph.output)
]
whole = {item.name: numpy_helper.to_array(item) for item in half.model.graph.initializer if item.data_type == 10}
fused = net.conv.weight * (net.norm.weight / torch.sqrt(net.norm.running_var + net.norm.eps))[:, None, None, None]
found["half weights"] = [
    float(np.abs(value - fused.detach().numpy()).max()) for value in whole.values() if value.ndim == 4
]
boxes = graph(
    [
        node("Mul", ["x", "two"], ["d"]),
        node("Reshape", ["d", "b"], ["boxes"]),
        node("ReduceMax", ["boxes"], ["m"], axes=[2], keepdims=0),
        node("Unsqueeze", ["m", "one"], ["scores"]),
        node("NonMaxSuppression", ["boxes", "scores"], ["n"], name="nms"),
        node("Shape", ["boxes"], ["s"]),
        node("Cast", ["s"], ["f"], to=1),
        node("ReduceSum", ["f"], ["t"], keepdims=0),
        node("Add", ["d", "t"], ["y"]),
        node("Cast", ["n"], ["nf"], to=1),
    ],
    {"y": [1, 1, 6, 4], "nf": [None, 3]},
    {"two": np.float32(2), "b": np.array([1, 6, 4]), "one": np.array([1])},
    shape=(1, 1, 6, 4),
)
v = rng.random((1, 1, 6, 4), dtype=np.float32)
tried("half, an operator in float", boxes, {"half": True}, v, v * 2 + 11)
masked = graph(
    [node("Mul", ["x", "w"], ["m"]), node("Add", ["m", "far"], ["a"]), node("Softmax", ["a"], ["y"], axis=3)],
    fours,
    {"w": np.float32(1.5), "far": np.where(np.arange(9) < 5, 0, -1e9).astype(np.float32)},
)
e = np.where(np.arange(9) < 5, np.exp(1.5 * x.astype(np.float64)), 0)
tried("half, far", masked, {"half": True}, x, e / e.sum(3, keepdims=True))
steep = graph(
    [node("Mul", ["x", "w"], ["m"]), node("Sub", ["m", "v"], ["y"])],
    fours,
    {"w": np.float32(1), "v": np.float32(30000)},
)
steep.graph.node.append(node("Add", ["y", "v"], ["z"]))
steep.graph.output[0].name = "z"
found["half, too coarse"] = refusal(steep, {"half": True}, [{"x": x}])
found["half of nothing"] = list(edit(plain, {"half": True}, []).lines)

# Slices for TNN
sliced = graph(
    [
        node("Slice", ["x", "s", "e"], ["a"], name="without axes"),
        node("Slice", ["a", "m3", "far", "m1"], ["b"], name="from behind"),
        node("Slice", ["b", "s1", "far", "a2", "two"], ["y"], name="steps"),
    ],
    {"y": [1, 2, 4, 3]},
    {
        "s": np.array([0, 1]),
        "e": np.array([1, 3]),
        "m3": np.array([-3]),
        "far": np.array([np.iinfo(np.int64).max]),
        "m1": np.array([-1]),
        "s1": np.array([1]),
        "a2": np.array([2]),
        "two": np.array([2]),
    },
)
done = tried("slices", sliced, {"strided_slices": True}, x, x[0:1, 1:3][..., -3:][:, :, 1::2])
weights = {item.name: numpy_helper.to_array(item) for item in done.model.graph.initializer}
found["slices form"] = {
    item.name: [weights[name].tolist() for name in item.input[1:]] for item in done.model.graph.node
}
found["slices again"] = list(edit(done.model, {"strided_slices": True}, []).lines)
turned = graph(
    [node("Slice", ["x", "s", "e", "a", "t"], ["y"])],
    fours,
    {"s": np.array([-1]), "e": np.array([np.iinfo(np.int64).min]), "a": np.array([3]), "t": np.array([-1])},
)
tried("slices backwards", turned, {"strided_slices": True}, x, x[..., ::-1])
ancient = graph([node("Slice", ["x"], ["y"], starts=[0, -2], ends=[1, 2**40])], {"y": [1, 2, 9, 9]}, opset=9)
tried("slices as attributes", ancient, {"strided_slices": True}, x, x[:, -2:])
computed = graph(
    [
        node("Cast", ["x"], ["i"], to=7),
        node("Reshape", ["i", "m"], ["f"]),
        node("Slice", ["f", "o", "one"], ["g"]),
        node("Slice", ["x", "g", "nine", "three"], ["y"], name="late"),
    ],
    {"y": None},
    {"m": np.array([-1]), "o": np.array([0]), "one": np.array([1]), "nine": np.array([9]), "three": np.array([3])},
)
found["slices computed"] = refusal(computed, {"strided_slices": True})

if data:
    files = data / "weights"
    for name in ("ultraface-slim-320", "yolov5n-0.5-face.upstream-heads"):
        model = read_graph(files / f"{name}.onnx")
        value = next(item for item in model.graph.input)
        picture = {
            value.name: rng.uniform(0, 1, [dim.dim_value for dim in value.type.tensor_type.shape.dim]).astype(
                np.float32
            )
        }
        right = opened(model)(picture)
        for wishes in ({"half": True}, {"strided_slices": True, "opset": 11}):
            done = edit(model, wishes, [picture])
            checked(done.model)
            got = opened(done.model)(picture)
            found[f"{name} {'+'.join(wishes)}"] = [
                max(float(np.abs(got[key] - array).max() / np.abs(array).max()) for key, array in right.items()),
                model.ByteSize(),
                done.model.ByteSize(),
            ]
    quantised = read_graph(files / "shufflenet-v2-12-int8.onnx")
    found["quantised, opset 11"] = refusal(quantised, {"opset": 11})
print(json.dumps(found))
