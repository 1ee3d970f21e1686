"""A loaded model as every target shows it to the job: a callable with a signature and a device."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import numpy as np

from jobkit.job import LatencyPlan

Arrays = Dict[str, "np.ndarray[Any, Any]"]

# Fewer runs than this give no 95th percentile worth the name.
LEAST_RUNS = 5


@dataclass(frozen=True)
class Tensor:
    """An input or output as the file has it; a free axis has a name instead of a size.

    `layout` is ``NCHW`` or ``NHWC`` where the file has one, found out from the file: an output that the source gives
    with channels second has them last in ``NHWC``. An integer `i` stands for ``(i - zero_point) * scale``; both are
    None where the tensor is not quantised.
    """

    name: str
    shape: Tuple[Union[int, str], ...]
    dtype: str
    layout: Optional[str] = None
    scale: Optional[float] = None
    zero_point: Optional[int] = None


@dataclass(frozen=True)
class Device:
    """Where the runtime was meant to run and where it did run."""

    wanted: str
    used: str
    detail: str


@dataclass(frozen=True)
class Runtime:
    """A loaded model. `run` takes arrays by input name and gives arrays by output name.

    The arrays are those of the recipe, in its layout and with its numbers, however the file has them: `run` transposes
    and quantises what goes in, and gives what comes out in the shapes of the source, dequantised.

    `measured` tells the seconds of the last run where the runtime's own program knows them better than a clock outside
    it, which would count the start of a process and the files between too. `figures` measures on a sample what the
    latency of a single run does not say, such as the throughput; each figure is named with its unit.
    """

    run: Callable[[Arrays], Arrays]
    inputs: Tuple[Tensor, ...]
    outputs: Tuple[Tensor, ...]
    device: Device
    measured: Optional[Callable[[], float]] = None
    figures: Optional[Callable[[Arrays], Dict[str, float]]] = None

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run the model once."""
        return self.run(inputs)


@dataclass(frozen=True)
class Inspected:
    """A model that was read and not run, because this machine has not what it runs on; `device` says what it needs."""

    inputs: Tuple[Tensor, ...]
    outputs: Tuple[Tensor, ...]
    device: Device


@dataclass(frozen=True)
class Latency:
    """Milliseconds that one run takes."""

    median_ms: float
    p95_ms: float
    runs: int
    sample: str
    figures: Dict[str, float] = field(default_factory=dict)


def measure(runtime: Runtime, inputs: Arrays, plan: LatencyPlan, sample: str) -> Latency:
    """Time single runs of `runtime` on `inputs`; both the warm-up and the measurement keep to ``plan.seconds``."""
    _timed_runs(runtime, inputs, plan.warmup, 0, plan.seconds)
    least = min(LEAST_RUNS, plan.runs)
    times = np.asarray(_timed_runs(runtime, inputs, max(plan.runs, 1), max(least, 1), plan.seconds)) * 1e3
    return Latency(
        median_ms=round(float(np.median(times)), 4),
        p95_ms=round(float(np.percentile(times, 95)), 4),
        runs=len(times),
        sample=sample,
        figures=runtime.figures(inputs) if runtime.figures else {},
    )


def _timed_runs(runtime: Runtime, inputs: Arrays, most: int, least: int, seconds: float) -> List[float]:
    times: List[float] = []
    began = time.perf_counter()
    while len(times) < most and (len(times) < least or time.perf_counter() - began < seconds):
        start = time.perf_counter()
        runtime(inputs)
        times.append(runtime.measured() if runtime.measured else time.perf_counter() - start)
    return times
