"""Write graphs for TensorRT-RTX into a folder: some that it takes, and some that it does not."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

folder = Path(sys.argv[1])
random = np.random.default_rng(0)


def save(name, nodes, weights=(), outputs=("y",), batch=1, shape=(3, 8, 8)):
    """Write a graph with the input x."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs],
        [numpy_helper.from_array(array, weight) for weight, array in dict(weights).items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("some.where", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.save(model, str(folder / f"{name}.onnx"))


node = helper.make_node
weight = {"w": random.standard_normal((4, 3, 3, 3)).astype(np.float32)}
conv = node("Conv", ["x", "w"], ["c"], name="conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
relu = node("Relu", ["c"], ["y"], name="relu")

save("conv", [conv, relu], weight)
save("free", [conv, relu], weight, batch="batch")
save(
    "gemm",
    [node("Flatten", ["x"], ["f"], name="flatten"), node("Gemm", ["f", "m"], ["y"], name="score")],
    {"m": random.standard_normal((192, 10)).astype(np.float32)},
)
save(
    "unsupported",
    [
        node("Relu", ["x"], ["a"], name="first"),
        node("Det", ["a"], ["y"], name="determinant"),
        node("Unique", ["a"], ["u"], name="once"),
        node("Relu", ["u"], ["z"], name="last"),
    ],
    outputs=("y", "z"),
)
save("foreign", [node("Sharpen", ["x"], ["y"], name="sharper", domain="some.where")])
save("nameless", [node("Det", ["x"], ["y"])])
save(
    "large",
    [node("Flatten", ["x"], ["f"], name="flatten"), node("MatMul", ["f", "m"], ["y"], name="huge")],
    {"m": np.ones((192, 1 << 18), np.float32)},
)
print(json.dumps(sorted(path.stem for path in folder.glob("*.onnx"))))
