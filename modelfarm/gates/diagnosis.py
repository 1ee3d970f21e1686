"""Diagnosis: why a quantised artifact is not what its source is, in terms of its tensors, and what helps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelfarm.decoders.prediction import Column
from modelfarm.gates.evidence import Evidence
from modelfarm.job import OTHER_OUTPUTS, Tensor

FEW = 16.0  # steps in which a column can say next to nothing
CLIPPED = 0.01  # the share of values at an end of the range from which it is no accident
LISTED = 3  # tensors that a line names
LOW = 0.3  # a usual threshold: where no score is below, everything is found everywhere

Floats = NDArray[np.float64]

MIXED = ("adapt: {cut_decode: true} leaves the decode to the decoder, in float; adapt: {normalise_boxes: true} divides "
         "the pixels by the input's size; adapt: {split_outputs: true} gives each kind of value a tensor of its own")
APART = "adapt: {cut_decode: {columns: [[0, 4], [4, 5], [5, 15], [15, 16]]}} gives each of them a scale of its own"
CALIBRATE = "calibrate on pictures like those that it fails on: more of them, or `variations`"


@dataclass(frozen=True, kw_only=True)
class Held:
    """An output over all judged samples: its tensor, and what source and artifact gave."""

    tensor: Tensor
    scale: float
    wanted: Floats
    found: Floats

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the least and the greatest value that the tensor can hold."""
        info, zero = np.iinfo(self.tensor.dtype), self.tensor.zero_point or 0
        return (info.min - zero) * self.scale, (info.max - zero) * self.scale

    @property
    def title(self) -> str:
        """Name the tensor with what its integers stand for."""
        low, high = self.bounds
        return (f"output {self.tensor.name!r} ({self.tensor.dtype}, scale {self.scale:.4g}, zero point "
                f"{self.tensor.zero_point}, so from {low:.4g} to {high:.4g})")


def causes(evidence: Evidence) -> Iterator[str]:
    """Yield what explains that a quantised artifact differs from its source, each with its remedy, once.

    Of an artifact whose outputs are no integers with a scale, only what the toolchain saw inside; nothing where nothing
    stands out.
    """
    said = set()
    for cause, remedy in _found(evidence):
        yield f"{cause}. -> {remedy}" if remedy and remedy not in said else cause
        said.add(remedy)


def _found(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Yield each cause and its remedy, which is empty where the causes before it tell what to do."""
    held = [found for tensor in evidence.result.outputs if (found := _held(evidence, tensor))]
    facts = evidence.result.facts
    columns = _columns(evidence) if held else []
    for output in held:
        if not OTHER_OUTPUTS & set(facts.get("edited") or {}):  # columns come of tensors with other steps
            yield from _mixed(output, [pair for pair in columns if pair[0].output == output.tensor.name])
        yield from _whole_head(output, facts)
        yield from _constant(output)
        yield from _clipped(output)
    yield from _scores(columns)
    yield from ((loss, "") for loss in losses(facts))


def _held(evidence: Evidence, tensor: Tensor) -> Held | None:
    if tensor.scale is None or not tensor.dtype.lstrip("u").startswith("int"):
        return None
    pairs = [(reference, output) for sample, reference, output in evidence.judged_triples if tensor.name in output]
    if not pairs:
        return None
    wanted, found = (np.concatenate([np.asarray(arrays[tensor.name], np.float64).ravel() for arrays in side])
                     for side in zip(*pairs, strict=True))
    return Held(tensor=tensor, scale=tensor.scale, wanted=wanted, found=found)


def _columns(evidence: Evidence) -> list[tuple[Column, Floats, Floats]]:
    """Return each column with the source's and the artifact's values over all judged samples."""
    table: dict[str, tuple[Column, list[Floats], list[Floats]]] = {}
    for sample, reference, output in evidence.judged_triples:
        for theirs, ours in evidence.column_pairs(sample, reference, output):
            entry = table.setdefault(theirs.name, (theirs, [], []))
            entry[1].append(np.asarray(theirs.values, np.float64).ravel())
            entry[2].append(np.asarray(ours.values, np.float64).ravel())
    return [(column, np.concatenate(wanted), np.concatenate(found)) for column, wanted, found in table.values()]


def _mixed(output: Held, columns: list[tuple[Column, Floats, Floats]]) -> Iterator[tuple[str, str]]:
    """Tell of columns that have next to no steps because others of the same tensor need the range."""
    steps = {column.name: float(np.ptp(wanted)) / output.scale for column, wanted, _ in columns if wanted.size}
    poor = {name: count for name, count in steps.items() if count < FEW}
    if not poor or not any(count >= FEW for count in steps.values()):
        return
    reach = {column.name: f"{wanted.min():.3g} to {wanted.max():.3g}" for column, wanted, _ in columns if wanted.size}
    rich = ", ".join(f"{name} ({reach[name]})" for name in steps if name not in poor)
    lost = ", ".join(f"{name} ({reach[name]}) in {poor[name]:.1f}" for name in poor)
    yield (f"{output.title} holds values of different ranges with one scale: {rich}; left with next to no steps: "
           f"{lost}", MIXED)


def _whole_head(output: Held, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Tell of a raw head that was not taken apart: its logits of nothing reach far below zero."""
    heads = ((facts.get("edited") or {}).get("cut_decode") or {}).get("heads", ())
    if any(head["name"] == output.tensor.name and not head.get("parts") for head in heads):
        yield (f"{output.title} is a whole raw head: one scale for box, scores and landmarks, which the decoder "
               f"multiplies by anchors", APART)


def _constant(output: Held) -> Iterator[tuple[str, str]]:
    if np.ptp(output.found) == 0 and np.ptp(output.wanted) > output.scale:
        yield (f"{output.title} is {output.found[0]:.4g} throughout; the source's values go from "
               f"{output.wanted.min():.4g} to {output.wanted.max():.4g}", CALIBRATE)


def _clipped(output: Held) -> Iterator[tuple[str, str]]:
    """Tell of values that lie at an end of the range, where the source goes on."""
    low, high = output.bounds
    beyond = ((output.wanted > high + output.scale) & (output.found >= high - output.scale / 2)) | (
        (output.wanted < low - output.scale) & (output.found <= low + output.scale / 2))
    share = float(beyond.mean())
    if share >= CLIPPED:
        yield (f"{output.title} is saturated: {share:.1%} of its values lie at an end, while the source's go from "
               f"{output.wanted.min():.4g} to {output.wanted.max():.4g}", CALIBRATE)


def _scores(columns: list[tuple[Column, Floats, Floats]]) -> Iterator[tuple[str, str]]:
    for column, wanted, found in columns:
        if column.unit != "score" or not wanted.size:
            continue
        if not found.any() and wanted.max() > LOW:
            yield f"every {column.name} is 0, and the source's go up to {wanted.max():.3g}", MIXED
        elif found.max() > 1.01 >= wanted.max():
            yield f"{column.name} goes up to {found.max():.3g}: no score is above 1", MIXED
        elif found.min() >= LOW > wanted.min():
            yield (f"no {column.name} is below {found.min():.3g}, also where the source sees nothing "
                   f"({wanted.min():.2g})", MIXED)


def losses(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield where the toolchain saw values get lost inside, layer by layer; nothing where it lost none.

    `facts` has ``layers`` with the keys that docker/tflite/diagnosis.py documents.
    """
    layers = facts.get("layers")
    if not isinstance(layers, Mapping):
        return
    first, worst = layers["first"], layers["worst"]
    if first:
        yield f"the signal-to-noise ratio falls first at {_row(first)}"
    if worst and worst != first:
        yield f"it falls farthest at {_row(worst)}"
    for kind, said in (("constant", "have one value throughout"), ("saturated", "are clipped")):
        if names := layers[kind]:
            more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
            yield f"tensors inside that {said}: {', '.join(names[:LISTED])}{more}"


def _row(row: Mapping[str, Any]) -> str:
    held = ""
    if row["scale"] is not None:
        steps = max(abs(row["minimum"]), abs(row["maximum"])) / row["scale"]
        few = f", {steps:.1f} steps" if steps < FEW else ""
        held = f" (scale {row['scale']:.4g}, zero point {row['zero_point']}{few})"
    before = "" if row["before_db"] is None else f"from {row['before_db']:g} "
    return (f"layer {row['layer']!r} ({row['operator']}), in the tensor {row['tensor']!r}{held} with values from "
            f"{row['minimum']:.3g} to {row['maximum']:.3g}: {before}to {row['signal_to_noise_db']:g} dB")
