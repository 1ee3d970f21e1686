"""Half precision that holds: which layers stay in fp32, by name or found where the engine fails without."""

from __future__ import annotations

from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Sequence

import numpy as np
from bisection import layers_to_keep
from jobkit import GraphError

Arrays = Dict[str, "np.ndarray[Any, Any]"]

# Layers that compute nothing: a type is no matter of precision there.
STILL = ("CONSTANT", "SHAPE", "SHUFFLE", "IDENTITY", "SLICE", "GATHER", "CONCATENATION", "ASSERTION")


def candidates(layers: Sequence[Any], float32: Any) -> List[str]:
    """Give the names of the layers that compute in fp32 and could do so in half precision, in the network's order."""
    return [layer.name for layer in layers if layer.type.name not in STILL and _floats(layer, float32)]


def _floats(layer: Any, float32: Any) -> bool:
    outputs = [layer.get_output(index) for index in range(layer.num_outputs)]
    return bool(outputs) and all(tensor.dtype == float32 for tensor in outputs)


def complaint(found: Arrays, wanted: Arrays, tolerance: float) -> str:
    """Say how outputs in half precision fail beside those in fp32; empty where they do not.

    `tolerance` is the greatest error relative to the range of an output.
    """
    for name, array in wanted.items():
        if not array.size:
            continue
        if not np.isfinite(found[name]).all():
            return f"output {name!r} is not finite"
        span = float(np.ptp(array)) or 1.0
        error = float(np.abs(found[name].astype(np.float64) - array).max()) / span
        if not error <= tolerance:
            return f"output {name!r} is off by {error:.2g} of its range"
    return ""


def find_floats(
    layers: Sequence[str],
    outputs: Callable[[FrozenSet[str]], List[Arrays]],
    wanted: Sequence[Mapping[str, Any]],
    tolerance: float,
    most: int,
) -> List[str]:
    """Find the layers that must stay in fp32 for every sample to come out right, by building at most `most` engines.

    ``outputs(kept)`` builds an engine that keeps these layers and gives its outputs on each sample. Raises GraphError
    where not even all of them help.
    """
    last = ""

    def passes(kept: FrozenSet[str]) -> bool:
        nonlocal last
        pairs = zip(outputs(kept), wanted)  # noqa: B905 - Python 3.10 has strict
        said = next((said for found, known in pairs if (said := complaint(found, dict(known), tolerance))), "")
        last = said or last
        return not said

    found = layers_to_keep(layers, passes, most)
    if found is None:
        raise GraphError(
            f"half precision fails even with every layer in fp32: {last}",
            "inputs or outputs do not fit half precision; use fp32, or raise the option tolerance",
        )
    return found
