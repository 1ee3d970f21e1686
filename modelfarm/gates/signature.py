"""Signatures: names, shapes and types of inputs and outputs, as the runtime reports them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from modelfarm.decoders.prediction import Outputs
from modelfarm.job import Tensor
from modelfarm.recipe import Input, Output

Axes = Mapping[str, Mapping[int, str]]


def input_problems(inputs: Sequence[Input], tensors: Sequence[Tensor], dynamic: Axes) -> Iterator[str]:
    """Yield where the inputs are not as the recipe says: dynamic axes must be open, the others as given."""
    yield from _name_problems("input", [entry.name for entry in inputs], tensors)
    found = {tensor.name: tensor for tensor in tensors}
    for entry in inputs:
        if entry.name in found:
            free = dynamic.get(entry.name, {})
            wanted = [None if axis in free else side for axis, side in enumerate(entry.shape)]
            yield from _tensor_problems(f"input {entry.name!r}", found[entry.name], wanted, entry.dtype)


def output_problems(outputs: Sequence[Output], tensors: Sequence[Tensor], reference: Sequence[Outputs],
                    dynamic: Axes) -> Iterator[str]:
    """Yield where the outputs are neither as the recipe says nor as the reference gives them.

    An axis that the reference's samples give several lengths must be open, and any other have its
    length; where more than the batch is dynamic, a runtime may leave others open, too.
    """
    yield from _name_problems("output", [entry.name for entry in outputs], tensors)
    lenient = any(axis for axes in dynamic.values() for axis in axes)
    found = {tensor.name: tensor for tensor in tensors}
    for entry in outputs:
        arrays = [results[entry.name] for results in reference]
        sides, dtype = _sides([array.shape for array in arrays]), arrays[0].dtype.name
        yield from _recipe_problems(entry, sides, dtype)
        if entry.name in found:
            tensor = found[entry.name]
            wanted = _without_open(sides, tensor) if lenient else sides
            yield from _tensor_problems(f"output {entry.name!r}", tensor, wanted, dtype)


def described(inputs: Sequence[Input], tensors: Sequence[Tensor]) -> str:
    """Describe the inputs in words, with the layout that their shapes imply."""
    layouts = {entry.name: entry.layout for entry in inputs}
    words = {"NCHW": "channels before rows", "NHWC": "channels last"}
    parts = []
    for tensor in tensors:
        layout = layouts.get(tensor.name)
        parts.append(f"{tensor.name} {tensor.dtype} {_shown(tensor.shape)}"
                     + (f", {layout}: {words[layout]}" if layout else ""))
    return "; ".join(parts)


def _sides(shapes: Sequence[tuple[int, ...]]) -> list[int | None]:
    """Return the length of each axis, None where it varies."""
    return [sides[0] if len(set(sides)) == 1 else None for sides in zip(*shapes, strict=False)]


def _without_open(sides: Sequence[int | None], tensor: Tensor) -> list[int | None]:
    opened = [isinstance(side, str) for side in tensor.shape]
    return [None if axis < len(opened) and opened[axis] else side for axis, side in enumerate(sides)]


def _name_problems(kind: str, wanted: Sequence[str], tensors: Sequence[Tensor]) -> Iterator[str]:
    found = [tensor.name for tensor in tensors]
    if found != list(wanted):
        order = " (the order counts)" if sorted(found) == sorted(wanted) else ""
        yield f"the artifact's {kind}s are {', '.join(found) or 'none'}; the recipe's {', '.join(wanted)}{order}"


def _recipe_problems(entry: Output, sides: Sequence[int | None], dtype: str) -> Iterator[str]:
    if entry.shape is not None and not _fits(entry.shape, sides):
        found = _shown(["any" if side is None else side for side in sides])
        yield f"output {entry.name!r}: the recipe says {_shown(entry.shape)}, the source gives {found}"
    if entry.dtype is not None and entry.dtype != dtype:
        yield f"output {entry.name!r}: the recipe says {entry.dtype}, the source gives {dtype}"


def _fits(shape: Sequence[int], sides: Sequence[int | None]) -> bool:
    return len(shape) == len(sides) and all(known in (None, side) for side, known in zip(shape, sides, strict=True))


def _tensor_problems(what: str, tensor: Tensor, wanted: Sequence[int | None], dtype: str) -> Iterator[str]:
    if tensor.dtype != dtype:
        yield f"{what} is {tensor.dtype}, expected {dtype}"
    if len(tensor.shape) != len(wanted):
        yield f"{what} has {len(tensor.shape)} axes, {_shown(tensor.shape)}; expected {len(wanted)}"
        return
    for axis, (side, known) in enumerate(zip(tensor.shape, wanted, strict=True)):
        if known is None and not isinstance(side, str):
            yield f"{what}: axis {axis} is fixed at {side}, but is to be dynamic"
        elif known is not None and side != known:
            said = f"open ({side!r})" if isinstance(side, str) else str(side)
            yield f"{what}: axis {axis} is {said}, expected {known}"


def _shown(shape: Sequence[int | str]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"
