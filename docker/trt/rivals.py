"""The same ONNX file on the same GPU in ONNX Runtime, as a measure for the engine that was built from it.

It finds its inputs on the GPU and leaves its outputs there, as the engine does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Mapping

from jobkit import Job, brief
from latency import median_and_p95, timed

WARMUP, RUNS = 10, 100

# ONNX Runtime's provider for each kind of device.
PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}

Arrays = Mapping[str, Any]


def measured(job: Job, file: Path, sample: Arrays) -> Dict[str, float]:
    """Measure the file in ONNX Runtime, where the toolchain has it; what cannot be measured is left out, and said."""
    try:
        return onnxruntime(file, sample)
    except ModuleNotFoundError:
        return {}
    except Exception as error:  # it is a measure for the engine, and no reason to have none
        job.events.note(f"ONNX Runtime was not measured: {brief(error)}")
        return {}


def onnxruntime(file: Path, sample: Arrays, device: str = "cuda") -> Dict[str, float]:
    """Measure an ONNX file in fp32 on a device: `cuda`, or `cpu`. Raises RuntimeError where it would run elsewhere."""
    import onnxruntime as runtime

    wanted = PROVIDERS[device]
    session = runtime.InferenceSession(str(file), providers=[wanted])
    # A provider that is not to be had is left out, and the next one taken, without an error.
    if session.get_providers()[0] != wanted:
        raise RuntimeError(f"it has no {wanted} here, and took {session.get_providers()[0]}")
    binding = session.io_binding()
    for item in session.get_inputs():
        binding.bind_ortvalue_input(item.name, runtime.OrtValue.ortvalue_from_numpy(sample[item.name], device, 0))
    for item in session.get_outputs():
        binding.bind_output(item.name, device)
    binding.synchronize_inputs()

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    for _ in range(WARMUP):
        run()
    return median_and_p95("ONNX Runtime", timed(run, RUNS))
