"""Two devices of TNN on the same samples: the plain one is the yardstick of the optimised one."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping

import numpy as np
from jobkit import GraphError, Job
from jobkit.arrays import ArrayWriter
from jobkit.runtime import Arrays

# The plain device's outputs, which the host judges like the artifact's own.
FILE = "outputs-naive.npz"

# Of the largest value of an output: both compute in fp32, and the text between has six decimals.
LIMIT = 1e-3

# An output that is zero but for rounding has no scale of its own.
SMALLEST = 1e-3


def compare(optimised: Callable[[Arrays], Arrays], plain: Callable[[Arrays], Arrays], job: Job) -> Dict[str, float]:
    """Run all samples on both, write what the plain device gives, and return the largest difference of each output.

    Raises GraphError where they differ by more than rounding.
    """
    worst: Dict[str, float] = {}
    with ArrayWriter(job.out / FILE) as writer:
        for index, sample in enumerate(job.samples):
            expected, found = plain(sample), optimised(sample)
            writer.add(index, expected)
            for name, error in differences(expected, found).items():
                worst[name] = max(worst.get(name, 0.0), error)
            _check(worst, job.samples.names[index])
            job.events.progress(index + 1, len(job.samples))
    return {name: float(f"{error:.2g}") for name, error in worst.items()}


def differences(expected: Arrays, found: Arrays) -> Dict[str, float]:
    """Give the largest error of each output, relative to its largest value; infinite where they cannot be compared."""
    return {name: _difference(array, found.get(name)) for name, array in expected.items()}


def _difference(expected: Any, found: Any) -> float:
    if found is None or expected.shape != found.shape:
        return float("inf")
    finite = np.isfinite(expected)
    if not np.array_equal(finite, np.isfinite(found)):
        return float("inf")
    if not finite.any():
        return 0.0
    error = np.abs(expected[finite].astype(np.float64) - found[finite]).max()
    return float(error / max(float(np.abs(expected[finite]).max()), SMALLEST))


def _check(worst: Mapping[str, float], sample: str) -> None:
    wrong = {name: error for name, error in worst.items() if error > LIMIT}
    if wrong:
        name, error = max(wrong.items(), key=lambda item: item[1])
        raise GraphError(
            f"TNN's x86 device gives another {name} than its plain device on {sample}: {error:.3g} of its largest "
            f"value, and rounding explains {LIMIT:g}",
            "device: naive in the recipe takes the plain device; see convert.log",
        )
