"""Hold graphs against a target's operators in the onnx toolchain; print what was found as JSON."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from graph import read_graph
from lint import lines, lint
from onnx import TensorProto, helper, numpy_helper
from operators import read_operators
from torch import nn

root = Path(sys.argv[1])
DOCUMENT = json.loads(sys.argv[2])
OPERATORS = read_operators(DOCUMENT, "TNN")
found = {}


def seen(model, operators=OPERATORS):
    before = model.SerializeToString()
    findings = list(lint(model, operators))
    assert model.SerializeToString() == before, "lint changed the graph"
    return {"findings": [finding.document() for finding in findings], "lines": list(lines(findings))}


def graph(nodes, inputs, weights=(), opset=12, outputs=("y",), domains=()):
    """Make a graph of `nodes` whose inputs are given as shapes."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    results = [helper.make_value_info(name, helper.make_tensor_type_proto(TensorProto.FLOAT, None)) for name in outputs]
    tensors = [numpy_helper.from_array(array, name) for name, array in dict(weights).items()]
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    return helper.make_model(helper.make_graph(nodes, "toy", values, results, tensors), opset_imports=imports)


def node(operator, *inputs, name="", outputs=("y",), **attributes):
    names = list(inputs or ("x",))
    return helper.make_node(operator, names, list(outputs), name=name or operator.lower(), **attributes)


def exported(module, *inputs, opset=12):
    path = root / f"{type(module).__name__}.onnx"
    torch.onnx.export(module.eval(), inputs, str(path), opset_version=opset, dynamo=False, do_constant_folding=True)
    return read_graph(path)


class Head(nn.Module):
    """The head of yolov5: three levels, each seen as five dimensions."""

    def __init__(self, sizes):
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(4, 3 * 6, 1) for _ in sizes)
        self.sizes = sizes

    def forward(self, *levels):
        seen = []
        for convolution, level, size in zip(self.convolutions, levels, self.sizes, strict=True):
            raw = convolution(level).view(1, 3, 6, size, size).permute(0, 1, 3, 4, 2)
            whole = torch.cat((raw[..., 0:2].sigmoid() * 2, raw[..., 2:6].sigmoid()), -1)
            seen.append(whole.view(1, 3 * size * size, 6))
        return torch.cat(seen, 1)


class Summed(nn.Module):
    def forward(self, x):
        return torch.cumsum(x, 1)


class Sampled(nn.Module):
    def forward(self, x, grid):
        return nn.functional.grid_sample(x, grid, align_corners=False)


class First(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *inputs):
        result = self.inner(*inputs)
        return result[0] if isinstance(result, tuple) else result


PICTURE = torch.rand(1, 3, 8, 8)
POOL = {"kernel_shape": [3, 3], "strides": [2, 2]}

for name, module, inputs, opset in [
    ("average, padded", nn.AvgPool2d(3, 2, 1), (PICTURE,), 12),
    ("average, padding not counted", nn.AvgPool2d(3, 2, 1, count_include_pad=False), (PICTURE,), 12),
    ("average, no padding", nn.AvgPool2d(3, 2), (PICTURE,), 12),
    ("average, padded before", nn.Sequential(nn.ConstantPad2d(1, 0.0), nn.AvgPool2d(3, 2)), (PICTURE,), 12),
    ("yolov5 head", Head((4, 2, 1)), tuple(torch.rand(1, 4, size, size) for size in (4, 2, 1)), 12),
    ("gru", First(nn.GRU(4, 5)), (torch.rand(3, 1, 4),), 12),
    ("lstm", First(nn.LSTM(4, 5)), (torch.rand(3, 1, 4),), 12),
    ("cumsum", Summed(), (torch.rand(2, 3),), 12),
    ("grid sample", Sampled(), (PICTURE, torch.rand(1, 4, 4, 2)), 16),
    ("bicubic", nn.Upsample(scale_factor=2, mode="bicubic"), (PICTURE,), 12),
    ("bilinear", nn.Upsample(scale_factor=2, mode="bilinear"), (PICTURE,), 12),
    ("nearest", nn.Upsample(scale_factor=2, mode="nearest"), (PICTURE,), 12),
    ("max, dilated", nn.MaxPool2d(3, 2, dilation=2), (PICTURE,), 12),
    ("convolution", nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1)), (PICTURE,), 12),
]:
    found[name] = seen(exported(module, *inputs, opset=opset))

for operator in ("Mod", "GatherElements", "Unique", "Or", "Gelu", "Einsum", "Loop", "Relu", "DepthToSpace", "HDRGuide"):
    found[operator] = seen(graph([node(operator)], {"x": [1, 3]}))

axes = {"axes": np.array([1])}
found["same upper"] = seen(
    graph([node("AveragePool", auto_pad="SAME_UPPER", count_include_pad=1, **POOL)], {"x": [1, 3, 8, 8]})
)
found["same lower"] = seen(graph([node("MaxPool", auto_pad="SAME_LOWER", **POOL)], {"x": [1, 3, 8, 8]}))
found["uneven"] = seen(graph([node("MaxPool", pads=[0, 0, 1, 1], **POOL)], {"x": [1, 3, 8, 8]}))
found["sum, axes as input"] = seen(graph([node("ReduceSum", "x", "axes")], {"x": [1, 3]}, axes, opset=13))
found["sum, all axes"] = seen(graph([node("ReduceSum", "x")], {"x": [1, 3]}, opset=13))
found["sum, opset 12"] = seen(graph([node("ReduceSum", "x", axes=[1])], {"x": [1, 3]}))
found["pad, constant"] = seen(graph([node("Pad", "x", "pads")], {"x": [1, 3]}, {"pads": np.array([0, 1, 0, 1])}))
found["pad, computed"] = seen(graph([node("Pad", "x", "pads")], {"x": [1, 3], "pads": [4]}))
constant = helper.make_node("Constant", [], ["pads"], value=numpy_helper.from_array(np.array([0, 1, 0, 1])))
found["pad, a constant node"] = seen(graph([constant, node("Pad", "x", "pads")], {"x": [1, 3]}))
found["lstm, lengths"] = seen(
    graph([node("LSTM", "x", "w", "r", "", "n", hidden_size=2)], {"x": [3, 1, 4], "n": [1]}, {"w": axes["axes"]})
)
fused = helper.make_node("FusedConv", ["x"], ["y"], name="f", domain="com.maker")
found["foreign"] = seen(graph([fused], {"x": [1]}, domains=["com.maker"]))
folded = [
    node("Shape", "x", name="s", outputs=("s",)),
    node("Mod", "s", "n", name="m", outputs=("m",)),
    node("ConstantOfShape", "m", name="c", outputs=("c",)),
    node("Mul", "x", "c"),
]
n = {"n": np.array([7, 7])}
found["folded"] = seen(graph(folded, {"x": [1, 3]}, n))
found["not folded"] = seen(graph(folded, {"x": ["batch", 3]}, n))
found["random"] = seen(graph([node("RandomNormalLike", "n", outputs=("r",)), node("Mod", "r", "n")], {"x": [1]}, n))
found["resized volume"] = seen(
    graph([node("Resize", "x", "", "s", mode="linear")], {"x": [1, 1, 2, 2, 2]}, {"s": np.ones(5, np.float32)})
)
then = helper.make_graph([node("Mod", "x", "x", name="inside")], "then", [], [onnx.ValueInfoProto(name="y")])
found["inside"] = seen(graph([node("If", "c", then_branch=then, else_branch=then)], {"x": [1], "c": []}))
# The shapes contradict each other: nothing is known of ranks, and everything else is still found.
broken = graph([node("Reshape", "x", "s", outputs=("z",)), node("Mod", "z", "z")], {"x": [1, 3]}, {"s": np.array([7])})
found["broken"] = seen(broken)
found["nameless"] = seen(graph([helper.make_node("Mod", ["x", "x"], ["y"])], {"x": [1]}))
many = [node("Tanh", f"v{i}", outputs=(f"v{i + 1}",), name=f"t{i}") for i in range(7)]
found["many"] = seen(graph(many, {"v0": [1, 1, 1, 1, 1]}, outputs=("v7",)))

standard = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
found["unknown names"] = sorted(set(DOCUMENT["takes"]) - standard)
found["unknown in rules"] = sorted({n for r in DOCUMENT["rules"] for n in r.get("operators", [])} - standard)
wrong = {}
for name, entry in {"level": {"level": "stop"}, "kind": {"when": {"inputs": {"0": "maybe"}}}}.items():
    try:
        rule = {"operators": ["Add"], "reason": "r", "remedy": "r", **entry}
        read_operators({"takes": ["Add"], "remedy": "r", "rules": [rule]}, "toy")
    except ValueError as error:
        wrong[name] = str(error)
found["wrong"] = wrong
print(json.dumps(found))
