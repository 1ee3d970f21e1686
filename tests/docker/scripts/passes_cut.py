"""Cut, fold, drop, compare; and edits that must not be proven. Prints JSON; numpy and real files say what is right."""

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import passes
from graph import check_graph, count_nodes, infer_shapes, read_graph, write_graph
from jobkit import Refused
from onnx import helper, numpy_helper
from passes import edit
from passes.change import ROUNDING, Change, Limit
from passes.diff import compare_graphs
from passes.proof import opened, prove, random_samples

work = Path(sys.argv[1])
data = Path(sys.argv[2]) if len(sys.argv) > 2 else None
found = {}
rng = np.random.default_rng(0)
node = helper.make_node


def graph(nodes, outputs, weights, inputs=None, opset=13):
    values = [helper.make_tensor_value_info(name, 1, shape) for name, shape in (inputs or {"x": [2, 6]}).items()]
    results = [helper.make_tensor_value_info(name, 1, shape) for name, shape in outputs.items()]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    made = helper.make_graph(nodes, "g", values, results, tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def refusal(action):
    try:
        action()
    except Refused as error:
        return [type(error).__name__, error.message, error.remedy]
    return None


def checked(model):
    """Check the file that would be written, strictly."""
    model = infer_shapes(model)
    write_graph(model, work)
    check_graph(work / "model.onnx", model.opset_import[0].version)


x = rng.standard_normal((2, 6), dtype=np.float32)
w = rng.standard_normal((6, 4), dtype=np.float32)
two = graph(
    [
        node("MatMul", ["x", "w"], ["features"], name="body"),
        node("Relu", ["features"], ["kept"], name="relu"),
        node("Mul", ["kept", "half"], ["scaled"], name="scale"),
        node("Neg", ["scaled"], ["a"], name="end a"),
        node("MatMul", ["features", "v"], ["b"], name="end b"),
    ],
    {"a": [2, 4], "b": [2, 3]},
    {"w": w, "half": np.float32(0.5), "v": np.ones((4, 3), np.float32)},
)


def cut(name, model=two, **wish):
    done = edit(model, wish, [{"x": x}])
    checked(done.model)
    outputs = opened(done.model)({"x": x})
    found[name] = {
        "outputs": {key: array.tolist() for key, array in outputs.items()},
        "lines": done.lines,
        "nodes": [item.name for item in done.model.graph.node],
        "taps": done.taps,
        "weights": sorted(item.name for item in done.model.graph.initializer),
    }
    return done


found["golden"] = {"features": (x @ w).tolist(), "relu": np.maximum(x @ w, 0).tolist(), "b": (x @ w).sum(1).tolist()}
cut("keep an output", keep=["b"])
cut("keep a tensor", keep=["features"])
cut("keep both", keep=["kept", "b"])
cut("remove a branch", remove=["scale"])
cut("remove and keep", remove=["scale"], keep=["a"])
cut("remove by tensor", remove=["scaled"])
cut("keep all", keep=["a", "b"])
for name, wish in {
    "no such tensor": {"keep": ["featurs"]},
    "no such node": {"remove": ["scail"]},
    "everything": {"remove": ["body"]},
    "taken away": {"remove": ["scale"], "keep": ["scaled"]},
    "no such pass": {"kep": ["a"]},
}.items():
    found[name] = refusal(lambda wish=wish: edit(two, wish, [{"x": x}]))

# Folding
folding = graph(
    [
        node("Constant", [], ["c"], value=numpy_helper.from_array(np.float32(3))),
        node("Add", ["c", "one"], ["four"]),
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "i"], ["d"]),
        node("Concat", ["d", "i1"], ["shape"], axis=0),
        node("Mul", ["x", "four"], ["m"]),
        node("Reshape", ["m", "shape"], ["r"]),
        node("RandomNormal", [], ["noise"], shape=[1], seed=1.0),
        node("Mul", ["noise", "zero"], ["nothing"]),
        node("Add", ["r", "nothing"], ["y"]),
    ],
    {"y": [2, 6]},
    {
        "one": np.float32(1),
        "zero": np.float32(0),
        "i": np.array([0]),
        "i1": np.array([-1]),
        "never": np.ones(3, np.float32),
    },
)
done = edit(folding, {"constants": True}, [{"x": x}])
checked(done.model)
found["folded"] = {
    "operators": count_nodes(done.model),
    "lines": done.lines,
    "right": bool(np.array_equal(opened(done.model)({"x": x})["y"], x * 4)),
}
done = edit(folding, {"unused": True}, [{"x": x}])
found["unused"] = {"weights": sorted(item.name for item in done.model.graph.initializer), "lines": done.lines}
found["not folded"] = list(edit(folding, {"constants": False, "unused": False}, []).lines)
big = graph(
    [node("ConstantOfShape", ["s"], ["ones"]), node("Add", ["x", "ones"], ["y"])],
    {"y": [1, 600, 600]},
    {"s": np.array([1, 600, 600])},
    {"x": [1, 600, 600]},
)
found["large"] = count_nodes(edit(big, {"constants": True}, []).model)
twice = graph(
    [
        node("Shape", ["x"], ["s"]),
        node("Reshape", ["x", "s"], ["a"]),
        node("Shape", ["a"], ["t"]),
        node("Reshape", ["a", "t"], ["y"]),
    ],
    {"y": [2, 6]},
    {},
)
found["folded twice"] = count_nodes(edit(twice, {"constants": True}, []).model)
free = graph([node("Shape", ["x"], ["s"]), node("Reshape", ["x", "s"], ["y"])], {"y": ["n", 6]}, {}, {"x": ["n", 6]})
found["free"] = count_nodes(edit(free, {"constants": True}, [{"x": x}]).model)

# Passes run in one order, whatever the recipe's.
both = [
    edit(two, wish, [{"x": x}]).model.SerializeToString(deterministic=True)
    for wish in ({"keep": ["kept"], "constants": True, "batch": 3}, {"batch": 3, "constants": True, "keep": ["kept"]})
]
found["one order"] = both[0] == both[1]


# Edits that are wrong must not pass
def altered(change):
    model = onnx.ModelProto()
    model.CopyFrom(two)
    change(model)
    return model


def weight(factor):
    def change(model):
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(w * np.float32(factor), "w"))

    return change


for name, change, limit in [
    ("same", weight(1), None),
    ("a little", weight(1 + 1e-6), None),
    ("a little, allowed", weight(1 + 1e-6), ROUNDING),
    ("too much", weight(1.001), ROUNDING),
    ("infinite", weight(np.inf), ROUNDING),
    ("renamed", lambda model: setattr(model.graph.output[1], "name", "scaled"), None),
    (
        "transposed",
        lambda model: (setattr(model.graph.node[4], "op_type", "Transpose"), model.graph.node[4].input.pop()),
        None,
    ),
]:
    made = Change(model=altered(change), lines=("x",), **({"limit": limit} if limit else {}))
    found[f"proof {name}"] = refusal(lambda made=made: prove("toy", two, made, [{"x": x}]))
fooled = Change(
    model=altered(
        lambda model: model.graph.initializer[0].CopyFrom(
            numpy_helper.from_array(np.where(np.arange(6)[:, None] == 5, w + 1, w), "w")
        )
    ),
    lines=("x",),
)
found["proof random inputs only"] = refusal(lambda: prove("toy", two, fooled, []))
blind = {"x": np.where(np.arange(6) == 5, 0, x).astype(np.float32)}
found["proof beyond the sample"] = refusal(lambda: prove("toy", two, fooled, [blind]))
found["samples"] = [
    prove("toy", two, Change(model=two), [{"x": x}] * 2).samples,
    str(prove("toy", two, Change(model=two), [])),
]
first, again = (list(random_samples(two, [{"x": x}])) for _ in range(2))
found["random"] = [
    bool(np.array_equal(first[0]["x"], again[0]["x"])),
    bool(np.array_equal(first[0]["x"], first[1]["x"])),
    bool(x.min() <= first[0]["x"].min() <= first[0]["x"].max() <= x.max()),
]
found["limit"] = str(Limit(relative=0.01, reason="half precision"))


# A wrong pass inside edit()
class Wrong:
    NAME = "unused"
    read = staticmethod(lambda value, model, samples: value)
    apply = staticmethod(lambda model, wish: Change(model=altered(weight(2)), lines=("doubled",)))


kept, passes.ORDER = passes.ORDER, (Wrong,)
found["proof in edit"] = refusal(lambda: edit(two, {"unused": True}, [{"x": x}]))
passes.ORDER = kept

# Differences
found["no difference"] = [bool(compare_graphs(two, two)), compare_graphs(two, two).text()]
other = altered(weight(2))
other.graph.node[1].op_type = "Sigmoid"
other.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
other.graph.node.append(node("Abs", ["b"], ["c"], name="new"))
other.graph.output[1].CopyFrom(helper.make_tensor_value_info("c", 1, [2, 3]))
other.opset_import[0].version = 14
difference = compare_graphs(two, other)
found["difference"] = {**json.loads(json.dumps(asdict(difference))), "text": difference.text()}

if data:
    folder = data / "weights"
    whole, bare = (read_graph(folder / f"ultraface-slim-320{end}.onnx") for end in ("", ".no-postprocess"))
    pictures = [{"input": rng.uniform(-1, 1, (1, 3, 240, 320)).astype(np.float32)}]
    begin = [item.output[0] for item in whole.graph.node if item.op_type == "Slice"][:2]
    done = edit(whole, {"remove": begin}, pictures)
    checked(done.model)
    one, other = (opened(model)(pictures[0]) for model in (done.model, bare))
    found["pair"] = {
        "outputs": [list(one), list(other)],
        "equal": [bool(np.array_equal(one[name], other[name])) for name in other],
        "nodes": [sum(count_nodes(model).values()) for model in (done.model, bare, whole)],
        "shapes": [list(array.shape) for array in one.values()],
    }
    done = edit(whole, {"remove": begin, "constants": True, "unused": True}, pictures)
    found["pair folded"] = [
        count_nodes(done.model),
        max(float(np.abs(array - other[name]).max()) for name, array in opened(done.model)(pictures[0]).items()),
    ]
    found["pair difference"] = compare_graphs(whole, bare).text()
    kinds = [Counter(item.op_type for item in model.graph.node) for model in (whole, bare)]
    found["pair counts"] = {kind: [kinds[0][kind], kinds[1][kind]] for kind in kinds[0] | kinds[1]}
    heads = read_graph(folder / "yolov5n-0.5-face.upstream-heads.onnx")
    picture = {"data": rng.uniform(0, 1, (1, 3, 640, 640)).astype(np.float32)}
    done = edit(heads, {"constants": True, "unused": True}, [picture])
    found["heads folded"] = [sum(count_nodes(model).values()) for model in (heads, done.model)] + [
        bool(np.array_equal(a, b))
        for a, b in zip(opened(heads)(picture).values(), opened(done.model)(picture).values(), strict=True)
    ]
    quantised = read_graph(folder / "shufflenet-v2-12-int8.onnx")
    done = edit(quantised, {"constants": True}, [])
    found["quantised folded"] = [count_nodes(model).get("DequantizeLinear") for model in (quantised, done.model)]
print(json.dumps(found))
