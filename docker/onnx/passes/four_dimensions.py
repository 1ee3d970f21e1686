"""Five axes made four: two neighbours that stay neighbours become one, from the Reshape that makes them to the end.

The view and permutation of a detection head, (batch, anchors, values, height, width) to (batch, anchors, height,
width, values), becomes (batch, anchors, values, cells) to (batch, anchors, cells, values): the same numbers in the
same order, with the slices, joins and constants that follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
from graph import infer_shapes
from jobkit import GraphError, OptionError
from jobkit.runtime import Arrays

from passes.change import Change
from passes.columns import BINARY, UNARY
from passes.edit import Builder, Constants, attribute, copied, drop_unused, set_attribute, shapes_of, title, unread
from passes.merging import Misfit, Shapes, along, follow, merged_constant, merged_sizes

NAME = "four_dimensions"
MOST = 4
REMEDY = "write this part of the model with four dimensions, or cut the graph before it"


def read(value: object, model: onnx.ModelProto, samples: Sequence[Arrays]) -> bool:
    """Read the recipe's ``four_dimensions``. Raises OptionError."""
    if not isinstance(value, bool):
        raise OptionError(f"four_dimensions {value!r} is neither true nor false", "say four_dimensions: true")
    return value


def apply(model: onnx.ModelProto, wish: bool) -> Change:
    """Bring the five-dimensional parts of a copy of `model` to four.

    Raises GraphError naming the node that stands in the way.
    """
    if not wish:
        return Change(model=model)
    model, idle = infer_shapes(copied(model)), unread(model.graph)
    shapes, lines, outputs = shapes_of(model), list[str](), {value.name: value for value in model.graph.output}
    sizes: dict[str, tuple[int, ...]] = {}
    for region in regions(model, shapes):
        places = _places(model, region, shapes)
        _rewrite(model, region, places, shapes)
        lines += [f"four_dimensions: {title(node)}" for node in region]
        for name in set(places) & set(outputs):
            kept = _write_output(outputs[name], places[name], shapes[name])
            sizes[name] = kept
            lines.append(f"four_dimensions: the output {name} is {list(kept)} instead of {shapes[name]}")
    del model.graph.value_info[:]
    drop_unused(model.graph, idle)
    if lines:
        model = infer_shapes(model)
    return Change(
        model=model,
        lines=tuple(lines),
        expected=lambda arrays: reshaped(arrays, places_of(sizes)),
        facts={"outputs": {name: list(size) for name, size in sizes.items()}} if sizes else {},
    )


def places_of(sizes: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[int, ...]]:
    """Give the sizes of the outputs with the batch left open, which a later sample may change."""
    return {name: (-1, *size[1:]) for name, size in sizes.items()}


def reshaped(arrays: Arrays, sizes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Give the old outputs in four dimensions: the same numbers in the same order."""
    return {name: array.reshape(sizes[name]) if name in sizes else array for name, array in arrays.items()}


def regions(model: onnx.ModelProto, shapes: Shapes) -> Iterator[list[onnx.NodeProto]]:
    """Yield the groups of nodes that hand tensors of more than four dimensions to each other."""
    constants = Constants(model.graph)
    groups: list[tuple[list[onnx.NodeProto], set[str]]] = []
    for node in model.graph.node:
        large = {
            name for name in (*node.input, *node.output) if len(shapes.get(name, [])) > MOST and name not in constants
        }
        if not large or node.op_type == "Constant":
            continue
        touching = [group for group in groups if group[1] & large]
        groups = [group for group in groups if not group[1] & large]
        nodes = [item for group in touching for item in group[0]] + [node]
        groups.append((nodes, large.union(*(group[1] for group in touching))))
    yield from (nodes for nodes, _ in groups)


def _places(model: onnx.ModelProto, region: Sequence[onnx.NodeProto], shapes: Shapes) -> dict[str, int]:
    """Choose which two neighbouring axes become one, the last first, and follow them through the region."""
    constants = Constants(model.graph)
    seed = next(
        name
        for node in region
        for name in (*node.output, *node.input)
        if len(shapes.get(name, [])) > MOST and name not in constants
    )
    for node in region:
        rank = max(len(shapes.get(name, [])) for name in (*node.input, *node.output))
        if rank > MOST + 1:
            raise GraphError(f"four_dimensions: {title(node)} has {rank} dimensions", REMEDY)
    misfits = []
    for place in reversed(range(MOST)):
        try:
            return follow(region, shapes, constants, {seed: place})
        except Misfit as misfit:
            misfits.append(misfit)
    furthest = max(misfits, key=lambda misfit: region.index(misfit.node))
    raise GraphError(f"four_dimensions: {title(furthest.node)} {furthest.reason}", REMEDY)


def _rewrite(
    model: onnx.ModelProto, region: Sequence[onnx.NodeProto], places: Mapping[str, int], shapes: Shapes
) -> None:
    builder, constants = Builder(model), Constants(model.graph)
    for node in region:
        if node.op_type == "Reshape":
            _reshape(builder, constants, node, places, shapes)
        elif node.op_type == "Transpose":
            place, perm = places[node.input[0]], list(attribute(node, "perm"))
            set_attribute(node, "perm", [axis - (axis > place) for axis in perm if axis != place + 1])
        elif node.op_type in UNARY | BINARY | {"Where", "Clip"}:
            _operands(builder, constants, node, places, shapes)
        else:
            _axes(builder, constants, node, places[next(name for name in node.output if name in places)], shapes)


def _reshape(
    builder: Builder, constants: Constants, node: onnx.NodeProto, places: Mapping[str, int], shapes: Shapes
) -> None:
    before, after = places.get(node.input[0]), places.get(node.output[0])
    vector = constants.get(node.input[1])
    assert vector is not None
    entries = []
    for index, entry in enumerate(vector.tolist()):
        size = shapes[node.output[0]][index]
        kept = index < min(MOST if place is None else place for place in (before, after))
        # A 0 copies the axis of the same number, and the axes move.
        entries.append(size if entry == 0 and not kept and isinstance(size, int) else entry)
    if after is not None:
        entries = merged_sizes(entries, after)
    node.input[1] = builder.constant(node.input[1], entries, np.int64)


def _operands(
    builder: Builder, constants: Constants, node: onnx.NodeProto, places: Mapping[str, int], shapes: Shapes
) -> None:
    place = places[node.output[0]]
    for index, name in enumerate(node.input):
        constant = constants.get(name) if name else None
        if constant is not None and constant.size > 1:
            fitted = merged_constant(constant, place, shapes[node.output[0]])
            assert fitted is not None
            node.input[index] = builder.constant(name, fitted)
        elif constant is not None and constant.ndim > MOST:
            node.input[index] = builder.constant(name, constant.reshape(-1))


def _axes(builder: Builder, constants: Constants, node: onnx.NodeProto, place: int, shapes: Shapes) -> None:
    rank = MOST + 1
    moved = {axis: axis - (axis > place) for axis in range(rank)}
    if node.op_type == "Slice" and len(node.input) > 1:
        node.input[3] = builder.constant(
            node.input[3], [moved[axis] for axis in along(node, constants, rank)], np.int64
        )
    elif node.op_type == "Slice":
        set_attribute(node, "axes", [moved[axis] for axis in along(node, constants, rank)])
    else:
        set_attribute(node, "axis", moved[along(node, constants, rank)[0]])


def _write_output(value: onnx.ValueInfoProto, place: int, sizes: Sequence[int | str]) -> tuple[int, ...]:
    kept = merged_sizes(list(sizes), place)
    value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, kept))
    return tuple(size if isinstance(size, int) else -1 for size in kept)
