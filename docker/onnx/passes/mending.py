"""Rules for the operators that can hold the batch in a constant: the constant is replaced, or the node refused."""

from __future__ import annotations

from math import prod

import onnx

from passes.edit import ENDLESS, attribute, set_attribute
from passes.walk import Rules, Walk

# How an entry of a shape is said: a number, or the number of items at run time times the number.
Entry = tuple[bool, int]


def reshape(walk: Walk, node: onnx.NodeProto) -> None:
    """Give the target shape of a Reshape the batch where the batch of its input goes."""
    axis, before, after = walk.batch_axis(node.input[0]), walk.old.shape(node.input[0]), walk.new.shape(node.input[0])
    result, vector = walk.old.shape(node.output[0]), walk.new.values.get(node.input[1])
    if axis is None or before is None or after is None or result is None:
        return
    place = batch_place(before, axis, result, walk.before)
    if place is None:
        raise walk.refused(node, f"mixes the batch with other axes: {list(before)} becomes {list(result)}")
    if vector is None:
        raise walk.refused(node, "takes its shape from values, which cannot be followed")
    wanted = [*result]
    wanted[place] = result[place] // walk.before * walk.after
    zeros = not attribute(node, "allowzero", 0)
    if resolved(vector.tolist(), after, zeros) == wanted:
        return
    entries = vector.tolist()
    if walk.symbol is None:
        walk.patch(node, 1, place, wanted[place])
    elif zeros and place == axis and after[axis] == wanted[place]:
        walk.patch(node, 1, place, 0)
    elif -1 not in entries[:place] + entries[place + 1 :]:
        walk.patch(node, 1, place, -1)
    else:
        walk.patch(node, 1, place, None, wanted[place] // walk.after)


def batch_place(before: tuple[int, ...], axis: int, result: tuple[int, ...], batch: int) -> int | None:
    """Find the axis of `result` where the batch lands: what comes before it in memory must stay the same."""
    outer = prod(before[:axis])
    places = [place for place in range(len(result)) if prod(result[:place]) == outer and result[place] % batch == 0]
    fitting = [place for place in places if result[place] >= batch]
    if axis in fitting and result[axis] == before[axis]:
        return axis
    return fitting[0] if fitting else None


def resolved(entries: list[int], shape: tuple[int, ...], zeros: bool) -> list[int] | None:
    """Give the shape that a Reshape's entries make of `shape`, or None where they do not fit."""
    sizes = [shape[i] if entry == 0 and zeros and i < len(shape) else entry for i, entry in enumerate(entries)]
    if -1 in sizes:
        rest = -prod(sizes)
        if not rest or prod(shape) % rest:
            return None
        sizes[sizes.index(-1)] = prod(shape) // rest
    return sizes if prod(sizes) == prod(shape) else None


def expand(walk: Walk, node: onnx.NodeProto) -> None:
    """Let Expand keep the batch of its input, whatever it is: a 1 does."""
    axis, shape, vector = (
        walk.batch_axis(node.input[0]),
        walk.new.shape(node.input[0]),
        walk.new.values.get(node.input[1]),
    )
    if axis is None or shape is None or vector is None:
        return
    place = axis + len(vector) - len(shape)
    if place >= 0 and int(vector[place]) not in (1, shape[axis]):
        walk.patch(node, 1, place, 1)


def resize(walk: Walk, node: onnx.NodeProto) -> None:
    """Give the sizes of a Resize the batch."""
    axis, shape = walk.batch_axis(node.input[0]), walk.new.shape(node.input[0])
    if axis is None or shape is None or len(node.input) < 4 or not node.input[3]:
        return
    axes = [item % len(shape) for item in attribute(node, "axes", range(len(shape)))]
    sizes = walk.new.values.get(node.input[3])
    if sizes is not None and axis in axes and int(sizes[axes.index(axis)]) != shape[axis]:
        number = None if walk.symbol else shape[axis]
        walk.patch(node, 3, axes.index(axis), number, shape[axis] // walk.after)


def slices(walk: Walk, node: onnx.NodeProto) -> None:
    """Let a Slice over the whole batch stay one over the whole batch."""
    axis, before, after = walk.batch_axis(node.input[0]), walk.old.shape(node.input[0]), walk.old.shape(node.output[0])
    if axis is None or before is None or after is None:
        return
    names = [node.input[i] if i < len(node.input) else "" for i in range(5)]
    given = {"starts": 1, "ends": 2, "axes": 3}
    parts = {
        key: walk.new.values.get(names[i]) if len(node.input) > 1 else attribute(node, key) for key, i in given.items()
    }
    if parts["starts"] is None or parts["ends"] is None:
        return
    starts, ends = list(map(int, parts["starts"])), list(map(int, parts["ends"]))
    axes = [int(item) % len(before) for item in (parts["axes"] if parts["axes"] is not None else range(len(starts)))]
    if axis not in axes:
        return
    if after[axis] != before[axis]:
        raise walk.refused(node, f"picks {after[axis]} of the {before[axis]} items along the batch")
    place = axes.index(axis)
    _whole(walk, node, place, (starts, ends))


def _whole(walk: Walk, node: onnx.NodeProto, place: int, bounds: tuple[list[int], list[int]]) -> None:
    starts, ends = bounds
    if ends[place] < starts[place] or ends[place] >= ENDLESS // 2**40:
        return  # a flip, or open already
    if len(node.input) > 1:
        walk.patch(node, 1, place, 0)
        walk.patch(node, 2, place, ENDLESS)
    else:
        set_attribute(node, "starts", [*starts[:place], 0, *starts[place + 1 :]])
        set_attribute(node, "ends", [*ends[:place], ENDLESS, *ends[place + 1 :]])
        walk.note(node, "its range over the batch is open")


def concat(walk: Walk, node: onnx.NodeProto) -> None:
    """Repeat what is the same for every item and is joined to what is not."""
    axes = {walk.batch_axis(name) for name in node.input} - {None}
    if not axes:
        return
    axis = axes.pop()
    shape = next(shape for name in node.input if (shape := walk.old.shape(name)) and walk.batch_axis(name) is not None)
    if axes or axis == attribute(node, "axis", 1) % len(shape):
        raise walk.refused(node, "joins tensors along the batch")
    for index, name in enumerate(node.input):
        own = walk.old.shape(name)
        if walk.batch_axis(name) is None and own is not None and axis is not None and own[axis] == shape[axis]:
            walk.repeat(node, index, axis)


def recurrent(walk: Walk, node: onnx.NodeProto) -> None:
    """Repeat the initial states and the lengths, which are constants as a rule."""
    if walk.batch_axis(node.input[0]) is None:
        return
    axis = 0 if attribute(node, "layout", 0) else 1
    for index, place in ((4, 0), (5, axis), (6, axis)):
        if index < len(node.input) and node.input[index] and walk.batch_axis(node.input[index]) is None:
            walk.repeat(node, index, place)


def broadcast(walk: Walk, node: onnx.NodeProto) -> None:
    """Let a constant that has a row for each item of the old batch have one for all: the proof tells if they differ."""
    result = walk.old.shape(node.output[0])
    if result is None or walk.before == 1:
        return
    places = {
        axis - len(shape)
        for name in node.input
        if (axis := walk.batch_axis(name)) is not None and (shape := walk.old.shape(name))
    }
    for index, name in enumerate(node.input):
        shape = walk.old.shape(name) if name else None
        if len(places) != 1 or shape is None or walk.batch_axis(name) is not None:
            continue
        place = min(places)
        if len(shape) >= -place and shape[place] == walk.before:
            walk.first(node, index, len(shape) + place)


RULES: Rules = {
    "Reshape": reshape,
    "Expand": expand,
    "Resize": resize,
    "Slice": slices,
    "Concat": concat,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), recurrent),
    **dict.fromkeys(
        (
            "Add",
            "Sub",
            "Mul",
            "Div",
            "Pow",
            "Where",
            "Max",
            "Min",
            "Mean",
            "Sum",
            "PRelu",
            "Equal",
            "Less",
            "Greater",
            "And",
            "Or",
            "MatMul",
        ),
        broadcast,
    ),
}
