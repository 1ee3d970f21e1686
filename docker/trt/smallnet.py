"""The source of the small job with which images of TensorRT test themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import numpy as np

FILE = Path("in", "source", "model.onnx")
OPSET, IR_VERSION = 13, 7  # the newest that TensorRT 8.2 takes


def write() -> None:
    """Write a convolution, a pool and a layer that scores, from a fixed seed, below the working folder."""
    import onnx

    file = Path.cwd() / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model(), str(file))


def model() -> Any:
    """Make the graph: ``picture`` (1, 3, 16, 16) to ``scores`` (1, 3)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Conv", ["picture", "w", "b"], ["c"], name="conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten", axis=1),
        helper.make_node("Gemm", ["f", "fc", "fb"], ["scores"], name="score", transB=1),
    ]
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 16, 16])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3])
    tensors = [numpy_helper.from_array(array, name) for name, array in weights().items()]
    graph = helper.make_graph(nodes, "tiny", [picture], [scores], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(made, full_check=True)
    return made


def weights() -> Dict[str, Any]:
    """Draw the weights."""
    random = np.random.RandomState(0)
    shapes = {"w": (4, 3, 3, 3), "b": (4,), "fc": (3, 4), "fb": (3,)}
    scales = {"w": 5, "b": 5, "fc": 1, "fb": 1}
    return {name: random.standard_normal(shape).astype(np.float32) / scales[name] for name, shape in shapes.items()}
