"""How far two runtimes' arrays are from each other."""

from __future__ import annotations

from typing import Any

import numpy as np

LEAST = 1e-6  # a range below it is that of rounding


def difference(made: Any, wanted: Any) -> float:
    """Give the largest error relative to the range of `wanted` and 0; infinity where the shapes differ.

    Zero belongs to the range, as an output may be a single number, whose own range is nothing.
    """
    if made.shape != wanted.shape:
        return float("inf")
    if not wanted.size:
        return 0.0
    one, other = np.asarray(made, np.float64), np.asarray(wanted, np.float64)
    with np.errstate(invalid="ignore"):
        errors = np.where(one == other, 0.0, np.abs(one - other))
    finite = other[np.isfinite(other)]
    reach = max(float(finite.max()), 0.0) - min(float(finite.min()), 0.0) if finite.size else 0.0
    return float(errors.max()) / max(reach, LEAST)
