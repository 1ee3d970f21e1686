"""Edits: what the edits of a graph change in a recipe before the job starts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from modelfarm.errors import UsageError
from modelfarm.recipe import Output, Recipe, TorchSource
from modelfarm.target import BATCH

OTHER_NAMES = ("cut_decode", "split_outputs")  # edits whose outputs are called otherwise


def read_edit(*, batch: str, keep: str, remove: str) -> dict[str, Any]:
    """Read BATCH=, KEEP= and REMOVE=; raises UsageError where none is given or the batch is none."""
    if batch and not re.fullmatch(BATCH, batch):
        raise UsageError(f"BATCH={batch}: expected a number of items, or a name for a free one")
    lists = {name: [word.strip() for word in text.split(",") if word.strip()]
             for name, text in (("keep", keep), ("remove", remove))}
    given = {name: value for name, value in {"batch": batch, **lists}.items() if value}
    if not given:
        raise UsageError("which edit?", remedy="say BATCH=4, BATCH=batch, KEEP=output,output or REMOVE=node,node")
    return given


def batch_edit(batch: str) -> dict[str, str]:
    """Return the edit that the option `batch` of a target wants: one number fixes the graph's batch, three free it.

    Raises UsageError where they are not the least, the usual and the greatest.
    """
    words = [word.strip() for word in batch.split(",")] if batch else []
    if not all(word.isdigit() and int(word) for word in words) or len(words) not in (0, 1, 3) \
            or words != sorted(words, key=int):
        raise UsageError(f"batch {batch}: expected one number, or three in order",
                         remedy="BATCH=1,4,8 is the least, the usual and the greatest; BATCH=8 is eight, always")
    return {"batch": words[0] if len(words) == 1 else "batch"} if words else {}


def adapted(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the edits that a reader wants of the graph: its `adapt`, and the batch that it is built for."""
    return {**(options.get("adapt") or {}), **batch_edit(str(options.get("batch") or ""))}


def planned(recipe: Recipe, options: Mapping[str, Any], edit: Mapping[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """Return the recipe and the options as they are once the graph is edited as the command line wants it.

    A recipe that asks for edits itself describes the graph after them, so that only its batch is seen to here. Another
    batch changes the inputs' and the outputs' shapes, or leaves their first axis open; outputs that are cut have
    neither the recipe's decoder nor its golden results.
    """
    options = dict(options)
    if edit:
        options["edit"] = {**(options.get("edit") or {}), **edit}
    if batch := (options.get("edit") or {}).get("batch"):
        recipe, options = _batch(recipe, options, str(batch))
    if "keep" in edit:
        recipe = _outputs(recipe, edit["keep"])
    if "remove" in edit:
        recipe = replace(recipe, decoder=None, expect={})
    return recipe, options


def on_top(recipe: Recipe, edit: Mapping[str, Any], adapt: Mapping[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """Return the recipe and the edits of a graph as a reader wants it, which come on top of the recipe's own.

    Edits that make other outputs of those that the recipe names leave them open: only the graph tells their names. The
    decoder stays, as it is told what the edit did.
    """
    both = {**edit, **adapt}
    if not any(adapt.get(name) and not edit.get(name) for name in OTHER_NAMES):
        return recipe, both
    if isinstance(recipe.source, TorchSource) and "exported" not in both:
        both["exported"] = [item.name for item in recipe.outputs]
    return replace(recipe, outputs=()), both


def _batch(recipe: Recipe, options: dict[str, Any], batch: str) -> tuple[Recipe, dict[str, Any]]:
    axes = {name: {axis: label for axis, label in table.items() if int(axis) != 0}
            for name, table in (options.get("dynamic") or {}).items()}
    if not batch.isdigit():
        axes = {item.name: {"0": batch, **axes.get(item.name, {})} for item in recipe.inputs}
        return recipe, {**options, "dynamic": axes}
    size, before = int(batch), recipe.inputs[0].shape[0]
    inputs = tuple(replace(item, shape=(size, *item.shape[1:])) for item in recipe.inputs)
    outputs = tuple(replace(item, shape=(size * item.shape[0] // before, *item.shape[1:])) if item.shape else item
                    for item in recipe.outputs)
    options["dynamic"] = {name: table for name, table in axes.items() if table}
    samples = replace(recipe.samples, all_rows=False)
    return replace(recipe, inputs=inputs, outputs=outputs, samples=samples), options


def _outputs(recipe: Recipe, names: Sequence[str]) -> Recipe:
    known = {item.name: item for item in recipe.outputs}
    if set(names) == set(known):
        return recipe
    outputs = tuple(known.get(name) or Output(name=name, shape=None, dtype=None) for name in names)
    return replace(recipe, outputs=outputs, decoder=None, expect={})
