"""Make the source of the small job: a convolution, a pool and a layer that scores, from a fixed seed."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

random = np.random.RandomState(0)
WEIGHTS = {
    "w": random.standard_normal((4, 3, 3, 3)).astype(np.float32) / 5,
    "b": random.standard_normal(4).astype(np.float32) / 5,
    "fc": random.standard_normal((3, 4)).astype(np.float32),
    "fb": random.standard_normal(3).astype(np.float32),
}
NODES = [
    helper.make_node("Conv", ["picture", "w", "b"], ["c"], name="conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    helper.make_node("Relu", ["c"], ["r"], name="relu"),
    helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
    helper.make_node("Flatten", ["p"], ["f"], name="flatten", axis=1),
    helper.make_node("Gemm", ["f", "fc", "fb"], ["scores"], name="score", transB=1),
]

picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 16, 16])
scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3])
tensors = [numpy_helper.from_array(array, name) for name, array in WEIGHTS.items()]
graph = helper.make_graph(NODES, "tiny", [picture], [scores], tensors)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
file = Path("in", "source", "model.onnx")
file.parent.mkdir(parents=True, exist_ok=True)
onnx.save(model, str(file))
