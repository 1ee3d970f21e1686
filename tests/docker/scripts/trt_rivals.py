"""Measure a small graph as engines' rivals are measured, on the CPU; tell what is said where CUDA is wanted."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
from onnx import TensorProto, helper

sys.path.append(str(Path(sys.argv[1])))
import rivals

folder = Path(sys.argv[2])
inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 64]) for name in ("a", "b")]
outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("sum", "product")]
nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Mul", ["a", "b"], ["product"])]
model = helper.make_model(helper.make_graph(nodes, "two", inputs, outputs),
                          opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
file = folder / "model.onnx"
onnx.save(model, str(file))
sample = {name: np.ones((8, 64), np.float32) for name in ("a", "b")}

notes = []
job = SimpleNamespace(events=SimpleNamespace(note=notes.append))
told = {"cpu": rivals.onnxruntime(file, sample, "cpu"), "measured": rivals.measured(job, file, sample), "notes": notes}
try:
    rivals.onnxruntime(file, sample)
except RuntimeError as error:
    told["cuda"] = str(error)
print(json.dumps(told))
