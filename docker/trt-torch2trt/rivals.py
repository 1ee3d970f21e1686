"""The same model on the same GPU without TensorRT: PyTorch eager and ONNX Runtime, as a measure for the engine.

All of them find their inputs on the GPU and leave their outputs there.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, List, Sequence

from latency import median_and_p95, timed

WARMUP, RUNS, OPSET = 10, 100, 13


def eager(module: Any, tensors: Sequence[Any]) -> Dict[str, float]:
    """Measure a module that lies on the GPU, in fp32."""
    import torch

    torch.backends.cudnn.allow_tf32 = False

    def run() -> None:
        module(*tensors)
        torch.cuda.synchronize()

    with torch.inference_mode():
        for _ in range(WARMUP):
            run()
        return median_and_p95("PyTorch eager", timed(run, RUNS))


def onnxruntime(module: Any, tensors: Sequence[Any], inputs: Sequence[str], outputs: Sequence[str]) -> Dict[str, float]:
    """Measure an export of the module in ONNX Runtime's CUDA provider, in fp32; nothing where that is not to be had."""
    import onnxruntime as runtime
    import torch

    with TemporaryDirectory(prefix="rival-") as temporary:
        file = Path(temporary) / "model.onnx"
        torch.onnx.export(module, tuple(tensors), str(file), input_names=list(inputs), output_names=list(outputs),
                          opset_version=OPSET)  # fmt: skip
        session = runtime.InferenceSession(str(file), providers=["CUDAExecutionProvider"])
    if session.get_providers()[0] != "CUDAExecutionProvider":
        return {}
    binding = _bound(runtime, session, [tensor.cpu().numpy() for tensor in tensors], inputs, outputs)

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    for _ in range(WARMUP):
        run()
    return median_and_p95("ONNX Runtime", timed(run, RUNS))


def _bound(runtime: Any, session: Any, arrays: List[Any], inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    binding = session.io_binding()
    for name, array in zip(inputs, arrays):  # noqa: B905 - Python 3.10 has strict
        binding.bind_ortvalue_input(name, runtime.OrtValue.ortvalue_from_numpy(array, "cuda", 0))
    for name in outputs:
        binding.bind_output(name, "cuda")
    binding.synchronize_inputs()
    return binding
