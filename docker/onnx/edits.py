"""The edits that a recipe asks for: run on the graph of a job, and told to its manifest and to its reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx
from graph import input_values
from jobkit import Input, Job, Runtime
from jobkit.runtime import Arrays
from options import Axes, Options
from passes import Edited, edit
from passes.proof import opened


@dataclass(frozen=True, kw_only=True)
class Edits:
    """What was cut from the graph `source`, and what was done to it then, when it was simplified to `simple`."""

    source: onnx.ModelProto
    cut: Edited
    simple: onnx.ModelProto
    rest: Edited

    @property
    def model(self) -> onnx.ModelProto:
        """Give the graph after both."""
        return self.rest.model

    def facts(self) -> dict[str, object]:
        """Tell what the manifest should say: what each pass changed, its proof, and what a decoder has to know."""
        return {"changed": [*self.cut.lines, *self.rest.lines], **self.cut.facts, **self.rest.facts}

    def reference(self, source: Runtime) -> Callable[[Arrays], Arrays]:
        """Tell the right outputs by the source, or by the graph before where it has to show tensors inside."""
        if self.cut.taps:
            source = opened(self.source, self.cut.taps)
        first = Runtime(self.cut.reference(source), source.inputs, (), source.device)
        if self.rest.taps:
            first = opened(self.simple, self.rest.taps)
        return self.rest.reference(first)


def apply_edits(
    model: onnx.ModelProto, job: Job, options: Options, simplify: Callable[[onnx.ModelProto], onnx.ModelProto]
) -> Edits:
    """Edit `model` as the recipe wants it, simplified between the cut and the rest: a cut names nodes of the source."""
    samples = [fitted(sample, model) for sample in job.samples]
    early = {key: value for key, value in options.edit.items() if key in ("keep", "remove") and value}
    late = {key: value for key, value in options.edit.items() if key not in early and value not in (None, [], False)}
    late = _in_precision(late, list(job.calibration or ()), model)
    with job.events.step("edit the graph, and compare with the graph before"):
        cut = edit(model, early, samples)
        simple = simplify(cut.model)
        rest = edit(simple, late, samples)
    return Edits(source=model, cut=cut, simple=simple, rest=rest)


def _in_precision(
    wishes: Mapping[str, Any], calibration: Sequence[Arrays], model: onnx.ModelProto
) -> dict[str, Any]:
    """Tell the passes that change the precision which nodes stay in float, and what ranges are measured on."""
    late, floats = dict(wishes), {"float": wishes["float"]} if "float" in wishes else {}
    late.pop("float", None)
    if floats and not {"half", "quantise"} & set(late):
        return late  # the same edits serve every precision
    own = {key: value for key, value in late.items() if key in ("half", "quantise")}
    for key, value in own.items():
        late[key] = {**(value if isinstance(value, Mapping) else {}), **floats}
    if "quantise" in own:
        late["quantise"]["calibration"] = [fitted(sample, model) for sample in calibration]
    return late


def fitted(sample: Arrays, model: onnx.ModelProto) -> Arrays:
    """Cut a sample of the edited graph down to the batch of the graph before, where that is a number."""
    return {name: array[:size] if (size := _batch(model, name)) else array for name, array in sample.items()}


def own_batch(model: onnx.ModelProto, inputs: Sequence[Input], dynamic: Axes) -> tuple[list[Input], Axes]:
    """Give the recipe's inputs and free axes with the batch that `model` has: the edit changes it."""
    sizes = {item.name: _batch(model, item.name) for item in inputs}
    items = [replace(item, shape=(sizes[item.name] or item.shape[0], *item.shape[1:])) for item in inputs]
    free = {name: {axis: label for axis, label in axes.items() if axis or not sizes.get(name)}
            for name, axes in dynamic.items()}
    return items, free


def _batch(model: onnx.ModelProto, name: str) -> int:
    """Give the first axis of an input; 0 where it is free."""
    value = next((value for value in input_values(model) if value.name == name), None)
    dims = value.type.tensor_type.shape.dim if value else ()
    return int(dims[0].dim_value) if dims else 0
