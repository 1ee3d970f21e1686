"""Convert as one would type it, in the onnx toolchain: convert.py SAMPLES MODULE FACTORY WEIGHTS OUT."""

from __future__ import annotations

import importlib.util
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxslim
import torch

samples_file, module_file, factory, weights, out = sys.argv[1:]
warnings.filterwarnings("ignore")
spec = importlib.util.spec_from_file_location("architecture", module_file)
assert spec and spec.loader
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
model = getattr(module, factory)()
model.load_state_dict(torch.load(weights, weights_only=True), strict=True)
model.eval()

with np.load(samples_file) as archive:
    samples = [archive[name] for name in archive.files]
with torch.inference_mode():
    reference = [model(torch.from_numpy(sample)).numpy() for sample in samples]

file = str(Path(out) / "model.onnx")
torch.onnx.export(model, (torch.from_numpy(samples[0]),), file, opset_version=12, input_names=["input"],
                  output_names=["output"], dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}}, dynamo=False)
onnx.checker.check_model(file, full_check=True)


def infer(path: str) -> list[np.ndarray]:
    """Run all samples."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [session.run(None, {"input": sample})[0] for sample in samples]


plain = infer(file)
onnx.save(onnxslim.slim(file), file)
onnx.checker.check_model(file, full_check=True)
outputs = infer(file)
assert all(np.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(plain, outputs, strict=True))
print("worst error", max(float(np.abs(a - b).max()) for a, b in zip(outputs, reference, strict=True)))

session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
times = []
for _ in range(33):
    start = time.perf_counter()
    session.run(None, {"input": samples[0]})
    times.append(time.perf_counter() - start)
print("median ms", 1e3 * float(np.median(times[3:])))
