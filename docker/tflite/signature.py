"""What the tensors of a file are to the recipe: by name, never by place, with their layout and their integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

import numpy as np
from jobkit import GraphError, Tensor

Array = Any

# Axes of the recipe's array in the order in which the file has them, by rank, where the file has channels last.
CHANNELS_LAST = {3: (0, 2, 1), 4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}


@dataclass(frozen=True)
class Held:
    """A tensor as the file has it: `key` is its name in the signature; `scale` is None where it is not quantised."""

    key: str
    shape: Tuple[int, ...]
    dtype: str
    scale: Optional[float] = None
    zero_point: Optional[int] = None


@dataclass(frozen=True)
class Port:
    """A tensor of the file and the recipe's name and shape of it; `axes` transpose from the recipe's to the file's."""

    name: str
    shape: Tuple[int, ...]
    held: Held
    axes: Optional[Tuple[int, ...]]
    layout: Optional[str]

    @property
    def tensor(self) -> Tensor:
        """Give it in the words of jobkit."""
        held = self.held
        return Tensor(self.name, held.shape, held.dtype, self.layout, held.scale, held.zero_point)

    def into_file(self, array: Array) -> Array:
        """Transpose and quantise an array of the recipe. Raises GraphError where it has another shape."""
        if array.shape != self.shape:
            raise GraphError(
                f"{self.name} has the shape {list(array.shape)}, and the file takes {list(self.shape)}",
                "a TFLite file has fixed shapes: make one for each",
            )
        values = np.asarray(array) if self.axes is None else np.transpose(array, self.axes)
        return np.ascontiguousarray(quantised(values, self.held)).reshape(self.held.shape)

    def out_of_file(self, array: Array) -> Array:
        """Dequantise and transpose an array of the file; give it in the shape of the recipe."""
        values = dequantised(np.asarray(array), self.held)
        if self.axes is not None:
            values = np.transpose(values.reshape(self.held.shape), np.argsort(self.axes))
        return np.ascontiguousarray(values.reshape(self.shape))


def quantised(values: Array, held: Held) -> Array:
    """Give real numbers as the integers of `held`, as TFLite's Quantize does: halves away from zero, then clipped.

    https://ai.google.dev/edge/litert/models/quantization_spec: real = (integer - zero point) * scale.
    """
    if held.scale is None:
        return values.astype(held.dtype, copy=False)
    steps = values.astype(np.float32) / np.float32(held.scale)
    limits = np.iinfo(held.dtype)
    whole = np.trunc(steps + np.copysign(np.float32(0.5), steps)) + (held.zero_point or 0)
    return np.clip(whole, limits.min, limits.max).astype(held.dtype)


def dequantised(values: Array, held: Held) -> Array:
    """Give the real numbers that the integers of `held` stand for, in float32."""
    if held.scale is None:
        return values
    return (values.astype(np.int32) - (held.zero_point or 0)).astype(np.float32) * np.float32(held.scale)


def match(names: Sequence[str], held: Sequence[Held], what: str) -> Dict[str, Held]:
    """Find the tensor of each of the recipe's `names`: the one of that name, or the only one where there is one.

    Raises GraphError where names leave open which is which.
    """
    by_key = {item.key: item for item in held}
    if len(by_key) < len(held):
        raise GraphError(f"two {what}s of the file have one name: {', '.join(sorted(by_key))}", "name them apart")
    if len(names) == len(held) == 1:
        return {names[0]: held[0]}
    missing = [name for name in names if name not in by_key]
    if missing:
        raise GraphError(
            f"the file has no {what} {', '.join(map(repr, missing))}; it has {', '.join(map(repr, by_key))}",
            f"name the {what}s in the recipe as the file does",
        )
    return {name: by_key[name] for name in names}


def port(name: str, held: Held, shape: Optional[Sequence[int]], layout: Optional[str], usual: str = "") -> Port:
    """Find out how `held` lies in the file, by its shape against the recipe's `shape`.

    `layout` is the recipe's, where it has one. `usual` (NCHW or NHWC) is what the way that made the file does with
    tensors whose channels come second; it decides where the shape fits both. Raises GraphError where nothing fits, or
    where both do and nothing decides.
    """
    if shape is None:
        return Port(name, held.shape, held, None, layout)
    wanted = tuple(shape)
    axes = None if layout == "NHWC" else CHANNELS_LAST.get(len(wanted))
    last = tuple(wanted[axis] for axis in axes or ())
    same, turned = held.shape == wanted, held.shape == last
    if same and turned and _differ(wanted):
        if not usual:
            raise GraphError(
                f"{name} has the shape {list(held.shape)}, which tells nothing of its layout: both orders of axes fit",
                "give the picture another width or height than it has channels",
            )
        same = usual == "NCHW"
    if same or (_alike(held.shape, wanted) and not turned):
        return Port(name, wanted, held, None, layout)
    if turned:
        return Port(name, wanted, held, axes, "NHWC" if len(wanted) == 4 else None)
    raise GraphError(
        f"the file has {name} as {list(held.shape)}; the recipe says {list(wanted)}",
        "give the recipe the shape of the model",
    )


def ports(
    shapes: Mapping[str, Tuple[Optional[Sequence[int]], Optional[str]]], held: Sequence[Held], what: str, usual: str
) -> Tuple[Port, ...]:
    """Match tensors and find their layouts; `shapes` are the recipe's shapes and layouts by name."""
    found = match(list(shapes), held, what)
    return tuple(port(name, found[name], shape, layout, usual) for name, (shape, layout) in shapes.items())


def _alike(one: Sequence[int], other: Sequence[int]) -> bool:
    """Say whether two shapes hold the same numbers in the same order: axes of one do not count."""
    return [size for size in one if size != 1] == [size for size in other if size != 1]


def _differ(shape: Sequence[int]) -> bool:
    """Say whether channels last is another order of the numbers than channels second."""
    return shape[1] != 1 and any(size != 1 for size in shape[2:])
