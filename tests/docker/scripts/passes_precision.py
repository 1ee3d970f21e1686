"""Int8 and half precision with islands of float. Prints JSON; numpy says what is right."""

import json
import tempfile
from pathlib import Path

import numpy as np
from graph import check_graph, count_nodes, infer_shapes, write_graph
from jobkit import Refused
from onnx import helper, numpy_helper
from passes import edit
from passes.half import tail_of
from passes.islands import noise
from passes.proof import opened

found = {}
rng = np.random.default_rng(0)
node = helper.make_node
CHANNELS = np.logspace(-0.5, 0.5, 8)  # each with a range of its own
W = (rng.standard_normal((8, 3, 3, 3)) / 5 * CHANNELS.reshape(8, 1, 1, 1)).astype(np.float32)
V = (rng.standard_normal((4, 8, 1, 1)) / CHANNELS.reshape(1, 8, 1, 1) / 8).astype(np.float32)
M = (rng.standard_normal((4 * 36, 5)) / 12).astype(np.float32)
NET = [
    node("Conv", ["x", "w"], ["a"], name="first", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    node("Relu", ["a"], ["b"], name="relu"),
    node("Conv", ["b", "v"], ["c"], name="second"),
    node("Flatten", ["c"], ["f"], name="flat"),
    node("MatMul", ["f", "m"], ["g"], name="product"),
    node("Mul", ["g", "k"], ["y"], name="scaled"),
]
WEIGHTS = {"w": W, "v": V, "m": M, "k": np.full(5, 100, np.float32)}


def graph(nodes=NET, weights=WEIGHTS, shape=(1, 3, 6, 6), opset=17):
    inputs = [helper.make_tensor_value_info("x", 1, shape)]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    made = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", 1, None)], tensors)
    return infer_shapes(helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8))


def samples(count, scale=1.0):
    return [{"x": (rng.standard_normal((1, 3, 6, 6)) * scale).astype(np.float32)} for _ in range(count)]


def refusal(model, wishes):
    try:
        edit(model, wishes, samples(1))
    except Refused as error:
        return [type(error).__name__, error.message, error.remedy]
    return None


def outputs(model, inputs):
    runtime = opened(model)
    return [runtime(sample) for sample in inputs]


def told(name, model, wishes, inputs):
    done = edit(model, wishes, inputs[:1])
    with tempfile.TemporaryDirectory() as folder:
        write_graph(done.model, Path(folder))
        check_graph(Path(folder, "model.onnx"), 17)
    facts = dict(done.facts.get("quantise", {}))
    integers = {t.name: numpy_helper.to_array(t) for t in done.model.graph.initializer if t.data_type == 3}
    found[name] = {
        "lines": done.lines,
        "operators": count_nodes(done.model),
        "facts": facts,
        "noise": noise(outputs(model, inputs), outputs(done.model, inputs)),
        "bytes": sum(array.nbytes for array in integers.values()),
        "points": sorted({int(value) for array in integers.values() if array.ndim < 2 for value in array.ravel()}),
    }
    return done


calibration = samples(16)
model = graph()
for method in ("minmax", "entropy", "percentile"):
    told(method, model, {"quantise": {"calibration": calibration, "method": method, "noise": 1.0}}, calibration)
plain = told("usual", model, {"quantise": {"calibration": calibration}}, calibration)
found["twice"] = plain.model.SerializeToString() == edit(
    model, {"quantise": {"calibration": calibration}}, calibration[:1]
).model.SerializeToString()
told("by name", model, {"quantise": {"calibration": calibration, "float": ["second"], "noise": 1.0}}, calibration)

# Weights per channel: int8 of the first convolution against numpy's own.
stored = {t.name: numpy_helper.to_array(t) for t in plain.model.graph.initializer}
whole = next(array for array in stored.values() if array.dtype == np.int8 and array.shape == W.shape)
steps = np.abs(W).reshape(8, -1).max(1) / 127
found["weights"] = int(np.abs(whole - np.rint(W / steps.reshape(8, 1, 1, 1))).max())

# One channel a thousand times as large as what matters: the activations between lose it, and the node stays in float.
harsh = {**WEIGHTS, "w": W * np.where(np.arange(8) == 7, 3000, 1).reshape(8, 1, 1, 1).astype("f4"),
         "v": V * np.where(np.arange(8) == 7, 1e-6, 1).reshape(1, 8, 1, 1).astype("f4")}
told("islands", graph(weights=harsh), {"quantise": {"calibration": calibration, "noise": 0.1}}, calibration)
found["too noisy"] = refusal(model, {"quantise": {"calibration": calibration, "noise": 1e-6}})

found["refused"] = {
    "no calibration": refusal(model, {"quantise": True}),
    "method": refusal(model, {"quantise": {"method": "guess", "calibration": calibration}}),
    "noise": refusal(model, {"quantise": {"noise": 0, "calibration": calibration}}),
    "key": refusal(model, {"quantise": {"depth": 4, "calibration": calibration}}),
    "node": refusal(model, {"quantise": {"float": ["secnd"], "calibration": calibration}}),
    "opset": refusal(graph(opset=12), {"quantise": {"calibration": calibration}}),
    "both": refusal(model, {"quantise": {"calibration": calibration}, "half": True}),
    "half": refusal(model, {"half": {"tail": "long"}}),
    "half node": refusal(model, {"half": {"float": ["frst"]}}),
}
found["no"] = list(edit(model, {"quantise": False}, calibration[:1]).lines)
activations = graph([node("MatMul", ["x", "x"], ["y"], name="square")], {})
found["computed"] = list(edit(activations, {"quantise": {"calibration": samples(3)}}, samples(1)).lines)
nameless = graph([node(item.op_type, item.input, item.output) if item.op_type != "Conv" else item for item in NET])
for item in nameless.graph.node:
    item.name = ""
told("nameless", nameless, {"quantise": {"calibration": calibration, "noise": 1.0}}, calibration)


# Half precision with a tail in float
def half(name, wish):
    done = edit(model, {"half": wish}, calibration[:1])
    with tempfile.TemporaryDirectory() as folder:
        write_graph(done.model, Path(folder))
        check_graph(Path(folder, "model.onnx"), 17)
    types = {value.name: value.type.tensor_type.elem_type for value in done.model.graph.value_info}
    found[name] = {
        "casts": count_nodes(done.model)["Cast"],
        "float": sorted(t.name for t in done.model.graph.initializer if t.data_type == 1),
        "half": sorted(t.name for t in done.model.graph.initializer if t.data_type == 10),
        "noise": noise(outputs(model, calibration), outputs(done.model, calibration)),
        "between": sorted({types.get(node.input[0], 0) for node in done.model.graph.node if node.op_type == "Mul"}),
        "lines": done.lines,
        "outputs": [value.name for value in done.model.graph.output],
    }


half("half", True)
half("half tail", {"tail": "float"})
half("half named", {"float": ["second", "flat", "product", "scaled"]})
found["tail"] = sorted(tail_of(model.graph))
heads = graph([NET[0], NET[1], NET[2], node("Sigmoid", ["c"], ["y"], name="score")])
found["tail of heads"] = sorted(tail_of(heads.graph))

values = np.array([[[1.0, 10.0], [3.0, 30.0]]])
found["noise"] = [
    noise([{"y": values}], [{"y": values}]),
    noise([{"y": values}], [{"y": values + np.array([0.1, 0.1])}]),
    noise([{"y": values}], [{"y": values + np.array([0.0, 5.0])}]),
    noise([{"y": np.ones((1, 4))}], [{"y": np.ones((1, 4)) + 1e-3}]) > 1,
]
print(json.dumps(found))
