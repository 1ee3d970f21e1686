"""Outputs of an edited graph, put back into the form that a decoder reads.

Two edits change the outputs in a way that a few numbers undo: `split_outputs` makes several of one, `normalise_boxes`
divides the pixels among their columns. What they did stands in the facts of the job that edited the graph, under the
names of the edits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from modelfarm.decoders.prediction import Column, Decoder, Outputs, Placement, Prediction

Edits = Mapping[str, Any]


class Edited:
    """A decoder behind what undoes the edits, so that it reads the outputs as the source gives them."""

    def __init__(self, decoder: Decoder, edits: Edits) -> None:
        self._decoder, self._edits = decoder, edits

    def columns(self, outputs: Outputs, size: tuple[int, int]) -> list[Column]:
        """Return the decoder's columns, in the units of the source; each covers the outputs that it comes from."""
        split = self._edits.get("split_outputs")
        columns = self._decoder.columns(restored(outputs, self._edits), size)
        if not split:
            return list(columns)
        parts = tuple(split["parts"])
        return [replace(column, covers=parts) if column.output == split["output"] else column for column in columns]

    def decode(self, outputs: Outputs, placements: Sequence[Placement | None]) -> list[list[Prediction]]:
        """Return what the decoder finds."""
        return self._decoder.decode(restored(outputs, self._edits), placements)


def changes_outputs(edits: Edits) -> bool:
    """Say whether there is anything to undo."""
    return bool(edits.get("split_outputs") or edits.get("normalise_boxes"))


def restored(outputs: Outputs, edits: Edits) -> Outputs:
    """Return the outputs as they were before the edits; those that were not edited as they are."""
    return _joined(_multiplied(outputs, edits.get("normalise_boxes")), edits.get("split_outputs"))


def _multiplied(outputs: Outputs, wish: Mapping[str, Any] | None) -> Outputs:
    if not wish:
        return outputs
    result = {name: array.copy() if name in wish["columns"] else array for name, array in outputs.items()}
    for name, parts in wish["columns"].items():
        for start, stop in parts if name in result else ():
            result[name][..., start:stop] *= np.asarray(wish["factor"], result[name].dtype)
    return result


def _joined(outputs: Outputs, split: Mapping[str, Any] | None) -> Outputs:
    """Put the parts of an output where they were; columns that no part has are zero."""
    if not split or not all(name in outputs for name in split["parts"]):
        return outputs
    bounds = {name: (int(start), int(stop)) for name, (start, stop) in split["parts"].items()}
    first = outputs[next(iter(bounds))]
    whole = np.zeros((*first.shape[:-1], max(stop for _, stop in bounds.values())), first.dtype)
    for name, (start, stop) in bounds.items():
        whole[..., start:stop] = outputs[name]
    rest = {name: array for name, array in outputs.items() if name not in bounds}
    return {split["output"]: whole, **rest}
