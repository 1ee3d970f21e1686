"""Another opset for an existing graph."""

from __future__ import annotations

import re

import onnx
from graph import opset_of
from jobkit import GraphError
from onnx import version_converter


def convert_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Give `model` in terms of `opset`.

    Raises GraphError naming the operator that has no equivalent there.
    """
    if opset_of(model) == opset:
        return model
    lift_constants(model)
    try:
        return version_converter.convert_version(model, opset)
    except (RuntimeError, ValueError, TypeError) as error:
        raise GraphError(
            f"the graph has opset {opset_of(model)} and cannot become opset {opset}: {_reason(str(error))}",
            f"leave out the opset in the recipe, which keeps {opset_of(model)}, or export the model anew",
        ) from error


def lift_constants(model: onnx.ModelProto) -> None:
    """Make weights of the Constant nodes of `model`, in place.

    They mean the same, and onnx has no way back from the Constant of opset 12 to older ones.
    """
    constants = [node for node in model.graph.node if node.op_type == "Constant" and _tensor(node)]
    for node in constants:
        tensor = _tensor(node)
        assert tensor is not None
        weight = model.graph.initializer.add()
        weight.CopyFrom(tensor)
        weight.name = node.output[0]
        model.graph.node.remove(node)


def _tensor(node: onnx.NodeProto) -> onnx.TensorProto | None:
    return next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)


def _reason(text: str) -> str:
    adapter = re.search(r"No Adapter (From|To) Version \$(\d+) for (\w+)", text)
    if adapter:
        return f"the operator {adapter[3]} cannot be carried over at opset {adapter[2]}"
    operator = re.search(r"operator '(\w+)'", text)
    detail = text.split("failed:")[-1].strip()
    return f"the operator {operator[1]}: {detail}" if operator else detail
