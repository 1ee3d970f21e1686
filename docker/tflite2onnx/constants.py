"""Constants under names of their own: tf2onnx's differ from run to run."""

from __future__ import annotations

from collections.abc import Iterator

import onnx


def name_constants(model: onnx.ModelProto) -> None:
    """Name and order the initialisers of a graph by their first use.

    Of constants that are equal tf2onnx keeps one, and which one depends on where they lie in memory: the numbers and
    the structure are the same in each run, the names are not. An initialiser that is an output keeps its name.
    """
    graph = model.graph
    outputs = {value.name for value in graph.output}
    mine = {tensor.name: tensor for tensor in graph.initializer}
    used = dict.fromkeys(node.input[index] for node, index in _inputs(graph) if node.input[index] in mine)
    taken = {name for node in graph.node for name in node.output} | outputs | {value.name for value in graph.input}
    fresh = (name for number in range(len(mine) + len(taken)) if (name := f"constant_{number}") not in taken)
    names = {name: name if name in outputs else next(fresh) for name in used}
    for node, index in _inputs(graph):
        node.input[index] = names.get(node.input[index], node.input[index])
    kept = [mine[name] for name in (*used, *(name for name in mine if name in outputs and name not in used))]
    for tensor in kept:
        tensor.name = names.get(tensor.name, tensor.name)
    # Copies, since clearing a repeated field takes its messages along.
    ordered = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del graph.initializer[:]
    graph.initializer.extend(ordered)
    described = [value for value in graph.value_info if value.name not in mine]
    described = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in described]
    del graph.value_info[:]
    graph.value_info.extend(described)


def _inputs(graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, int]]:
    """Yield each input of each node, those of the graphs inside nodes too."""
    for node in graph.node:
        yield from ((node, index) for index in range(len(node.input)))
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _inputs(inner)
