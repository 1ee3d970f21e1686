"""A newer opset for an existing graph, and the words where it can have no other; passes/opset.py makes it older."""

from __future__ import annotations

import re

import onnx
from graph import opset_of
from jobkit import GraphError
from onnx import version_converter


def raise_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Give `model` in terms of a newer `opset`.

    Raises GraphError naming the operator that has no equivalent there.
    """
    try:
        return version_converter.convert_version(model, opset)
    except (RuntimeError, ValueError, TypeError) as error:
        raise no_way(model, opset, _reason(str(error))) from error


def no_way(model: onnx.ModelProto, opset: int, reason: str) -> GraphError:
    """Put into words why `model` cannot have another opset."""
    return GraphError(
        f"the graph has opset {opset_of(model)} and cannot become opset {opset}: {reason}",
        f"leave out the opset in the recipe, which keeps {opset_of(model)}, or export the model anew",
    )


def _reason(text: str) -> str:
    adapter = re.search(r"No Adapter (From|To) Version \$(\d+) for (\w+)", text)
    if adapter:
        return f"the operator {adapter[3]} cannot be carried over at opset {adapter[2]}"
    operator = re.search(r"operator '(\w+)'", text)
    detail = text.split("failed:")[-1].strip()
    return f"the operator {operator[1]}: {detail}" if operator else detail
