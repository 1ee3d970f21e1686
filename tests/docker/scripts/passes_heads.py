"""Detection heads: four dimensions, boxes apart from scores, the decode cut off. Prints JSON.

What is right is computed by numpy from the raw heads that PyTorch gives.
"""

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
from passes.edit import shapes_of
from passes.proof import opened, tapped
from torch import nn

data = Path(sys.argv[1]) if len(sys.argv) > 1 else None
found = {}
rng = np.random.default_rng(0)
SIDE, STRIDES, ANCHORS = 96, (8, 16), ([[4, 5], [8, 10], [13, 16]], [[23, 29], [43, 55], [73, 105]])


def grid(side):
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack((x, y), 2).view(1, 1, side, side, 2).float()


class Head(nn.Module):
    """Upstream's way: five dimensions, and scores joined with raw landmarks before both are sliced apart again."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 48, stride, stride) for stride in STRIDES)

    def heads(self, picture):
        return [conv(picture) for conv in self.convs]

    def forward(self, picture):
        rows = []
        for head, stride, anchors in zip(self.heads(picture), STRIDES, ANCHORS, strict=True):
            items, side = head.shape[0], SIDE // stride
            x = head.view(items, 3, 16, side, side).permute(0, 1, 3, 4, 2).contiguous()
            size, cells = torch.tensor(anchors).view(1, 3, 1, 1, 2).float(), grid(side)
            y = torch.cat((x[..., :5].sigmoid(), x[..., 5:15], x[..., 15:].sigmoid()), 4)
            centre = (y[..., 0:2] * 2 - 0.5 + cells) * stride
            extent = (y[..., 2:4] * 2) ** 2 * size
            marks = [y[..., i : i + 2] * size + cells * stride for i in range(5, 15, 2)]
            y = torch.cat((centre, extent, y[..., 4:5], *marks, y[..., 15:]), 4)
            rows.append(y.view(items, -1, 16))
        return torch.cat(rows, 1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def golden(heads):
    """Decode raw heads, cell by cell, in float64."""
    rows = []
    for head, stride, anchors in zip(heads, STRIDES, ANCHORS, strict=True):
        side = SIDE // stride
        for items in range(1):
            for anchor in range(3):
                for y in range(side):
                    for x in range(side):
                        raw = head[items, anchor * 16 : anchor * 16 + 16, y, x]
                        size, cell = np.array(anchors[anchor]), np.array([x, y])
                        row = np.empty(16)
                        row[0:2] = (sigmoid(raw[0:2]) * 2 - 0.5 + cell) * stride
                        row[2:4] = (sigmoid(raw[2:4]) * 2) ** 2 * size
                        row[4], row[15] = sigmoid(raw[4:5])[0], sigmoid(raw[15:])[0]
                        row[5:15] = (raw[5:15].reshape(5, 2) * size + cell * stride).reshape(10)
                        rows.append(row)
    return np.array(rows)[None]


def refusal(model, wishes, samples=()):
    try:
        edit(model, wishes, list(samples))
    except Refused as error:
        return [type(error).__name__, error.message, error.remedy]
    return None


def checked(model):
    with tempfile.TemporaryDirectory() as folder:
        write_graph(infer_shapes(model), Path(folder))
        check_graph(Path(folder, "model.onnx"), model.opset_import[0].version)


def ranks(model):
    return max(len(shape) for shape in shapes_of(infer_shapes(model)).values())


def mixtures(model, sample):
    """Run the graph, and name what joins pixels with what stays under 1, but for the outputs."""
    names = [
        name for node in model.graph.node for name in (*node.input, *node.output) if name and node.op_type == "Concat"
    ]
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    inside = [name for name in dict.fromkeys(names) if name not in weights]
    arrays = {**weights, **opened(tapped(model, inside), inside)(sample)}
    outputs = {value.name for value in model.graph.output}
    mixed = []
    for node in model.graph.node:
        axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
        if node.op_type != "Concat" or node.output[0] in outputs or arrays[node.output[0]].dtype.kind != "f":
            continue
        if axis % arrays[node.output[0]].ndim == arrays[node.output[0]].ndim - 1:
            largest = [float(np.abs(arrays[name]).max()) for name in node.input]
            if min(largest) <= 1 < max(largest):
                mixed.append(node.output[0])
    return mixed


torch.manual_seed(0)
net = Head().eval()
with torch.no_grad():
    for conv in net.convs:
        conv.weight *= 6
        conv.bias.copy_(torch.randn(48))
x = rng.uniform(-2, 2, (1, 3, SIDE, SIDE)).astype(np.float32)
with torch.no_grad():
    raw = [head.numpy() for head in net.heads(torch.from_numpy(x))]
right = golden(raw)
with tempfile.TemporaryDirectory() as folder:
    torch.onnx.export(
        net,
        torch.from_numpy(x),
        f"{folder}/m.onnx",
        dynamo=False,
        opset_version=12,
        input_names=["x"],
        output_names=["out"],
    )
    model = read_graph(Path(folder, "m.onnx"))
model = edit(model, {"constants": True}, [{"x": x}]).model
sample = {"x": x}
scale = np.where([column in (4, 15) for column in range(16)], 1, 1 / SIDE)


def outputs(done, items=x):
    checked(done.model)
    return opened(done.model)({"x": items})


found["before"] = {
    "rank": ranks(model),
    "mixtures": len(mixtures(model, sample)),
    "error": float(np.abs(opened(model)(sample)["out"] - right).max()),
}

# Four dimensions
done = edit(model, {"four_dimensions": True}, [sample])
found["four"] = {
    "rank": ranks(done.model),
    "equal": bool(np.array_equal(outputs(done)["out"], opened(model)(sample)["out"])),
    "error": float(np.abs(outputs(done)["out"] - right).max()),
    "lines": done.lines,
    "again": list(edit(done.model, {"four_dimensions": True}, []).lines),
}
done = edit(model, {"four_dimensions": True, "batch": "n"}, [sample])
twice = outputs(done, np.concatenate([x[..., ::-1], x]))["out"]
found["four, free"] = [ranks(done.model), float(np.abs(twice[1:] - right).max())]
node = helper.make_node


def five(nodes, outputs, weights=(), shape=(1, 6, 4, 4)):
    inputs = [helper.make_tensor_value_info("x", 1, shape)]
    results = [helper.make_tensor_value_info(name, 1, size) for name, size in outputs.items()]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(weights).items()]
    made = helper.make_graph(nodes, "g", inputs, results, tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


view = {"view": np.array([1, 2, 3, 4, 4])}
for name, nodes, size, weights in [
    (
        "kept",
        [node("Reshape", ["x", "view"], ["v"]), node("Transpose", ["v"], ["y"], perm=[0, 1, 3, 4, 2])],
        [1, 2, 4, 4, 3],
        view,
    ),
    (
        "shuffle",
        [
            node("Reshape", ["x", "view"], ["v"]),
            node("Transpose", ["v"], ["t"], perm=[0, 2, 1, 3, 4]),
            node("Reshape", ["t", "back"], ["y"]),
        ],
        [1, 6, 4, 4],
        {**view, "back": np.array([0, -1, 4, 4])},
    ),
    (
        "constant row",
        [
            node("Reshape", ["x", "view"], ["v"]),
            node("Add", ["v", "row"], ["s"]),
            node("Reshape", ["s", "back"], ["y"]),
        ],
        [1, 96],
        {**view, "row": rng.random((1, 1, 1, 1, 4), dtype=np.float32), "back": np.array([1, -1])},
    ),
    (
        "softmax",
        [
            node("Reshape", ["x", "view"], ["v"]),
            node("Softmax", ["v"], ["s"], axis=2),
            node("Reshape", ["s", "back"], ["y"]),
        ],
        [1, 96],
        {**view, "back": np.array([1, -1])},
    ),
]:
    toy = five(nodes, {"y": size}, weights)
    value = rng.random((1, 6, 4, 4), dtype=np.float32)
    done = edit(toy, {"four_dimensions": True}, [{"x": value}])
    checked(done.model)
    before, after = opened(toy)({"x": value})["y"], opened(done.model)({"x": value})["y"]
    found[f"five {name}"] = [
        ranks(done.model),
        bool(np.array_equal(before.reshape(-1), after.reshape(-1))),
        list(after.shape),
    ]
crossed = [
    node("Reshape", ["x", "view"], ["v"]),
    node("Transpose", ["v"], ["t"], perm=[4, 2, 0, 3, 1], name="cross"),
    node("Reshape", ["t", "back"], ["y"]),
]
found["five crossed"] = refusal(
    five(crossed, {"y": [1, 96]}, {**view, "back": np.array([1, -1])}), {"four_dimensions": True}
)
mean = [node("Reshape", ["x", "view"], ["v"]), node("ReduceMean", ["v"], ["y"], axes=[2], keepdims=0, name="mean")]
found["five unknown"] = refusal(five(mean, {"y": [1, 2, 4, 4]}, view), {"four_dimensions": True})
seen = [
    node("Reshape", ["x", "view"], ["v"]),
    node("Transpose", ["v"], ["t"], perm=[0, 1, 3, 4, 2]),
    node("Reshape", ["t", "view6"], ["y"], name="six"),
]
found["six"] = refusal(
    five(seen, {"y": [1, 2, 2, 2, 4, 3]}, {**view, "view6": np.array([1, 2, 2, 2, 4, 3])}), {"four_dimensions": True}
)

# Boxes apart from scores
normalised = edit(model, {"normalise_boxes": True}, [sample])
got = outputs(normalised)["out"]
found["normalised"] = {
    "error": float(np.abs(got - right * scale).max()),
    "facts": normalised.facts["normalise_boxes"],
    "mixtures": mixtures(normalised.model, sample),
    "largest": float(np.abs(got).max()),
    "reference": bool(np.array_equal(normalised.reference(opened(model))(sample)["out"], got)),
    "nodes": [sum(count_nodes(item).values()) for item in (model, normalised.model)],
    "lines": normalised.lines,
}
told = edit(model, {"normalise_boxes": {"columns": {"out": [[0, 2]]}, "factor": 10}}, [sample])
part = np.where(np.arange(16) < 2, 0.1, 1)
found["told"] = float(np.abs(outputs(told)["out"] - right * part).max())
parts = edit(model, {"split_outputs": True}, [sample])
got = outputs(parts)
found["split"] = {
    "names": list(got),
    "mixtures": mixtures(parts.model, sample),
    "facts": parts.facts["split_outputs"],
    "error": float(np.abs(np.concatenate(list(got.values()), 2) - right).max()),
}
named = edit(model, {"split_outputs": {"out": {"scores": [4, 5], "boxes": [0, 4]}}}, [sample])
got = outputs(named)
found["named"] = [
    list(got),
    float(np.abs(got["scores"] - right[..., 4:5]).max()),
    float(np.abs(got["boxes"] - right[..., :4]).max()),
]
both = edit(model, {"normalise_boxes": True, "split_outputs": True, "four_dimensions": True, "batch": "n"}, [sample])
got = outputs(both, np.concatenate([x, x[..., ::-1]]))
joined = np.concatenate(list(got.values()), 2)[:1]
found["all"] = {
    "error": float(np.abs(joined - right * scale).max()),
    "rank": ranks(both.model),
    "mixtures": mixtures(both.model, sample),
}
for name, wishes in {
    "no such output": {"normalise_boxes": {"columns": {"boxes": [[0, 4]]}}},
    "too many": {"normalise_boxes": {"columns": {"out": [[0, 17]]}, "factor": 10}},
    "not understood": {"normalise_boxes": 640},
    "twice": {"split_outputs": {"out": {"a": [0, 4], "b": [3, 5]}}},
    "beyond": {"split_outputs": {"out": {"a": [0, 40]}}},
    "taken": {"split_outputs": {"out": {"x": [0, 4]}}},
    "no such split": {"split_outputs": {"boxes": {"a": [0, 4]}}},
}.items():
    found[name] = refusal(model, wishes, [sample])
flat = five([node("Sigmoid", ["x"], ["y"])], {"y": [1, 6, 4, 4]})
unsized = five([node("NonZero", ["x"], ["n"]), node("Cast", ["n"], ["y"], to=1)], {"y": [4, None]})
found["unsized"] = refusal(unsized, {"normalise_boxes": {"columns": {"y": [[0, 1]]}, "factor": 2}})
found["nothing to split"] = refusal(flat, {"split_outputs": True})
found["nothing to normalise"] = refusal(flat, {"normalise_boxes": True})
strange = five(
    [
        node("Sigmoid", ["x"], ["s"]),
        node("Concat", ["s", "x"], ["c"], axis=3),
        node("Einsum", ["c"], ["y"], equation="abcd->abcd", name="stop"),
    ],
    {"y": [1, 6, 4, 8]},
)
found["stopped"] = edit(strange, {"normalise_boxes": {"columns": {"y": [[4, 8]]}, "factor": 2}}, []).lines

# The decode cut off
done = edit(model, {"cut_decode": True}, [sample])
got = outputs(done)
found["cut"] = {
    "error": max(float(np.abs(array - head).max()) for array, head in zip(got.values(), raw, strict=True)),
    "operators": count_nodes(done.model),
    "heads": done.facts["cut_decode"]["heads"],
    "decoded": float(np.abs(golden(list(got.values())) - right).max()),
}
COLUMNS = [[0, 4], [4, 5], [5, 15], [15, 16]]
done = edit(model, {"cut_decode": {"columns": COLUMNS}}, [sample])
got, heads = outputs(done), done.facts["cut_decode"]["heads"]
whole = []
for head, wanted in zip(heads, raw, strict=True):
    batch, channels, height, width = wanted.shape
    joined = np.empty((batch, channels // 16, 16, height, width), np.float32)
    for part, (start, stop) in head["parts"].items():
        joined[:, :, start:stop] = got[part].reshape(batch, channels // 16, stop - start, height, width)
    whole.append(joined.reshape(wanted.shape))
found["parts"] = {
    "error": max(float(np.abs(one - other).max()) for one, other in zip(whole, raw, strict=True)),
    "operators": count_nodes(done.model),
    "shapes": {name: list(array.shape) for name, array in got.items()},
    "parts": [head["parts"] for head in heads],
    "weights": [sum(int(np.prod(t.dims)) for t in item.model.graph.initializer)
                for item in (done, edit(model, {"cut_decode": True}, [sample]))],
}
for name, wish in (
    ("half columns", {"columns": [[0, 4], [5, 16]]}),
    ("other order", {"columns": [[4, 16], [0, 4]]}),
    ("no columns", {"columns": []}),
    ("no words", {"columns": "all"}),
    ("other key", {"rows": [[0, 16]]}),
    ("no multiple", {"columns": [[0, 4], [4, 7]]}),
):
    found[name] = refusal(model, {"cut_decode": wish})
found["no decode"] = list(
    edit(
        five([node("Conv", ["x", "w"], ["y"])], {"y": [1, 1, 4, 4]}, {"w": np.ones((1, 6, 1, 1), np.float32)}),
        {"cut_decode": True},
        [],
    ).lines
)
found["no heads"] = refusal(flat, {"cut_decode": True})

if data:
    heads = read_graph(data / "weights" / "yolov5n-0.5-face.upstream-heads.onnx")
    picture = {"data": rng.uniform(0, 1, (1, 3, 640, 640)).astype(np.float32)}
    done = edit(heads, {"constants": True, "four_dimensions": True}, [picture])
    found["upstream"] = [
        ranks(edit(heads, {"constants": True}, []).model),
        ranks(done.model),
        [
            bool(np.array_equal(a.reshape(-1), b.reshape(-1)))
            for a, b in zip(opened(heads)(picture).values(), opened(done.model)(picture).values(), strict=True)
        ],
        done.facts["four_dimensions"],
    ]
    ultra = read_graph(data / "weights" / "ultraface-slim-320.onnx")
    done = edit(ultra, {"cut_decode": True}, [])
    found["ultraface"] = [count_nodes(done.model), sorted(item["stride"] for item in done.facts["cut_decode"]["heads"])]
print(json.dumps(found))
