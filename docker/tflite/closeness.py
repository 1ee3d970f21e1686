"""How far a converter's arrays are from those of ONNX Runtime."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Sequence

import numpy as np

# Of an output's range. Both compute in fp32 and sum in other orders, which has given 1e-5 at most; what onnx-tf gets
# wrong has given 1e-2 and more, axes that onnx2tf turns wrongly far more.
TOLERANCE = 1e-3

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


def run_onnx(model: Any, names: Sequence[str], sample: Mapping[str, Any]) -> Dict[str, Any]:
    """Run a graph in ONNX Runtime, with nothing optimised; give the outputs `names`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    fed = {value.name: sample[value.name] for value in session.get_inputs()}
    return dict(zip(names, session.run(list(names), fed), strict=True))
