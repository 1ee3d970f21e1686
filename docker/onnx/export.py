"""From PyTorch to ONNX, by the exporter that traces (``dynamo=False``).

torch 2.13's other exporter writes opset 18 without failing when asked for an older one; this one honours 9 to 23.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from jobkit import GraphError, brief
from options import Axes


def export(
    model: torch.nn.Module,
    inputs: Sequence[torch.Tensor],
    path: Path,
    *,
    opset: int,
    names: tuple[Sequence[str], Sequence[str]],
    dynamic: Axes,
) -> None:
    """Trace `model` on `inputs` and write the graph to `path`, its weights beside it where they exceed 2 GiB.

    `names` are those of the inputs and of the outputs. Raises GraphError where torch cannot express the model.
    """
    with warnings.catch_warnings(), torch.no_grad():
        # The tracer's own warnings stay: they tell of values that the trace takes for constants.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*legacy TorchScript-based ONNX export.*")
        try:
            torch.onnx.export(
                model,
                tuple(inputs),
                str(path),
                dynamo=False,
                opset_version=opset,
                input_names=list(names[0]),
                output_names=list(names[1]),
                dynamic_axes={name: dict(axes) for name, axes in dynamic.items()},
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError, TypeError) as error:
            raise GraphError(
                f"torch cannot export the model to opset {opset}: {brief(error)}",
                "choose a newer opset in the recipe, or write that part of the model with other operators",
            ) from error
