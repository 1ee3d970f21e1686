"""A detector cut where its decode begins: the raw heads become the outputs, and floats outside do the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
from graph import infer_shapes
from jobkit import GraphError, OptionError
from jobkit.runtime import Arrays
from onnx import helper

from passes import cut
from passes.change import EXACT, ROUNDING, Change
from passes.edit import (
    Array,
    Builder,
    Constants,
    attribute,
    drop_unreached,
    drop_unused,
    inferred_shapes,
    producers,
    reads,
    title,
)

NAME = "cut_decode"
REMEDY = "name the heads yourself, with keep: [names]"

# The last of these on the way to an output is where a raw head is made; it brings its bias and scale along.
LEARNED = frozenset({"Conv", "Gemm", "MatMul", "ConvTranspose", "QLinearConv"})

Columns = tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Cut the decode; of each anchor, the `columns` from start to stop are outputs of their own, where any are named.

    In 8 bits a tensor has one scale: logits that reach far below zero take it from offsets that do not.
    """

    columns: Columns = ()


def read(value: object, model: onnx.ModelProto, samples: Sequence[Arrays]) -> Wish | None:
    """Read the recipe's ``cut_decode``: true, or {columns: [[0, 4], [4, 5], ...]}. Raises OptionError."""
    if isinstance(value, bool):
        return Wish() if value else None
    columns = value.get("columns") if isinstance(value, Mapping) and set(value) == {"columns"} else None
    try:
        parts = tuple((int(start), int(stop)) for start, stop in columns or ())
    except (TypeError, ValueError):
        parts = ()
    joined = [column for start, stop in parts for column in range(start, stop)]
    if not joined or joined != list(range(len(joined))):
        raise OptionError(
            f"cut_decode {value!r} is not understood",
            "say true, or {columns: [[0, 4], [4, 5], [5, 16]]}, which name each column of an anchor once and in order",
        )
    return Wish(columns=parts)


def apply(model: onnx.ModelProto, wish: Wish | None) -> Change:
    """Cut the decode off a copy of `model`.

    Raises GraphError where no output comes from a convolution, or a head does not have the columns of the recipe.
    """
    if wish is None:
        return Change(model=model)
    heads = raw_heads(model)
    outputs = [value.name for value in model.graph.output]
    if not heads:
        raise GraphError("cut_decode: no output comes from a convolution", REMEDY)
    if sorted(heads) == sorted(outputs) and not wish.columns:
        return Change(model=model)
    done = cut.apply(model, cut.Wish(keep=tuple(heads)))
    lines = [line.replace("cut:", "cut_decode:", 1) for line in done.lines]
    described, parts = _described(model, heads), dict[str, tuple[str, list[int]]]()
    if wish.columns:
        for head in described:
            parts |= _split(done.model, head, wish.columns)
        lines += [f"cut_decode: {part} is {len(taken)} channels of {name}" for part, (name, taken) in parts.items()]
        _finish(done.model, parts)

    def expected(arrays: Arrays) -> Arrays:
        whole = done.expected(arrays)
        return {part: whole[name][:, channels] for part, (name, channels) in parts.items()} if parts else whole

    return Change(
        model=infer_shapes(done.model) if parts else done.model,
        lines=tuple(lines),
        taps=done.taps or tuple(heads),
        expected=expected,
        inputs=done.inputs,
        limit=ROUNDING if parts else EXACT,
        facts={"outputs": outputs, "heads": described},
    )


def _split(model: onnx.ModelProto, head: dict[str, object], columns: Columns) -> dict[str, tuple[str, list[int]]]:
    """Add convolutions for parts of a head, each with its share of the weights; give each part's channels of it."""
    name = str(head["name"])
    node, constants = producers(model.graph)[name], Constants(model.graph)
    weights = [constants.get(tensor) for tensor in node.input[1:]]
    if node.op_type != "Conv" or attribute(node, "group", 1) != 1 or any(array is None for array in weights):
        raise GraphError(f"cut_decode: {title(node)} is no plain convolution, which columns could be taken of", REMEDY)
    learned: list[Array] = [array for array in weights if array is not None]
    width, count = columns[-1][1], len(learned[0])
    if count % width:
        raise GraphError(
            f"cut_decode: {name} has {count} channels, no multiple of the {width} columns of the recipe",
            "name all columns of an anchor: box, objectness, landmarks and classes",
        )
    builder, parts = Builder(model), dict[str, tuple[str, list[int]]]()
    for start, stop in columns:
        channels = [anchor * width + column for anchor in range(count // width) for column in range(start, stop)]
        part = builder.names.new(f"{name}_{start}_{stop}")
        made = onnx.NodeProto.FromString(node.SerializeToString())
        made.name, made.output[0] = builder.names.new(f"{part}_node"), part
        made.input[1:] = [
            builder.constant(f"{part}_{index}", array[channels], array.dtype) for index, array in enumerate(learned)
        ]
        builder.nodes.append(made)
        parts[part] = (name, channels)
    builder.place()
    head["parts"] = {part: list(bounds) for part, bounds in zip(parts, columns, strict=True)}
    return parts


def _finish(model: onnx.ModelProto, parts: Mapping[str, tuple[str, list[int]]]) -> None:
    """Make the parts the outputs, and drop the whole heads."""
    heads = {value.name: value for value in model.graph.output}
    values = []
    for part, (name, channels) in parts.items():
        old = heads[name].type.tensor_type
        sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in old.shape.dim]
        values.append(helper.make_tensor_value_info(part, old.elem_type, [sizes[0], len(channels), *sizes[2:]]))
    del model.graph.output[:]
    model.graph.output.extend(values)
    drop_unreached(model.graph)
    drop_unused(model.graph)


def raw_heads(model: onnx.ModelProto) -> list[str]:
    """Find the last learned tensors on each way from the outputs back, in the order of the graph."""
    made = producers(model.graph)
    found, waiting, seen = set[str](), [value.name for value in model.graph.output], set[str]()
    while waiting:
        node = made.get(name := waiting.pop())
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in LEARNED:
            found.add(name)
        else:
            waiting.extend(reads(node))
    return [
        name for node in model.graph.node for name in node.output if name in found and not _feeds(made, name, found)
    ]


def _feeds(made: dict[str, onnx.NodeProto], name: str, heads: set[str]) -> bool:
    """Tell whether another head is computed of `name`, which then is no last one."""
    for head in heads - {name}:
        waiting, seen = list(reads(made[head])), set[str]()
        while waiting:
            current = waiting.pop()
            if current == name:
                return True
            if current not in seen and current in made:
                seen.add(current)
                waiting.extend(reads(made[current]))
    return False


def _described(model: onnx.ModelProto, heads: Sequence[str]) -> list[dict[str, object]]:
    shapes, made = inferred_shapes(model), producers(model.graph)
    picture = next((shape for value in model.graph.input if len(shape := shapes[value.name]) == 4), [])
    described = []
    for name in heads:
        shape = shapes.get(name, [])
        fixed = len(shape) == 4 and isinstance(shape[3], int) and len(picture) == 4 and isinstance(picture[3], int)
        stride = int(picture[3]) // int(shape[3]) if fixed else None
        sizes = [size if isinstance(size, int) else None for size in shape]
        described.append({"name": name, "node": title(made[name]), "shape": sizes, "stride": stride})
    return described
