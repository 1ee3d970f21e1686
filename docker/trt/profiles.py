"""Optimisation profiles: the least, the usual and the greatest size of each free axis, planned before a build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from jobkit import OptionError

Shape = Tuple[int, ...]
USAGE = "write batch: 1,4,8: the least, the usual and the greatest; or one number, which is then fixed"


@dataclass(frozen=True)
class Range:
    """The least, the usual and the greatest of something: batches, or whole shapes."""

    least: Any
    usual: Any
    most: Any


def read_batch(value: Any) -> Optional[Range]:
    """Read the option ``batch``: ``1,4,8`` is a range, ``8`` and nothing are none, for then the graph says it.

    Raises OptionError where it is neither.
    """
    words = [word.strip() for word in str(value or "").split(",")] if value not in (None, "") else []
    if len(words) < 2:
        return None
    if len(words) != 3 or not all(word.isdigit() and int(word) for word in words):
        raise OptionError(f"batch {value!r} is not three numbers from 1 on", USAGE)
    least, usual, most = map(int, words)
    if not least <= usual <= most:
        raise OptionError(f"batch {value!r} is not in order: {least}, {usual}, {most}", USAGE)
    return Range(least, usual, most)


def plan(
    shapes: Mapping[str, Sequence[int]], wanted: Mapping[str, Sequence[int]], batch: Optional[Range]
) -> Dict[str, Range]:
    """Give the ranges of the inputs that have free axes.

    `shapes` are those of the network, -1 where an axis is free; `wanted` those of the recipe, which free axes other
    than the first keep. Raises OptionError where a range was asked for and no batch is free.
    """
    free = {name: shape for name, shape in shapes.items() if any(size < 0 for size in shape)}
    if batch and not any(shape[0] < 0 for shape in free.values()):
        raise OptionError("a range of batches was asked for, and the graph's batch is fixed", USAGE)
    return {name: _ranges(shape, wanted[name], batch) for name, shape in free.items()}


def _ranges(shape: Sequence[int], wanted: Sequence[int], batch: Optional[Range]) -> Range:
    sizes = [size if size >= 0 else wanted[axis] for axis, size in enumerate(shape)]

    def at(first: int) -> Shape:
        return (first if batch and shape[0] < 0 else sizes[0], *sizes[1:])

    span = batch or Range(sizes[0], sizes[0], sizes[0])
    return Range(at(span.least), at(span.usual), at(span.most))
