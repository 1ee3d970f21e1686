"""Which two axes become one in each tensor of a region, and what that makes of sizes and constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx

from passes.columns import BINARY, UNARY
from passes.edit import Array, Constants, attribute

Shapes = Mapping[str, list[int | str]]
RANK = 5

# They work along one axis or a few, and leave the others alone.
ALONG = frozenset({"Slice", "Concat", "Split", "Softmax", "LogSoftmax", "Gather"})


class Misfit(Exception):  # noqa: N818 - an attempt that did not fit, not a failure
    """Say which node does not go with the two axes as one."""

    def __init__(self, node: onnx.NodeProto, reason: str) -> None:
        """Keep `node` and `reason`."""
        super().__init__(reason)
        self.node, self.reason = node, reason


def follow(
    region: Sequence[onnx.NodeProto], shapes: Shapes, constants: Constants, seed: Mapping[str, int]
) -> dict[str, int]:
    """Give the first of the two axes in every tensor of `region`, from the one in `seed` on. Raises Misfit."""
    places, waiting = dict(seed), list(region)
    while waiting:
        ready = [node for node in waiting if any(name in places for name in (*node.input, *node.output))]
        if not ready:
            break
        for node in ready:
            for name, place in _around(node, shapes, constants, places).items():
                if places.setdefault(name, place) != place:
                    raise Misfit(node, "joins parts in which other axes are neighbours")
            waiting.remove(node)
    return places


def _around(node: onnx.NodeProto, shapes: Shapes, constants: Constants, places: Mapping[str, int]) -> dict[str, int]:
    large = [
        name for name in (*node.input, *node.output) if len(shapes.get(name, [])) == RANK and name not in constants
    ]
    if node.op_type == "Reshape":
        return _reshape(node, shapes, constants, places, large)
    if node.op_type == "Transpose":
        return _transpose(node, places)
    place = next(places[name] for name in large if name in places)
    if node.op_type in UNARY | BINARY | {"Where", "Clip"}:
        _check_operands(node, shapes, constants, place)
    elif node.op_type in ALONG:
        _check_axes(node, shapes, constants, place)
    else:
        raise Misfit(node, "has no form with fewer dimensions")
    return dict.fromkeys(large, place)


def _reshape(
    node: onnx.NodeProto, shapes: Shapes, constants: Constants, places: Mapping[str, int], large: Sequence[str]
) -> dict[str, int]:
    if len(large) > 1:
        raise Misfit(node, "goes from five dimensions to five")
    vector, place = constants.get(node.input[1]), places[large[0]]
    if vector is None:
        raise Misfit(node, "takes its shape from values; constants: true may fold them")
    result = shapes[node.output[0]]
    if any(entry == 0 and index >= place and not isinstance(result[index], int) for index, entry in enumerate(vector)):
        raise Misfit(node, "copies a free axis that moves")
    return {large[0]: place}


def _transpose(node: onnx.NodeProto, places: Mapping[str, int]) -> dict[str, int]:
    source, result = node.input[0], node.output[0]
    perm = list(attribute(node, "perm"))
    if source in places:
        first, second = places[source], places[source] + 1
        place = perm.index(first)
        if perm[place + 1 : place + 2] != [second]:
            raise Misfit(node, "parts the two axes")
        return {source: first, result: place}
    place = places[result]
    if perm[place + 1] != perm[place] + 1:
        raise Misfit(node, "parts the two axes")
    return {source: perm[place], result: place}


def _check_operands(node: onnx.NodeProto, shapes: Shapes, constants: Constants, place: int) -> None:
    result = shapes[node.output[0]]
    for name in [name for name in node.input if name]:
        constant, shape = constants.get(name), shapes.get(name, [])
        if constant is not None:
            if constant.size > 1 and merged_constant(constant, place, result) is None:
                raise Misfit(node, f"has a constant {name} that does not go with it")
        elif len(shape) < RANK and place + 1 >= RANK - len(shape) and shape != [1] and shape:
            raise Misfit(node, f"has an operand {name} of fewer dimensions")
        elif len(shape) == RANK and [shape[place], shape[place + 1]] != [result[place], result[place + 1]]:
            raise Misfit(node, f"stretches {name} along the two axes")


def _check_axes(node: onnx.NodeProto, shapes: Shapes, constants: Constants, place: int) -> None:
    axes = along(node, constants, RANK)
    if not axes or {place, place + 1} & set(axes):
        raise Misfit(node, "works along the two axes")
    if any(len(shapes.get(name, [])) != RANK for name in node.output):
        raise Misfit(node, "drops an axis")
    if node.op_type == "Concat" and any(name in constants for name in node.input):
        raise Misfit(node, "joins a constant")


def along(node: onnx.NodeProto, constants: Constants, rank: int) -> list[int]:
    """Give the axes that a node works along; none where they are not known."""
    if node.op_type != "Slice":
        default = {"Softmax": -1, "LogSoftmax": -1}.get(node.op_type, 0)
        return [attribute(node, "axis", default) % rank]
    if len(node.input) > 3:
        axes = constants.get(node.input[3])
        return [] if axes is None else [int(axis) % rank for axis in axes]
    return [axis % rank for axis in attribute(node, "axes", [])]


def merged_sizes(sizes: Sequence[Any], place: int) -> list[Any]:
    """Give sizes, or entries of a shape, with two of them as one; what is open stays open."""
    pair = sizes[place : place + 2]
    one = prod(pair) if all(isinstance(size, int) and size > 0 for size in pair) else -1
    if any(isinstance(size, str) for size in pair):
        one = "*".join(map(str, pair))  # type: ignore[assignment]
    return [*sizes[:place], one, *sizes[place + 2 :]]


def merged_constant(constant: Array, place: int, result: Sequence[int | str]) -> Array | None:
    """Give a constant for the tensor `result` in four dimensions, or None where it needs a size that is free."""
    whole = constant.reshape((1,) * (RANK - constant.ndim) + constant.shape)
    pair = whole.shape[place : place + 2]
    if pair != (1, 1) and 1 in pair:
        wanted = result[place : place + 2]
        if not all(isinstance(size, int) for size in wanted):
            return None
        whole = np.broadcast_to(whole, (*whole.shape[:place], *map(int, wanted), *whole.shape[place + 2 :]))
    return np.ascontiguousarray(whole.reshape(merged_sizes(whole.shape, place)))
