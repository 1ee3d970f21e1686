"""What the tests of the models do in the toolchain's environment, where torch is: build, load, export, run."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxslim
import torch
from torch import nn

sys.path[:0] = ["models/architectures", "models/digits"]
warnings.filterwarnings("ignore")  # the exporter's advice to use the other exporter


def build(module: str, factory: str, arguments: Mapping[str, Any] | None = None, seed: int = 0) -> nn.Module:
    """Build a network with random weights, ready for inference."""
    torch.manual_seed(seed)
    return getattr(importlib.import_module(module), factory)(**(arguments or {})).eval()


def load(module: str, factory: str, weights: str | Path) -> nn.Module:
    """Build a network and load a checkpoint that must fit it exactly."""
    state = torch.load(weights, map_location="cpu", weights_only=True)
    state = state.get("state_dict", state)
    model = build(module, factory)
    model.load_state_dict({name.removeprefix("module."): value for name, value in state.items()}, strict=True)
    return model


@torch.no_grad()
def eager(model: nn.Module, tensor: np.ndarray) -> list[np.ndarray]:
    """Run a network in PyTorch."""
    outputs = model(torch.from_numpy(tensor))
    return [output.numpy() for output in ([outputs] if isinstance(outputs, torch.Tensor) else outputs)]


def export(model: nn.Module, tensor: np.ndarray, file: str, dynamic: Sequence[int] = ()) -> onnx.ModelProto:
    """Export with opset 12 to a simplified file; `dynamic` lists the axes of the input that stay open."""
    axes = {"input": {axis: f"axis{axis}" for axis in dynamic}}
    torch.onnx.export(model, (torch.from_numpy(tensor),), file, opset_version=12, dynamo=False,
                      input_names=["input"], dynamic_axes=axes)
    simple = onnxslim.slim(file)
    onnx.checker.check_model(simple, full_check=True)
    onnx.save(simple, file)
    return simple


def runtime(file: str, tensor: np.ndarray) -> list[np.ndarray]:
    """Run an ONNX file whose input is the only one."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # old files warn once per weight
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: tensor})


def random(*shape: int, seed: int = 0) -> np.ndarray:
    """Return a float32 tensor of values from 0 to 1."""
    return np.random.default_rng(seed).random(shape, np.float32)


def worst(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """Return the greatest absolute difference between lists of arrays, which must agree in their shapes."""
    assert [array.shape for array in ours] == [array.shape for array in theirs]
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))
