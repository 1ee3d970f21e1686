"""Signatures: names, shapes and types of inputs and outputs, as the runtime reports them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelfarm.decoders.prediction import Outputs
from modelfarm.job import Tensor
from modelfarm.recipe import Input, Output

Axes = Mapping[str, Mapping[int, str]]


_WORDS = {"NCHW": "channels before rows", "NHWC": "channels last"}


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a file may be like beside what the recipe says.

    `integer` is the type of its inputs and outputs in an integer precision, empty in any other; `layouts` are the
    orders of axes that it may have. `layout` is that of the recipe's own tensors.
    """

    integer: str = ""
    layouts: Sequence[str] = ()
    layout: str | None = None


PLAIN = Form()


def input_problems(inputs: Sequence[Input], tensors: Sequence[Tensor], dynamic: Axes,
                   form: Form = PLAIN) -> Iterator[str]:
    """Yield where the inputs are not as the recipe says: dynamic axes must be open, the others as given."""
    yield from _name_problems("input", [entry.name for entry in inputs], tensors)
    found = {tensor.name: tensor for tensor in tensors}
    for entry in inputs:
        if entry.name in found:
            free = dynamic.get(entry.name, {})
            wanted = [None if axis in free else side for axis, side in enumerate(entry.shape)]
            yield from _file_problems(f"input {entry.name!r}", found[entry.name], wanted, entry.dtype, form)


def output_problems(outputs: Sequence[Output], tensors: Sequence[Tensor], reference: Sequence[Outputs],
                    dynamic: Axes, form: Form = PLAIN) -> Iterator[str]:
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
            yield from _file_problems(f"output {entry.name!r}", tensor, wanted, dtype, form)


def described(inputs: Sequence[Input], tensors: Sequence[Tensor]) -> str:
    """Describe tensors in words: their layout, by the file or by the recipe, and what their integers stand for."""
    layouts = {entry.name: entry.layout for entry in inputs}
    return "; ".join(_described(tensor, layouts.get(tensor.name)) for tensor in tensors)


def _described(tensor: Tensor, wanted: str | None) -> str:
    parts, layout = [f"{tensor.name} {tensor.dtype} {_shown(tensor.shape)}"], tensor.layout or wanted
    if layout:
        other = f" (the recipe's is {wanted})" if wanted and wanted != layout else ""
        parts.append(f"{layout}: {_WORDS[layout]}{other}")
    if tensor.scale is not None:
        parts.append(f"scale {tensor.scale:.4g}, zero point {tensor.zero_point}")
    return ", ".join(parts)


def _file_problems(what: str, tensor: Tensor, wanted: Sequence[int | None], dtype: str, form: Form) -> Iterator[str]:
    """Yield where a tensor of the file is not as it should be, in the file's layout and in the precision's integers."""
    if tensor.layout and form.layout and tensor.layout != form.layout:
        if tensor.layout not in form.layouts:
            yield f"{what} is {tensor.layout}, the recipe's layout is {form.layout}"
            return
        wanted = _moved(wanted, tensor.layout)
    if form.integer and dtype.startswith("float"):
        dtype = form.integer
        if tensor.dtype == dtype and (tensor.scale is None or tensor.zero_point is None):
            yield f"{what} is {tensor.dtype}, but has no scale and no zero point: nobody can tell what it stands for"
    yield from _tensor_problems(what, tensor, wanted, dtype)


def _moved(sides: Sequence[int | None], layout: str) -> Sequence[int | None]:
    """Return the axes in another layout: channels go from second to last, or back; fewer than three have none."""
    if len(sides) < 3:
        return sides
    if layout == "NHWC":
        return [sides[0], *sides[2:], sides[1]]
    return [sides[0], sides[-1], *sides[1:-1]]


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
