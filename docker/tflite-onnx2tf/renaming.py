"""A copy of an ONNX graph under plain names: onnx2tf changes names with colons and slashes, and sets its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from jobkit import GraphError, Input, brief


@dataclass(frozen=True, kw_only=True)
class Plain:
    """The copy, and by its own names (``input_0``, ``output_0``, and so on) those that the graph had.

    `nodes` are described by name and operator.
    """

    model: onnx.ModelProto
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    nodes: Mapping[str, str]


def read_plain(path: Path, inputs: Sequence[Input]) -> Plain:
    """Read the graph at `path` and give it under plain names, with the sizes of the recipe.

    Raises GraphError where it is no ONNX file, or its inputs are not those of the recipe.
    """
    try:
        model = onnx.load(path)
    except Exception as error:
        raise GraphError(f"{path.name} is no ONNX file: {brief(error)}", "make it again") from None
    weights = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in model.graph.input if value.name not in weights]
    _fix_sizes({value.name: value for value in values}, inputs)
    fed = {value.name: f"input_{number}" for number, value in enumerate(values)}
    given = _names_of_outputs(model, fed)
    nodes = {f"n{number}_{node.op_type}": f"{node.name or node.output[0]} ({node.op_type})"
             for number, node in enumerate(model.graph.node)}
    for name, node in zip(nodes, model.graph.node, strict=True):
        node.name = name
    _rename(model.graph, {**fed, **given})
    inputs_before, outputs_before = ({new: old for old, new in names.items()} for names in (fed, given))
    return Plain(model=model, inputs=inputs_before, outputs=outputs_before, nodes=nodes)


def _fix_sizes(values: Mapping[str, onnx.ValueInfoProto], inputs: Sequence[Input]) -> None:
    missing = [item.name for item in inputs if item.name not in values]
    if missing:
        raise GraphError(f"the graph has no input {', '.join(missing)}; it has {', '.join(values)}",
                         "name the inputs in the recipe as the graph does")
    for item in inputs:
        dims = values[item.name].type.tensor_type.shape.dim
        own = [dim.dim_value or None for dim in dims]
        pairs = zip(own, item.shape, strict=False)
        if len(own) != len(item.shape) or any(one not in (None, size) for one, size in pairs):
            raise GraphError(
                f"the graph has {item.name} as {[size or 'free' for size in own]}; the recipe says {list(item.shape)}",
                "give the recipe the shape of the graph",
            )
        for dim, size in zip(dims, item.shape, strict=True):
            dim.dim_value = size


def _names_of_outputs(model: onnx.ModelProto, inputs: Mapping[str, str]) -> dict[str, str]:
    names = [value.name for value in model.graph.output]
    passed = [name for name in names if name in inputs or names.count(name) > 1]
    if passed:
        raise GraphError(f"{passed[0]} is two of the graph's inputs and outputs at once", "let the model give it once")
    return {name: f"output_{number}" for number, name in enumerate(names)}


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for entry in (*graph.input, *graph.initializer, *graph.output, *graph.value_info):
        entry.name = names.get(entry.name, entry.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                own = {value.name for value in (*inner.input, *inner.initializer)}
                _rename(inner, {old: new for old, new in names.items() if old not in own})
