"""Islands of float: which nodes lose too much in few bits, found by quantising each of them alone."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx
from jobkit import GraphError, OptionError
from jobkit.runtime import Arrays

from passes.edit import Array
from passes.proof import opened

# The deviation of a column's error beside the deviation of its values: 26 dB.
USUAL_NOISE = 0.05
# Inputs of the calibration set on which graphs are compared; each costs a run for each node.
TRIED = 3
# Outputs with more last values than this are one column: pictures, not rows of a table.
COLUMNS = 64

@dataclass(frozen=True, kw_only=True)
class Quantised:
    """A quantised graph, its nodes in few bits and in float, and the noise with these islands and without."""

    model: onnx.ModelProto
    nodes: tuple[str, ...]
    islands: tuple[str, ...]
    noise: float
    before: float


def named_nodes(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """Give the nodes by their names, or by what they make where they have none."""
    return {node.name or next(iter(node.output), ""): node for node in graph.node}


def chosen(graph: onnx.GraphProto, names: Sequence[str], what: str) -> frozenset[str]:
    """Give the names of nodes that are to stay in float. Raises OptionError for one that there is not."""
    known = named_nodes(graph)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the first are {', '.join(list(known)[:5])}"
            raise OptionError(f"{what}: the graph has no node {name!r} to keep in float; {hint}",
                              "make view shows the nodes of the graph after it was simplified")
    return frozenset(names)


@dataclass(frozen=True, kw_only=True)
class Search:
    """Quantises nodes of `model` by name, and measures on inputs what that does; `most` is the noise that may be."""

    model: onnx.ModelProto
    quantise: Callable[[Sequence[str]], onnx.ModelProto]
    samples: Sequence[Arrays]
    most: float

    @cached_property
    def wanted(self) -> list[Arrays]:
        """Give what the graph gives in float."""
        return _outputs(self.model, self.samples)

    def best(self, nodes: Sequence[str]) -> Quantised:
        """Quantise as many of `nodes` as keep the noise low.

        Raises GraphError where half of them in float are not enough.
        """
        everything = self._without(nodes, 0)
        if everything.noise <= self.most:
            return everything
        alone = {name: self._without([name], 0).noise for name in nodes}
        found = self._fewest(sorted(nodes, key=lambda name: -alone[name]))
        return replace(found, before=everything.noise)

    def _fewest(self, order: Sequence[str]) -> Quantised:
        """Keep the fewest of the most sensitive nodes in float that are enough: twice as many each time, then less."""
        low, high = 0, 1
        while (found := self._without(order, high)).noise > self.most:
            if high * 2 > len(order):
                raise GraphError(
                    f"in int8, with {high} of {len(order)} nodes in float, the noise is still {found.noise:.2g} of the "
                    f"outputs' spread; allowed is {self.most:g}",
                    "other calibration pictures or another method may help, quantise: {noise: 0.1} allows more; "
                    "or use fp16 for this model",
                )
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            other = self._without(order, middle)
            low, high, found = (low, middle, other) if other.noise <= self.most else (middle, high, found)
        return found

    def _without(self, order: Sequence[str], count: int) -> Quantised:
        """Quantise all nodes but the first `count`."""
        model = self.quantise(order[count:])
        found = noise(self.wanted, _outputs(model, self.samples))
        return Quantised(model=model, nodes=tuple(order[count:]), islands=tuple(order[:count]), noise=found,
                         before=found)


def _outputs(model: onnx.ModelProto, samples: Sequence[Arrays]) -> list[Arrays]:
    runtime = opened(model, optimised=True)
    return [runtime(sample) for sample in samples]


def spread(calibration: Sequence[Arrays]) -> list[Arrays]:
    """Give a few inputs of a calibration set, from its beginning to its end."""
    step = max(1, len(calibration) // TRIED)
    return list(calibration[::step][:TRIED])


def noise(wanted: Sequence[Arrays], found: Sequence[Arrays]) -> float:
    """Give the worst column's deviation of the error, relative to the deviation of its values."""
    return max((_noise([sample[name] for sample in wanted], [sample[name] for sample in found])
                for name in wanted[0]), default=0.0)


def _noise(wanted: Sequence[Array], found: Sequence[Array]) -> float:
    expected, other = (np.concatenate([_rows(array) for array in arrays]) for arrays in (wanted, found))
    spread = np.sqrt(np.mean((expected - expected.mean(axis=0)) ** 2, axis=0))
    error = np.sqrt(np.mean((other - expected) ** 2, axis=0))
    # A column without any spread is noisy as soon as there is an error at all.
    return float(np.max(error / np.maximum(spread, 1e-6 + 1e-6 * np.abs(expected).max()), initial=0.0))


def _rows(array: Array) -> Array:
    array = np.asarray(array, np.float64)
    return array.reshape(-1, array.shape[-1]) if array.ndim > 2 and array.shape[-1] <= COLUMNS else array.reshape(-1, 1)
