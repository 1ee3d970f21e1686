"""Give inputs and samples the batch of a graph before its edit, and hold graphs before and after against a target."""

import json

import numpy as np
from edits import fitted, own_batch
from jobkit import Input
from lint import examine
from onnx import TensorProto, helper

found = {}


def graph(shapes, *nodes, output="y"):
    """Make a graph with inputs of these shapes; what it computes does not matter where no nodes are given."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
    body = nodes or [helper.make_node("Relu", [next(iter(shapes))], [output], name="relu")]
    return helper.make_model(helper.make_graph(list(body), "toy", inputs, outputs),
                             opset_imports=[helper.make_opsetid("", 12)])  # fmt: skip


def owned(shapes, sizes, dynamic):
    inputs = [Input(name, tuple(shape), "float32", None) for name, shape in sizes.items()]
    items, free = own_batch(graph(shapes), inputs, dynamic)
    return {"shapes": {item.name: list(item.shape) for item in items}, "free": free}


PAIR = {"x": [1, 3, 8, 8], "state": [1, 5]}
FOUR = {"x": [4, 3, 8, 8], "state": [4, 5]}
OPEN = {"x": {0: "batch", 2: "height"}, "state": {0: "batch"}}

found["fixed"] = owned(PAIR, FOUR, {"x": {2: "height"}})
found["to be free"] = owned(PAIR, PAIR, OPEN)
found["free before"] = owned({"x": ["n", 3, 8, 8], "state": ["n", 5]}, FOUR, OPEN)
found["one of two"] = owned({"x": ["n", 3, 8, 8], "state": [1, 5]}, FOUR, OPEN)

sample = {"x": np.arange(12.0, dtype=np.float32).reshape(4, 3), "state": np.arange(4.0, dtype=np.float32)[:, None]}


def cut(shapes):
    return {name: array.tolist() for name, array in fitted(sample, graph(shapes)).items()}


found["cut to one"] = cut({"x": [1, 3], "state": [1, 1]})
found["cut to two"] = cut({"x": [2, 3], "state": [2, 1]})
found["left whole"] = cut({"x": ["n", 3], "state": ["n", 1]})
found["cut in part"] = cut({"x": ["n", 3], "state": [1, 1]})
found["without axes"] = fitted({"x": np.float32(2)}, graph({"x": []}))["x"].tolist()

TAKEN = {"title": "Toy", "operators": {
    "takes": ["Relu", "Abs"],
    "remedy": "cut it off",
    "rules": [
        {"operators": ["Sqrt"], "reason": "no roots", "remedy": "the pass roots", "level": "warn", "pass": "roots"},
        {"operators": ["Sin"], "reason": "no waves", "remedy": "none", "level": "warn"},
    ],
}}


def chain(*operators):
    """Make a graph of one node after the other, named by what they are."""
    names = ["x", *(f"t{index}" for index in range(1, len(operators))), "y"]
    nodes = [helper.make_node(kind, [names[index]], [names[index + 1]], name=kind.lower())
             for index, kind in enumerate(operators)]  # fmt: skip
    return graph({"x": [1, 3]}, *nodes)


def examined(before, after):
    return [[entry["node"], entry["left"], entry["blocks"], entry["mended_by"], entry["line"]]
            for entry in examine(before, after, TAKEN)]  # fmt: skip


found["nothing"] = examined(chain("Relu"), chain("Relu"))
found["mended"] = examined(chain("Relu", "Sqrt"), chain("Relu", "Abs"))
found["left"] = examined(chain("Cos", "Sqrt"), chain("Cos", "Sqrt"))
found["some"] = examined(chain("Sin", "Sqrt"), chain("Sin", "Abs"))
found["new"] = examined(chain("Relu"), chain("Sin"))
found["plain"] = json.dumps(examine(chain("Cos"), chain("Cos"), TAKEN))

print(json.dumps(found))
