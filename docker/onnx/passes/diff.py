"""What differs between two graphs: inputs, outputs, opset, operators by count, and nodes."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx
from graph import count_nodes, input_values, read_graph
from onnx import helper

from passes.edit import Constants, dims


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node that only one graph has, or that both have and not alike; `what` says how."""

    name: str
    operator: str
    what: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What has to be said of two graphs, `a` and `b`; equal graphs leave everything empty."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opsets: tuple[str, ...]
    operators: Mapping[str, tuple[int, int]]
    removed: tuple[Node, ...]
    added: tuple[Node, ...]
    changed: tuple[Node, ...]

    def __bool__(self) -> bool:
        """Tell whether anything differs."""
        return any((self.inputs, self.outputs, self.opsets, self.operators, self.removed, self.added, self.changed))

    def text(self) -> str:
        """Say it for a reader, a line for each."""
        return "\n".join(self._lines()) if self else "the graphs are equal"

    def _lines(self) -> Iterator[str]:
        yield from (f"input    {line}" for line in self.inputs)
        yield from (f"output   {line}" for line in self.outputs)
        yield from (f"opset    {line}" for line in self.opsets)
        yield from (f"operator {name}: {a} -> {b} ({b - a:+d})" for name, (a, b) in self.operators.items())
        for sign, nodes in (("-", self.removed), ("+", self.added)):
            yield from (f"node     {sign} {node.operator} {node.name}" for node in nodes)
        yield from (f"node     ~ {node.operator} {node.name}: {'; '.join(node.what)}" for node in self.changed)


def compare_graphs(a: onnx.ModelProto, b: onnx.ModelProto) -> Difference:
    """Compare two graphs."""
    nodes = [{key(node): node for node in model.graph.node if node.op_type != "Constant"} for model in (a, b)]
    weights = [Constants(model.graph) for model in (a, b)]
    removed, added = (
        tuple(Node(name=name, operator=node.op_type) for name, node in here.items() if name not in there)
        for here, there in (nodes, nodes[::-1])
    )
    changed = (
        Node(name=name, operator=node.op_type, what=what)
        for name, node in nodes[0].items()
        if name in nodes[1] and (what := tuple(_changes(node, nodes[1][name], weights)))
    )
    counts = [count_nodes(model) for model in (a, b)]
    return Difference(
        inputs=tuple(_values(input_values(a), input_values(b))),
        outputs=tuple(_values(a.graph.output, b.graph.output)),
        opsets=tuple(_opsets(a, b)),
        operators={
            name: pair
            for name in sorted({*counts[0], *counts[1]})
            if len(set(pair := (counts[0].get(name, 0), counts[1].get(name, 0)))) > 1
        },
        removed=removed,
        added=added,
        changed=tuple(changed),
    )


def key(node: onnx.NodeProto) -> str:
    """Give what a node is recognised by in another graph: its name, or that of what it makes."""
    return node.name or node.output[0]


def _values(a: Sequence[onnx.ValueInfoProto], b: Sequence[onnx.ValueInfoProto]) -> Iterator[str]:
    old, new = ({value.name: _typed(value) for value in values} for values in (a, b))
    for name in dict.fromkeys([*old, *new]):
        if name not in new:
            yield f"- {name} {old[name]}"
        elif name not in old:
            yield f"+ {name} {new[name]}"
        elif old[name] != new[name]:
            yield f"~ {name} {old[name]} -> {new[name]}"
    if list(old) != list(new) and set(old) == set(new):
        yield f"order: {', '.join(old)} -> {', '.join(new)}"


def _typed(value: onnx.ValueInfoProto) -> str:
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
    return f"{dtype}[{', '.join(map(str, dims(value)))}]"


def _opsets(a: onnx.ModelProto, b: onnx.ModelProto) -> Iterator[str]:
    old, new = ({entry.domain or "ai.onnx": entry.version for entry in model.opset_import} for model in (a, b))
    for domain in sorted({*old, *new}):
        if old.get(domain) != new.get(domain):
            yield f"{domain}: {old.get(domain, 'none')} -> {new.get(domain, 'none')}"


def _changes(a: onnx.NodeProto, b: onnx.NodeProto, weights: Sequence[Constants]) -> Iterator[str]:
    if a.op_type != b.op_type:
        yield f"{a.op_type} -> {b.op_type}"
    old, new = ({item.name: item for item in node.attribute} for node in (a, b))
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield f"{name}: {_said(old.get(name))} -> {_said(new.get(name))}"
    sources = [[_source(name, known) for name in node.input] for node, known in zip((a, b), weights, strict=True)]
    if sources[0] != sources[1]:
        yield f"inputs: {', '.join(sources[0])} -> {', '.join(sources[1])}"


def _said(item: onnx.AttributeProto | None) -> str:
    if item is None:
        return "none"
    value = helper.get_attribute_value(item)
    return value.decode() if isinstance(value, bytes) else " ".join(str(value).split())[:60]


def _source(name: str, weights: Constants) -> str:
    """Name a tensor; a constant by what it holds, whatever it is called."""
    value = weights.get(name)
    if value is None:
        return name or "none"
    if value.size <= 8:
        return str(value.tolist())
    digest = hashlib.sha256(value.tobytes()).hexdigest()[:8]
    return f"{value.dtype}{list(value.shape)} {digest}"


def main(arguments: Sequence[str]) -> int:
    """Print what differs between two files, as text, or as JSON with ``--json``; 1 where something does."""
    files = [argument for argument in arguments if argument != "--json"]
    found = compare_graphs(*(read_graph(Path(file)) for file in files))
    print(json.dumps(asdict(found), indent=2) if "--json" in arguments else found.text())
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
