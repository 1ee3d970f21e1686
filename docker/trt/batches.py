"""Batches of any size through an engine that takes some: padded where they are too small, in parts where too large."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np
from bindings import Binding

Arrays = Dict[str, "np.ndarray[Any, Any]"]


def limits(inputs: Sequence[Binding]) -> Tuple[int, int]:
    """Give the least and the greatest batch that an engine takes; 0, 0 where the first axis is free in no input."""
    free = [each for each in inputs if each.shape and each.shape[0] < 0]
    if not free:
        return 0, 0
    return max(each.least[0] for each in free), min(each.most[0] for each in free)


def parts(items: int, least: int, most: int) -> List[Tuple[int, int]]:
    """Divide `items` into pieces (first, one after the last) of at most `most`; `least` is only checked.

    Raises ValueError where no piece could be filled, even by repeating its last item.
    """
    if items < 1 or not 0 < least <= most:
        raise ValueError(f"{items} items cannot be divided into batches of {least} to {most}")
    return [(first, min(first + most, items)) for first in range(0, items, most)]


def in_batches(run: Callable[[Arrays], Arrays], inputs: Sequence[Binding]) -> Callable[[Arrays], Arrays]:
    """Give a function that runs batches of any size; where the batch is fixed, it is `run` itself."""
    least, most = limits(inputs)
    if not most:
        return run
    free = {each.name for each in inputs if each.shape[0] < 0}

    def call(arrays: Arrays) -> Arrays:
        items = max(arrays[name].shape[0] for name in free)
        pieces = [_one(run, arrays, free, span, least) for span in parts(items, least, most)]
        if len(pieces) == 1:
            return pieces[0]
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    return call


def _one(
    run: Callable[[Arrays], Arrays], arrays: Mapping[str, Any], free: Any, span: Tuple[int, int], least: int
) -> Arrays:
    first, last = span
    size = max(last - first, least)
    given = {name: _filled(array[first:last], size) if name in free else array for name, array in arrays.items()}
    # An output that does not grow with the batch comes as it is.
    return {
        name: array[: last - first] if array.ndim and array.shape[0] == size else array
        for name, array in run(given).items()
    }


def _filled(array: Any, size: int) -> Any:
    """Repeat the last item until there are `size`."""
    missing = size - array.shape[0]
    return array if missing <= 0 else np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
