"""How long an engine takes: with the copies and without them, one run after the other, and many in a row."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Mapping

import numpy as np
from runtime import TrtModel

MOST_SECONDS = 2.0


def measure_engine(model: TrtModel, inputs: Mapping[str, Any], warmup: int = 10, runs: int = 100) -> Dict[str, float]:
    """Give milliseconds, as median and 95th percentile, and items per second where runs follow without a pause.

    `with copies` is from page-locked memory to page-locked memory, `without` the run on the GPU alone.
    """
    batch = max((np.shape(array)[0] if np.ndim(array) else 1 for array in inputs.values()), default=1)
    with model.running():
        shapes = model.stage(inputs)

        def whole() -> None:
            model.copy_in()
            model.enqueue()
            model.copy_out(shapes)
            model.cuda.wait()

        def alone() -> None:
            model.enqueue()
            model.cuda.wait()

        for _ in range(warmup):
            whole()
        found = median_and_p95("with copies", timed(whole, runs))
        found.update(median_and_p95("without copies", timed(alone, runs)))
        start = time.perf_counter()
        for _ in range(runs):
            model.enqueue()
        model.cuda.wait()
        found["items per second"] = round(batch * runs / (time.perf_counter() - start), 1)
    return found


def timed(work: Callable[[], None], runs: int, most: float = MOST_SECONDS) -> List[float]:
    """Give the seconds of each of `runs` calls, of fewer where they take longer than `most` together."""
    times: List[float] = []
    began = time.perf_counter()
    while len(times) < runs and (len(times) < 5 or time.perf_counter() - began < most):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def median_and_p95(what: str, times: List[float]) -> Dict[str, float]:
    """Name the median and the 95th percentile of some seconds, in milliseconds."""
    milliseconds = np.asarray(times) * 1e3
    return {
        f"{what}, median ms": round(float(np.median(milliseconds)), 4),
        f"{what}, p95 ms": round(float(np.percentile(milliseconds, 95)), 4),
    }
