"""Edits of a graph, each proven every time that it runs: before and after give equal outputs, or there is no edit.

They run in one order, whatever the order of the recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from graph import input_values
from jobkit import OptionError, Runtime
from jobkit.runtime import Arrays

from passes import (
    batch,
    constants,
    cut,
    cut_decode,
    four_dimensions,
    half,
    normalise_boxes,
    opset,
    padded_maxpool,
    quantise,
    split_outputs,
    strided_slices,
    unused,
    whole_numbers,
)
from passes.batch import BatchChange, joined
from passes.change import Change
from passes.edit import dims
from passes.proof import Proof, prove

# What is cut away need not be edited; shapes are constants before others look at them; the batch comes when
# the nodes that can hold it are those that stay.
ORDER: tuple[ModuleType, ...] = (
    cut,
    cut_decode,
    whole_numbers,
    constants,
    four_dimensions,
    split_outputs,
    normalise_boxes,
    padded_maxpool,
    batch,
    opset,
    strided_slices,
    quantise,
    half,
    unused,
)

# These read shapes and bounds, which are constants only once they are folded.
FOLDED_FIRST = (four_dimensions, split_outputs, normalise_boxes, strided_slices)

KEYS = {"keep": "cut", "remove": "cut", **{module.NAME: module.NAME for module in ORDER if module is not cut}}


@dataclass(frozen=True, kw_only=True)
class Edited:
    """The graph after all passes, what each changed, and how the source's outputs become the graph's."""

    model: onnx.ModelProto
    lines: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    proofs: Mapping[str, Proof] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()

    @property
    def taps(self) -> tuple[str, ...]:
        """Give the tensors inside the source's graph that became outputs: nobody but that graph can tell them."""
        return tuple(name for change in self.changes for name in change.taps)

    def reference(self, source: Runtime) -> Callable[[Arrays], Arrays]:
        """Give a function that tells what the edited graph should give for an input of it, by the source's outputs."""
        parts = [change for change in self.changes if isinstance(change, BatchChange)]

        def single(sample: Arrays) -> Arrays:
            arrays = source(sample)
            for change in self.changes:
                arrays = change.expected(arrays)
            return arrays

        def run(sample: Arrays) -> Arrays:
            for change in parts:
                return change.joined_outputs([single(item) for item in change.items(sample)])
            return single(sample)

        return run


def edit(model: onnx.ModelProto, wishes: Mapping[str, Any], samples: Sequence[Arrays]) -> Edited:
    """Run the passes that `wishes` names on `model`, in their order, each proven on `samples` and random inputs.

    Raises OptionError where a wish cannot be read, GraphError where it cannot be done or is not proven.
    """
    named = by_pass(wishes)
    result, samples = Edited(model=model), [fitted(model, sample) for sample in samples]
    for module in ORDER:
        if module.NAME in named:
            result, samples = _passed(result, module, named[module.NAME], samples)
    return result


def by_pass(wishes: Mapping[str, Any]) -> dict[str, Any]:
    """Sort the recipe's keys by the pass that reads them. Raises OptionError for one that none reads."""
    named: dict[str, Any] = {}
    for key, value in wishes.items():
        if key not in KEYS:
            nearest = get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"choose from {', '.join(sorted(KEYS))}"
            raise OptionError(f"there is no pass {key!r}", hint)
        if KEYS[key] == cut.NAME:
            named.setdefault(cut.NAME, {})[key] = value
        else:
            named[key] = value
    if named.get(quantise.NAME) and named.get(half.NAME):
        raise OptionError("a graph is brought to int8 or to half precision, not to both", "leave out half or quantise")
    if any(named.get(module.NAME) for module in FOLDED_FIRST):
        named.setdefault(constants.NAME, True)
    return named


def _passed(result: Edited, module: ModuleType, value: Any, samples: list[Arrays]) -> tuple[Edited, list[Arrays]]:
    wish = module.read(value, result.model, samples)
    change: Change = module.apply(result.model, wish)
    if not change.lines:
        return result, samples
    proof = prove(module.NAME, result.model, change, samples)
    edited = Edited(
        model=change.model,
        lines=(*result.lines, *change.lines, f"{module.NAME}: {proof}"),
        facts={**result.facts, **({module.NAME: change.facts} if change.facts else {})},
        proofs={**result.proofs, module.NAME: proof},
        changes=(*result.changes, change),
    )
    return edited, [change.inputs(sample) for sample in samples]


def fitted(model: onnx.ModelProto, sample: Arrays) -> Arrays:
    """Give as many items of a sample as the graph takes: the recipe may already speak of another batch."""
    sizes = {value.name: dims(value)[:1] for value in input_values(model)}
    return {name: _first_items(array, sizes.get(name) or [""]) for name, array in sample.items()}


def _first_items(array: np.ndarray[Any, Any], size: Sequence[int | str]) -> np.ndarray[Any, Any]:
    if not array.ndim or not isinstance(size[0], int) or len(array) == size[0]:
        return array
    return np.resize(array, (size[0], *array.shape[1:]))


__all__ = ["KEYS", "ORDER", "Change", "Edited", "Proof", "edit", "joined", "prove"]
