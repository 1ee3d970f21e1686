"""Fixtures of the model tests: a network's outputs in PyTorch, and the golden results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Outputs = list[np.ndarray]
Infer = Callable[[str, str, str, np.ndarray], Outputs]

_INFER = """
import json, sys
sys.path.insert(0, "tests/models")
import numpy as np
from zoo import eager, load

module, factory, weights, folder = sys.argv[1:]
outputs = eager(load(module, factory, weights), np.load(folder + "/input.npy"))
np.savez(folder + "/outputs.npz", *outputs)
print(json.dumps(len(outputs)))
"""


@pytest.fixture
def infer(toolchain: Callable[..., Any], data: Path, tmp_path: Path) -> Infer:
    """Return a function (module, factory, weights, tensor) -> outputs in PyTorch."""

    def run(module: str, factory: str, weights: str, tensor: np.ndarray) -> Outputs:
        np.save(tmp_path / "input.npy", tensor.astype(np.float32))
        count = toolchain(_INFER, module, factory, str(data / "weights" / weights), str(tmp_path))
        with np.load(tmp_path / "outputs.npz") as arrays:
            return [arrays[f"arr_{index}"] for index in range(count)]

    return run


@pytest.fixture
def golden(data: Path) -> dict[str, Any]:
    """Return the reference results."""
    return json.loads((data / "golden.json").read_text())
