"""Give graphs other batches; print what came of each as JSON. What is right comes from PyTorch or numpy."""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from graph import opset_of, read_graph
from jobkit import Refused
from onnx import TensorProto, helper, numpy_helper
from passes import edit
from passes.proof import opened
from torch import nn

data = Path(sys.argv[1]) if len(sys.argv) > 1 else None
found = {}
rng = np.random.default_rng(0)
torch.manual_seed(0)


class Mesh(nn.Module):
    """A face mesh in small: the points of each item go through a shape of four axes, three of them 1."""

    def __init__(self, fixed):
        super().__init__()
        self.body, self.head, self.fixed = nn.Conv2d(3, 1, 3, 2, 1), nn.Conv2d(16, 6, 1), fixed

    def forward(self, picture):
        items = 1 if self.fixed else picture.shape[0]
        points = self.body(picture).reshape(items, 1, 1, 16)
        return self.head(points.permute(0, 3, 1, 2)).reshape(items, 3, 2), points


class Shapes(nn.Module):
    """Expand, Resize with sizes, Slice from 0 to the batch, Concat with a constant: each holds the batch."""

    def __init__(self, fixed):
        super().__init__()
        self.conv, self.token, self.fixed = nn.Conv2d(3, 4, 3, padding=1), nn.Parameter(torch.rand(1, 1, 64)), fixed

    def forward(self, picture):
        items = 1 if self.fixed else picture.shape[0]
        x = nn.functional.interpolate(self.conv(picture), size=(8, 8), mode="nearest")
        rows = x.reshape(items, 4, 64)[0:items]
        token = self.token if self.fixed else self.token.expand(items, 1, 64)
        rows = torch.cat((token, rows), 1)
        return rows.mean(2, keepdim=True).expand(items, 5, 3) * torch.arange(3.0)


class Recurrent(nn.Module):
    """A GRU whose initial state is a constant for one item."""

    def __init__(self, fixed):
        super().__init__()
        self.gru, self.fixed = nn.GRU(4, 5, batch_first=True), fixed

    def forward(self, x):
        items = 1 if self.fixed else x.shape[0]
        return self.gru(x, torch.full((1, items, 5), 0.25))[0]


def exported(module, example, dynamic=None):
    with tempfile.TemporaryDirectory() as folder:
        torch.onnx.export(
            module, example, f"{folder}/m.onnx", dynamo=False, opset_version=12, input_names=["x"], dynamic_axes=dynamic
        )
        return read_graph(Path(folder, "m.onnx"))


def dims(values):
    return [[dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim] for value in values]


def described(name, model, size, samples, golden=None, runs=3):
    """Give `model` the batch; compare with `golden`, one array per output for `samples`."""
    try:
        done = edit(model, {"batch": size}, [{key: array[:1] for key, array in samples.items()}])
    except Refused as error:
        found[name] = {"class": type(error).__name__, "message": error.message, "remedy": error.remedy}
        return None
    got = {
        "inputs": dims(done.model.graph.input),
        "outputs": dims(done.model.graph.output),
        "operators": [item.op_type for item in done.model.graph.node],
        "lines": done.lines,
    }
    if golden is not None:
        outputs = list(opened(done.model)(samples).values())
        got["shapes"] = [list(array.shape) == list(other.shape) for array, other in zip(outputs, golden, strict=True)]
        got["error"] = max(float(np.abs(array - other).max()) for array, other in zip(outputs, golden, strict=True))
    found[name] = got
    return done


def from_torch(name, make, shape):
    torch.manual_seed(1)
    fixed = make(True).eval()
    free = make(False).eval()
    free.load_state_dict(fixed.state_dict())
    model = exported(fixed, torch.rand(1, *shape))
    for size, items in ((4, 4), ("batch", 3), ("batch", 1)):
        x = torch.from_numpy(rng.standard_normal((items, *shape), dtype=np.float32))
        with torch.no_grad():
            golden = free(x)
        golden = [array.numpy() for array in (golden if isinstance(golden, tuple) else (golden,))]
        described(f"{name} {size} of {items}", model, size, {"x": x.numpy()}, golden)
    done = edit(model, {"batch": 4}, [])
    x = rng.standard_normal((2, *shape), dtype=np.float32)
    with torch.no_grad():
        golden = free(torch.from_numpy(x))
    golden = [array.numpy() for array in (golden if isinstance(golden, tuple) else (golden,))]
    described(f"{name} 4, then 2", done.model, 2, {"x": x}, golden)
    described(
        f"{name} 4, then batch",
        done.model,
        "batch",
        {"x": np.concatenate([x, x])},
        [np.concatenate([array, array]) for array in golden],
    )
    return model


mesh = from_torch("mesh", Mesh, (3, 8, 8))
from_torch("shapes", Shapes, (3, 6, 6))
from_torch("recurrent", Recurrent, (7, 4))

# Bit for bit with single runs of the same file, in numpy, and different items.
done = edit(mesh, {"batch": 4}, [])
items = rng.standard_normal((4, 3, 8, 8), dtype=np.float32)
alone = [opened(mesh)({"x": items[i : i + 1]}) for i in range(4)]
together = opened(done.model)({"x": items})
found["bit for bit"] = [
    bool(np.array_equal(np.concatenate([one[name] for one in alone]), array)) for name, array in together.items()
]
found["items differ"] = bool(not np.array_equal(together[next(iter(together))][0], together[next(iter(together))][1]))
found["reference"] = all(
    np.array_equal(array, together[name]) for name, array in done.reference(opened(mesh))({"x": items}).items()
)
found["source unchanged"] = dims(mesh.graph.input)


def graph(nodes, shape, outputs, weights=(), opset=13, dtype=TensorProto.FLOAT):
    inputs = [helper.make_tensor_value_info("x", dtype, shape)]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in outputs.items()]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(weights).items()]
    made = helper.make_graph(nodes, "g", inputs, results, tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


node = helper.make_node
x3 = rng.standard_normal((3, 4, 6), dtype=np.float32)

# A channel that is 1 too: the batch is the first axis, the other 1 stays.
channel = graph([node("Reshape", ["x", "s"], ["y"])], [1, 1, 6], {"y": [1, 6, 1]}, {"s": np.array([1, 6, 1])})
described("channel", channel, "batch", {"x": x3[:, :1]}, [x3[:, :1].reshape(3, 6, 1)])
# Merged into the rows: 4 rows for each item.
rows = graph([node("Reshape", ["x", "s"], ["y"])], [1, 4, 6], {"y": [4, 6]}, {"s": np.array([4, 6])})
described("rows 3", rows, 3, {"x": x3}, [x3.reshape(12, 6)])
described("rows batch", rows, "batch", {"x": x3}, [x3.reshape(12, 6)])
# A chain that folds only in part: [1, Shape(x)[1], -1].
chain = graph(
    [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "one"], ["rows"]),
        node("Concat", ["one", "rows", "minus"], ["s"], axis=0),
        node("Reshape", ["x", "s"], ["y"]),
    ],
    [1, 4, 2, 3],
    {"y": [1, 4, 6]},
    {"one": np.array([1]), "minus": np.array([-1])},
)
described("chain", chain, "batch", {"x": x3.reshape(3, 4, 2, 3)}, [x3])
described("chain 3", chain, 3, {"x": x3.reshape(3, 4, 2, 3)}, [x3])
# A Slice that names the batch as its end, with attributes (opset 9).
sliced = graph(
    [node("Slice", ["x"], ["y"], starts=[0, 1], ends=[1, 3], axes=[0, 1])], [1, 4, 6], {"y": [1, 2, 6]}, opset=9
)
described("slice", sliced, "batch", {"x": x3}, [x3[:, 1:3]])
# Two axes that change places.
turned = graph(
    [node("Transpose", ["x"], ["t"], perm=[1, 0, 2]), node("Reshape", ["t", "s"], ["y"])],
    [1, 4, 6],
    {"y": [4, 1, 2, 3]},
    {"s": np.array([4, 1, 2, 3])},
)
described("turned", turned, 3, {"x": x3}, [x3.transpose(1, 0, 2).reshape(4, 3, 2, 3)])
# A constant with a row for each of two items.
pair = graph([node("Add", ["x", "c"], ["y"])], [2, 4], {"y": [2, 4]}, {"c": np.ones((2, 4), np.float32)})
described("pair", pair, 3, {"x": x3[:, :, 0]}, [x3[:, :, 0] + 1])
# An Expand and a Resize that state two items, and a GRU whose initial state is a weight for one.
expand = graph([node("Expand", ["x", "s"], ["y"])], [2, 1, 6], {"y": [2, 4, 6]}, {"s": np.array([2, 4, 6])})
described("expand 3", expand, 3, {"x": x3[:, :1]}, [np.repeat(x3[:, :1], 4, 1)])
described("expand batch", expand, "batch", {"x": x3[:, :1]}, [np.repeat(x3[:, :1], 4, 1)])
resize = graph(
    [node("Resize", ["x", "", "", "s"], ["y"], mode="nearest", coordinate_transformation_mode="asymmetric")],
    [1, 4, 6],
    {"y": [1, 4, 12]},
    {"s": np.array([1, 4, 12])},
)
described("resize 3", resize, 3, {"x": x3}, [np.repeat(x3, 2, 2)])
described("resize batch", resize, "batch", {"x": x3}, [np.repeat(x3, 2, 2)])
torch.manual_seed(2)
gru = nn.GRU(6, 5)
weights = {key: value.detach().numpy() for key, value in gru.named_parameters()}


def gates(array):
    """Put the gates of PyTorch (reset, update, new) into ONNX's order (update, reset, new)."""
    return np.concatenate([array[5:10], array[:5], array[10:]])[None]


state = rng.standard_normal((1, 1, 5), dtype=np.float32)
bias = np.concatenate([gates(weights["bias_ih_l0"]), gates(weights["bias_hh_l0"])], 1)
recurrent = graph(
    [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node("GRU", ["t", "w", "r", "b", "", "h"], ["", "last"], hidden_size=5, linear_before_reset=1),
        node("Transpose", ["last"], ["y"], perm=[1, 0, 2]),
    ],
    [1, 4, 6],
    {"y": [1, 1, 5]},
    {"w": gates(weights["weight_ih_l0"]), "r": gates(weights["weight_hh_l0"]), "b": bias, "h": state},
)
with torch.no_grad():
    last = gru(torch.from_numpy(x3.transpose(1, 0, 2).copy()), torch.from_numpy(np.repeat(state, 3, 1)))[1]
described("gru 3", recurrent, 3, {"x": x3}, [last.numpy().transpose(1, 0, 2)])
described("gru batch", recurrent, "batch", {"x": x3}, [last.numpy().transpose(1, 0, 2)])
# A graph inside a node.
then = helper.make_graph(
    [node("Reshape", ["x", "s"], ["a"])],
    "then",
    [],
    [helper.make_tensor_value_info("a", 1, [1, 24])],
    [numpy_helper.from_array(np.array([1, 24]), "s")],
)
other = helper.make_graph(
    [node("Neg", ["x"], ["n"]), node("Flatten", ["n"], ["b"])],
    "else",
    [],
    [helper.make_tensor_value_info("b", 1, [1, 24])],
)
branch = graph(
    [node("If", ["yes"], ["y"], then_branch=then, else_branch=other)],
    [1, 4, 6],
    {"y": [1, 24]},
    {"yes": np.array(True)},
)
described("branch 3", branch, 3, {"x": x3}, [x3.reshape(3, 24)])
described("branch batch", branch, "batch", {"x": x3}, [x3.reshape(3, 24)])
# Refused, each with its node.
for name, nodes, outputs, weights in [
    ("squeezed", [node("Squeeze", ["x", "zero"], ["y"], name="drop")], {"y": [4, 6]}, {"zero": np.array([0])}),
    ("averaged", [node("ReduceMean", ["x"], ["y"], name="average", axes=[0])], {"y": [1, 4, 6]}, {}),
    ("picked", [node("Gather", ["x", "zero"], ["y"], name="pick", axis=0)], {"y": [4, 6]}, {"zero": np.array(0)}),
    (
        "minor",
        [node("Transpose", ["x"], ["t"], perm=[1, 0, 2]), node("Reshape", ["t", "s"], ["y"], name="mix")],
        {"y": [2, 12]},
        {"s": np.array([2, 12])},
    ),
    ("mixed", [node("Softmax", ["x"], ["y"], name="over items", axis=0)], {"y": [1, 4, 6]}, {}),
    ("joined", [node("Concat", ["x", "x"], ["y"], name="join", axis=0)], {"y": [2, 4, 6]}, {}),
    (
        "sized by values",
        [node("NonZero", ["x"], ["n"], name="count"), node("Cast", ["n"], ["y"], to=1)],
        {"y": [3, None]},
        {},
    ),
]:
    described(name, graph(nodes, [1, 4, 6], outputs, weights), 3, {"x": x3})
found["in letters"] = dims(edit(channel, {"batch": "4"}, []).model.graph.input)
for value in (0, -1, True, 1.5, "", "a b", None):
    described(f"wish {value!r}", channel, value, {"x": x3[:, :1]})
same = edit(channel, {"batch": 1}, [])
found["same"] = list(same.lines)

# Real files, there and back.
if data:
    for file in sorted((data / "weights").glob("*.onnx")):
        model = read_graph(file)
        value = next(item for item in model.graph.input)
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        sample = rng.uniform(0, 1, (2, *shape[1:])).astype(np.float32)
        runtime = opened(model)
        golden = [
            np.concatenate(pair)
            for pair in zip(*(runtime({value.name: sample[i : i + 1]}).values() for i in range(2)), strict=True)
        ]
        two = described(f"{file.stem} 2", model, 2, {value.name: sample}, golden)
        free = described(f"{file.stem} 2, then batch", two.model, "batch", {value.name: sample}, golden)
        one = edit(free.model, {"batch": 1}, [{value.name: sample[:1]}])
        found[f"{file.stem} and back"] = [
            bool(np.array_equal(a, b))
            for a, b in zip(
                opened(one.model)({value.name: sample[:1]}).values(), (array[:1] for array in golden), strict=True
            )
        ]
        found["opset"] = opset_of(one.model)
print(json.dumps(found))
