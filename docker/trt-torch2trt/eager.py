"""The same model on the same GPU in PyTorch eager, as a measure for the engine.

It finds its inputs on the GPU and leaves its outputs there, as the engine does.
"""

from __future__ import annotations

from typing import Any, Dict, Sequence

from latency import median_and_p95, timed
from rivals import RUNS, WARMUP


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
