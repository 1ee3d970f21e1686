"""A graph in ONNX Runtime, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
from jobkit import Device, GraphError, Runtime, Tensor, brief
from jobkit.runtime import Arrays

# ONNX Runtime's names of element types: onnx_tensor(type) in its Python binding.
DTYPES = {"float": "float32", "double": "float64"}

PROVIDER = "CPUExecutionProvider"


def open_graph(path: Path, *, optimised: bool = True) -> Runtime:
    """Open the graph at `path`; `optimised` False keeps its operators exactly as the file has them.

    Raises GraphError where ONNX Runtime cannot load it.
    """
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDER])
    except Exception as error:
        raise GraphError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {path.name}: {brief(error)}",
            "choose another opset, or simplify: false, in the recipe",
        ) from error
    outputs = tuple(_tensor(value) for value in session.get_outputs())
    names = [tensor.name for tensor in outputs]

    def run(inputs: Arrays) -> Arrays:
        try:
            return dict(zip(names, session.run(names, inputs), strict=True))
        except Exception as error:
            sizes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
            raise GraphError(
                f"ONNX Runtime cannot run {path.name} on {sizes}: {brief(error)}",
                "where other sizes run, the graph holds a value worked out for one of them: "
                "compute it from the tensors in forward(), or leave these axes fixed",
            ) from error

    return Runtime(run, tuple(_tensor(value) for value in session.get_inputs()), outputs, _device(session))


def _device(session: Any) -> Device:
    providers = session.get_providers()
    used = "cpu" if providers == [PROVIDER] else "other"
    return Device("cpu", used, ", ".join(providers))


def _tensor(value: Any) -> Tensor:
    shape = tuple(size if isinstance(size, (int, str)) else f"axis_{axis}" for axis, size in enumerate(value.shape))
    element = value.type.removeprefix("tensor(").removesuffix(")")
    return Tensor(value.name, shape, DTYPES.get(element, element))
