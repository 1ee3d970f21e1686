"""A smaller graph: named outputs or tensors kept, named branches removed, and nothing that is no longer reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import onnx
from graph import infer_shapes, input_values
from jobkit import GraphError, OptionError
from jobkit.runtime import Arrays

from passes.change import Change
from passes.edit import copied, counted, dims, drop_unreached, drop_unused, producers, reads, rename_tensor, title
from passes.proof import opened, random_samples

NAME = "cut"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """`keep`: outputs or tensors inside, in their order, none: all outputs; `remove`: nodes where branches begin."""

    keep: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


def read(value: Any, model: onnx.ModelProto, samples: Sequence[Arrays]) -> Wish:
    """Read the recipe's ``keep`` and ``remove``. Raises OptionError with the nearest names."""
    if not isinstance(value, Mapping):
        raise OptionError(f"cut {value!r} has no keep and no remove", "say keep: [names] or remove: [nodes]")
    wish = Wish(keep=tuple(value.get("keep") or ()), remove=tuple(value.get("remove") or ()))
    _check(wish.keep, _tensors(model), "keep", "tensor")
    _check(
        wish.remove,
        {name for node in model.graph.node for name in (node.name, node.output[0]) if name},
        "remove",
        "node",
    )
    return wish


def _tensors(model: onnx.ModelProto) -> set[str]:
    return {name for node in model.graph.node for name in node.output if name} | {
        value.name for value in model.graph.output
    }


def _check(names: Iterable[str], known: set[str], key: str, what: str) -> None:
    for name in names:
        if name not in known:
            nearest = get_close_matches(name, known, n=3, cutoff=0.5)
            raise OptionError(
                f"{key} names {name!r}, which is no {what} of the graph",
                f"did you mean {' or '.join(nearest)}?" if nearest else f"it has {counted(sorted(known))}",
            )


def apply(model: onnx.ModelProto, wish: Wish) -> Change:
    """Cut a copy of `model` as `wish` says."""
    before = model
    model = infer_shapes(copied(model))
    lines, sources = [], {value.name: value.name for value in model.graph.output}
    if wish.remove:
        sources, removed = _remove(model, wish.remove)
        lines.append(f"cut: removed {counted(map(title, removed))}")
    if wish.keep:
        sources = _kept(model, wish.keep, sources)
    if sources == {value.name: value.name for value in before.graph.output}:
        return Change(model=before)
    _set_outputs(model, before, sources)
    gone, weights = drop_unreached(model.graph), drop_unused(model.graph)
    lines += [f"cut: the output {name} is {source}" for name, source in sources.items()]
    lines += [f"cut: dropped {title(node)}, which nothing reads" for node in gone]
    lines += [f"cut: dropped {len(weights)} weights, which nothing reads"] * bool(weights)
    lines += [f"cut: dropped the input {name}, which nothing reads" for name in _drop_inputs(model)]
    fed = {value.name for value in input_values(model)}
    return Change(
        model=infer_shapes(model),
        lines=tuple(lines),
        taps=tuple(sources.values()),
        expected=lambda arrays: {name: arrays[source] for name, source in sources.items()},
        inputs=lambda sample: {name: array for name, array in sample.items() if name in fed},
    )


def _remove(model: onnx.ModelProto, names: Sequence[str]) -> tuple[dict[str, str], list[onnx.NodeProto]]:
    """Take out the branches that begin at the named nodes; give what each output is then, and the nodes taken out."""
    graph = model.graph
    branch = _downstream(graph, [node for node in graph.node if node.name in names or node.output[0] in names])
    dead = {name for node in branch for name in node.output}
    made = producers(graph)
    constant = _constant_tensors(graph)
    sources: dict[str, str] = {}
    for value in graph.output:
        if value.name not in dead:
            sources[value.name] = value.name
            continue
        ends = _frontier(made[value.name], made, dead)
        live = [name for name in ends if name not in constant]
        for name in live:
            sources[value.name if len(live) == 1 else name] = name
    inputs = {value.name for value in graph.input}
    if not sources or set(sources.values()) & inputs:
        raise GraphError("cut: removing these nodes leaves outputs that are only inputs", "remove nodes further down")
    removed = [onnx.NodeProto.FromString(node.SerializeToString()) for node in branch]
    for node in branch:
        graph.node.remove(node)
    return sources, removed


def _downstream(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    dead = {name for node in nodes for name in node.output}
    found = list(nodes)
    for node in graph.node:  # in their order: a node comes behind what it reads
        if node not in found and reads(node) & dead:
            found.append(node)
            dead |= set(node.output)
    return found


def _constant_tensors(graph: onnx.GraphProto) -> set[str]:
    known = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if reads(node) <= known:
            known |= set(node.output)
    return known


def _frontier(node: onnx.NodeProto, made: Mapping[str, onnx.NodeProto], dead: set[str]) -> list[str]:
    """List the living tensors that a dead node was computed of."""
    found, waiting, seen = dict[str, None](), [node], set[str]()
    while waiting:
        current = waiting.pop()
        for name in sorted(reads(current)):
            if name not in dead:
                found[name] = None
            elif name not in seen:
                seen.add(name)
                waiting.append(made[name])
    return list(found)


def _kept(model: onnx.ModelProto, keep: Sequence[str], sources: Mapping[str, str]) -> dict[str, str]:
    there = _tensors(model) | set(sources)
    gone = [name for name in keep if name not in there]
    if gone:
        raise OptionError(f"keep names {gone[0]!r}, which remove takes away", "keep another tensor, or remove less")
    return {name: sources.get(name, name) for name in keep}


def _set_outputs(model: onnx.ModelProto, before: onnx.ModelProto, sources: Mapping[str, str]) -> None:
    graph = model.graph
    known = {value.name: value for value in (*graph.value_info, *graph.output)}
    values = []
    for name, source in sources.items():
        value = onnx.ValueInfoProto()
        value.CopyFrom(known.get(source) or onnx.ValueInfoProto())
        if not value.type.tensor_type.elem_type:
            raise GraphError(f"cut: the type of {source} is not known, so that it can be no output", "keep another one")
        if not value.type.tensor_type.HasField("shape"):
            _measure(before, value)
        value.name = name
        values.append(value)
    for name, source in sources.items():
        if name != source:
            rename_tensor(graph, source, name)
    del graph.output[:]
    graph.output.extend(values)


def _measure(model: onnx.ModelProto, value: onnx.ValueInfoProto) -> None:
    """Find the sizes of a tensor by a run, where inference does not; with free inputs, only how many axes it has."""
    array = opened(model, [value.name])(next(random_samples(model, [], 1)))[value.name]
    free = any(not isinstance(size, int) for item in input_values(model) for size in dims(item))
    shape = value.type.tensor_type.shape
    shape.SetInParent()
    for size in array.shape:
        dim = shape.dim.add()
        if not free:
            dim.dim_value = size


def _drop_inputs(model: onnx.ModelProto) -> list[str]:
    used = {value.name for value in model.graph.output}.union(*(reads(node) for node in model.graph.node))
    gone = [value for value in model.graph.input if value.name not in used]
    for value in gone:
        model.graph.input.remove(value)
    return [value.name for value in gone]
