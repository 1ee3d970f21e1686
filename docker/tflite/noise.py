"""A quantised file held against the float one, layer by layer. It runs in the toolchain's own process.

Both are made of one SavedModel, so that their tensors have equal names. https://arxiv.org/abs/1602.02410 and many
others measure so: signal-to-noise ratio in decibels, ten times the logarithm of the signal's power over the error's.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from inside import Inside, Node, Part, read_inside
from interpreter import Fed
from jobkit import Input
from signature import Held, dequantised

Arrays = Mapping[str, Any]

# No noise, or no signal: a figure that JSON has too.
MOST = 120.0

# They change what integers stand for, and nothing else: a tensor behind them is the one before them.
RECASTS = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class Row:
    """A tensor of the quantised file beside the float one's.

    `layer` and `operator` are what makes it, or, where it was made for an operator that wants all its inputs in one
    scale, that one. `minimum` and `maximum` are the float file's values, over all samples. `decibels` is its
    signal-to-noise ratio, `before` the least of those that it was made of. `constant`: it has one value throughout.
    `clipped` is the share of values at an end of the range, where the float file goes on by more than a step.
    """

    layer: str
    operator: str
    tensor: str
    scale: Optional[float]
    zero_point: Optional[int]
    minimum: float
    maximum: float
    decibels: float
    before: Optional[float]
    constant: bool
    clipped: float


class Tally:
    """What is counted of one tensor over the samples."""

    def __init__(self, part: Part) -> None:
        """Begin with nothing seen of `part`."""
        self.part = part
        self.signal = self.noise = 0.0
        self.size = self.beyond = 0
        self.wanted = (math.inf, -math.inf)
        self.found = (math.inf, -math.inf)

    def add(self, wanted: Any, found: Any) -> None:
        """Count the values of a sample: those of the float file, and those that were found."""
        wanted, found = wanted.astype(np.float64), found.astype(np.float64)
        self.signal += float((wanted**2).sum())
        self.noise += float(((wanted - found) ** 2).sum())
        self.wanted = _wider(self.wanted, wanted)
        self.found = _wider(self.found, found)
        self.size += wanted.size
        if self.part.scale is not None:
            low, high = self.part.bounds
            step = self.part.scale
            self.beyond += int(((wanted > high + step) | (wanted < low - step)).sum())

    @property
    def decibels(self) -> float:
        """Give the signal-to-noise ratio."""
        if not self.noise:
            return MOST
        return max(-MOST, min(MOST, 10 * math.log10(self.signal / self.noise) if self.signal else -MOST))


def _wider(known: Tuple[float, float], values: Any) -> Tuple[float, float]:
    return (min(known[0], float(values.min())), max(known[1], float(values.max()))) if values.size else known


def measure(
    plain: str, quantised: str, inputs: Sequence[Input], usual: str, samples: Sequence[Arrays], threads: int
) -> List[Row]:
    """Run both files on the samples and give the tensors of the quantised one, in the order of their making.

    `plain` and `quantised` are paths, `inputs` the recipe's, `usual` is the layout of inputs with channels. Tensors
    of one name and shape in both files are compared, if they are floats in the first. A table of them goes to the log.
    """
    wanted, found = (_Run(path, inputs, usual, threads) for path in (plain, quantised))
    pairs = _pairs(found.inside, wanted.inside)
    tallies = {number: Tally(found.inside.parts[number]) for number in pairs}
    for sample in samples:
        wanted.fed.run(sample)
        found.fed.run(sample)
        for number, other in pairs.items():
            tallies[number].add(wanted.values(other), found.values(number))
    rows = list(_rows(found.inside, tallies))
    _print(rows, len(samples))
    return rows


class _Run:
    def __init__(self, path: str, inputs: Sequence[Input], usual: str, threads: int) -> None:
        self.inside = read_inside(Path(path))
        self.fed = Fed(path, inputs, usual, threads, keep=True)

    def values(self, number: int) -> Any:
        part = self.inside.parts[number]
        held = Held(part.name, part.shape, part.dtype, part.scale, part.zero_point)
        return dequantised(self.fed.opened.interpreter.get_tensor(number), held)


def _pairs(found: Inside, wanted: Inside) -> Dict[int, int]:
    """Match the computed tensors of the quantised file with the float file's, by name, and over recasts."""
    theirs = wanted.by_name
    pairs = {
        number: theirs[name]
        for name, number in found.by_name.items()
        if name in theirs and _comparable(found.parts[number], wanted.parts[theirs[name]])
    }
    for node in (*found.nodes, *reversed(found.nodes)):
        if node.operator in RECASTS:
            for one, other in ((node.inputs[0], node.outputs[0]), (node.outputs[0], node.inputs[0])):
                if one in pairs and not found.parts[other].constant:
                    pairs.setdefault(other, pairs[one])
    return pairs


def _comparable(part: Part, other: Part) -> bool:
    whole = part.scale is not None and part.dtype in ("int8", "uint8", "int16")
    plain = other.dtype == "float32" and not other.constant and not part.constant
    return plain and part.shape == other.shape and (whole or part.dtype == "float32")


def _rows(inside: Inside, tallies: Mapping[int, Tally]) -> Any:
    for node in inside.nodes:
        known = [tallies[number].decibels for number in node.inputs if number in tallies]
        for number in node.outputs:
            if number in tallies:
                yield _row(inside, node, number, tallies[number], min(known, default=None))


def _row(inside: Inside, node: Node, number: int, tally: Tally, before: Optional[float]) -> Row:
    part, (low, high), (least, most) = tally.part, tally.wanted, tally.found
    reader = next((other for other in inside.nodes if number in other.inputs), node)
    blamed = reader if node.operator in RECASTS else node
    return Row(
        layer=_layer(inside, blamed.outputs[0]),
        operator=blamed.operator,
        tensor=part.name,
        scale=part.scale,
        zero_point=part.zero_point,
        minimum=low,
        maximum=high,
        decibels=tally.decibels,
        before=before,
        constant=least == most and high - low > 0.01 * max(abs(low), abs(high)),
        clipped=tally.beyond / max(tally.size, 1),
    )


def _layer(inside: Inside, number: int) -> str:
    """Name the node that makes a tensor: onnx-tf has a name of its own behind it, the converter those of what it fused.

    The tensor before the recast into an output has a name of TensorFlow's, so that the output's says more.
    """
    given = {node.inputs[0]: node.outputs[0] for node in inside.nodes
             if node.operator in RECASTS and node.outputs[0] in inside.outputs}  # fmt: skip
    return inside.parts[given.get(number, number)].name.partition(";")[0].partition("/onnx_tf_prefix_")[0]


def _print(rows: Sequence[Row], samples: int) -> None:
    print(f"\nsignal-to-noise ratio of every layer, dB, over {samples} samples", file=sys.stderr)
    for row in rows:
        held = "" if row.scale is None else f"scale {row.scale:.4g}, zero point {row.zero_point}, "
        print(f"{row.decibels:7.1f}  {row.operator:<20} {row.tensor}: {held}{row.minimum:.3g} to {row.maximum:.3g}",
              file=sys.stderr)  # fmt: skip
