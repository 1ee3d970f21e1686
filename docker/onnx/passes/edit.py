"""Small tools for changing a graph: who makes a tensor, who reads it, what is constant, what is still reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from graph import all_nodes, infer_shapes, opset_of
from jobkit import GraphError
from onnx import helper, numpy_helper

Array = np.ndarray[Any, Any]
ENDLESS = np.iinfo(np.int64).max


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give a copy, so that the caller's graph stays what it is."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def title(node: onnx.NodeProto) -> str:
    """Name a node for a reader: its operator, and its own name or that of what it makes."""
    return f"{node.op_type} {node.name or next(iter(node.output), '')}".strip()


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """Give the value of an attribute."""
    found = next((item for item in node.attribute if item.name == name), None)
    if found is None:
        return default
    value = helper.get_attribute_value(found)
    return value.decode() if isinstance(value, bytes) else value


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    """Set an attribute, or take it away where `value` is None."""
    for item in [item for item in node.attribute if item.name == name]:
        node.attribute.remove(item)
    if value is not None:
        node.attribute.append(helper.make_attribute(name, value))


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs inside a node."""
    for item in node.attribute:
        if item.HasField("g"):
            yield item.g
        yield from item.graphs


def reads(node: onnx.NodeProto) -> set[str]:
    """Give the tensors that a node reads, and those that the graphs inside it take from outside."""
    names = {name for name in node.input if name}
    for graph in subgraphs(node):
        own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
        own |= {name for inner in graph.node for name in inner.output}
        names |= {name for inner in graph.node for name in reads(inner)} - own
        names |= {value.name for value in graph.output} - own
    return names


def constant_of(node: onnx.NodeProto) -> Array | None:
    """Give what a Constant node holds, or None where it is none or holds no numbers."""
    if node.op_type != "Constant" or node.domain:
        return None
    for item in node.attribute:
        if item.name == "value":
            return np.asarray(numpy_helper.to_array(item.t))
        if item.name in ("value_int", "value_ints"):
            return np.asarray(helper.get_attribute_value(item), np.int64)
        if item.name in ("value_float", "value_floats"):
            return np.asarray(helper.get_attribute_value(item), np.float32)
    return None


class Constants:
    """The constant tensors of a graph, weights and Constant nodes, unpacked when they are asked for."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        inputs = {value.name for value in graph.input}
        self._tensors = {tensor.name: tensor for tensor in graph.initializer if tensor.name not in inputs}
        self._nodes = {node.output[0]: node for node in graph.node if node.op_type == "Constant"}

    def __contains__(self, name: object) -> bool:
        return name in self._tensors or name in self._nodes

    def get(self, name: str) -> Array | None:
        """Give a constant's value, or None where `name` is no constant."""
        if name in self._tensors:
            return np.asarray(numpy_helper.to_array(self._tensors[name]))
        return constant_of(self._nodes[name]) if name in self._nodes else None


class Names:
    """Names that nothing in the model has yet."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._taken = {value.name for value in (*model.graph.input, *model.graph.output, *model.graph.initializer)}
        for node in all_nodes(model.graph):
            self._taken |= {node.name, *node.input, *node.output}

    def new(self, like: str) -> str:
        """Give a name like `like`, with a number behind it where that is taken."""
        name, number = like, 1
        while name in self._taken:
            number += 1
            name = f"{like}_{number}"
        self._taken.add(name)
        return name


class Builder:
    """New nodes and weights for a graph; `place` puts the nodes where the order of the graph allows them."""

    def __init__(
        self, model: onnx.ModelProto, graph: onnx.GraphProto | None = None, names: Names | None = None
    ) -> None:
        self.model, self.graph = model, graph if graph is not None else model.graph
        self.names, self.nodes = names or Names(model), list[onnx.NodeProto]()

    def constant(self, like: str, value: Any, dtype: Any = None) -> str:
        """Add a weight and give its name."""
        name = self.names.new(like)
        self.model.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], *, output: str = "", **attributes: Any) -> str:
        """Add a node with one output and give the output's name."""
        result = output or self.names.new(f"{inputs[0]}_{operator.lower()}")
        made = helper.make_node(operator, list(inputs), [result], name=self.names.new(f"{result}_node"), **attributes)
        self.nodes.append(made)
        return result

    def slice(self, name: str, axis: int, start: int, stop: int, *, output: str = "") -> str:
        """Add a Slice from `start` to `stop` along one axis, as the opset of the model writes it."""
        if opset_of(self.model) < 10:
            return self.node("Slice", [name], output=output, starts=[start], ends=[stop], axes=[axis])
        bounds = [
            self.constant(f"{name}_{word}", [number], np.int64)
            for word, number in (("start", start), ("stop", stop), ("axis", axis))
        ]
        return self.node("Slice", [name, *bounds], output=output)

    def place(self) -> None:
        """Put the new nodes into the graph, each behind what it reads."""
        if self.nodes:
            self.graph.node.extend(self.nodes)
            self.nodes.clear()
            sort_nodes(self.graph)


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Put every node behind those whose outputs it reads, and leave the order alone otherwise."""
    made = {name for node in graph.node for name in node.output if name}
    waiting, done, ordered = list(graph.node), set[str](), list[onnx.NodeProto]()
    while waiting:
        late = []
        for node in waiting:
            if reads(node) & made <= done:
                ordered.append(node)
                done.update(node.output)
            else:
                late.append(node)
        if len(late) == len(waiting):
            raise GraphError(f"the graph has a cycle at {title(late[0])}", "see convert.log")
        waiting = late
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(copies)


def producers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """Give the node that makes each tensor."""
    return {name: node for node in graph.node for name in node.output if name}


def consumers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """Give the nodes that read each tensor, also from inside their own graphs."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in reads(node):
            found.setdefault(name, []).append(node)
    return found


def rename_tensor(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a tensor where it is made and where it is read; what the graph's outputs are stays the same."""
    for node in (producers(graph)[old], *consumers(graph).get(old, [])):
        _rename_in(node, old, new)
    for value in [value for value in graph.value_info if value.name == old]:
        graph.value_info.remove(value)


def _rename_in(node: onnx.NodeProto, old: str, new: str) -> None:
    for names in (node.input, node.output):
        for index, name in enumerate(names):
            if name == old:
                names[index] = new
    for graph in subgraphs(node):
        for inner in graph.node:
            _rename_in(inner, old, new)


def drop_unreached(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Take out the nodes whose outputs nobody reads, and give them; weights stay for drop_unused()."""
    wanted, kept, gone = {value.name for value in graph.output}, [], []
    for node in reversed(list(graph.node)):
        if wanted & set(node.output):
            wanted |= reads(node)
            kept.append(node)
        else:
            gone.append(node)
    for node in gone:
        graph.node.remove(node)
    return gone[::-1]


def unread(graph: onnx.GraphProto) -> set[str]:
    """Give the names of the weights that nothing reads."""
    used = {value.name for value in graph.output}.union(*(reads(node) for node in graph.node))
    return {tensor.name for tensor in graph.initializer} - used


def drop_unused(graph: onnx.GraphProto, kept: Iterable[str] = ()) -> list[str]:
    """Take out the weights that nothing reads, but for those in `kept`, and give their names."""
    names = unread(graph) - set(kept)
    for tensor in [tensor for tensor in graph.initializer if tensor.name in names]:
        graph.initializer.remove(tensor)
    for value in [value for value in graph.input if value.name in names]:
        graph.input.remove(value)
    return sorted(names)


def dims(value: onnx.ValueInfoProto) -> list[int | str]:
    """Give the sizes of a value; a free axis has its name, or "?" where it has none."""
    return [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in value.type.tensor_type.shape.dim
    ]


def shapes_of(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    """Give the sizes of every tensor that `model` tells, which is all of them after infer_shapes()."""
    graph = model.graph
    found = {
        value.name: dims(value)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }
    return {**found, **{tensor.name: list(tensor.dims) for tensor in graph.initializer}}


def inferred_shapes(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    """Give the sizes of every tensor, worked out anew; `model` stays as it is."""
    return shapes_of(infer_shapes(copied(model)))


def counted(names: Iterable[str], most: int = 8) -> str:
    """Join names for a reader, the first `most` of them."""
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
