"""Another batch for a graph: a number, or a name for a free one, on every input, output and constant that holds it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import lcm

import numpy as np
import onnx
from graph import infer_shapes
from jobkit import OptionError, Runtime
from jobkit.runtime import Arrays

from passes.change import Change, Limit
from passes.edit import Array, copied, drop_unused, title, unread
from passes.mending import RULES
from passes.proof import opened, relative_error
from passes.walk import Walk, Wish

NAME = "batch"
LIMIT = Limit(relative=2e-5, reason="as single runs; larger products may be summed in another order")

# The free batch is tried with this many items, and with one.
TRIED = 3


def read(value: object, model: onnx.ModelProto, samples: Sequence[Arrays]) -> Wish:
    """Read the recipe's ``batch``, a number also in letters. Raises OptionError."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    named = isinstance(value, str) and value.isidentifier()
    if not named and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise OptionError(f"batch {value!r} is neither a number of items nor a name", "say 4, or batch")
    assert isinstance(value, (int, str))
    return Wish(size=value, sample=samples[0] if samples else {})


def apply(model: onnx.ModelProto, wish: Wish) -> Change:
    """Give the batch `wish` to a copy of `model`.

    Raises GraphError naming the node where the batch cannot be followed.
    """
    model, idle = copied(model), unread(model.graph)
    walk = Walk(model, wish, RULES)
    if walk.nothing_to_do:
        return Change(model=model)
    walk.graph(model.graph)
    walk.write_signature(model.graph)
    drop_unused(model.graph, idle)
    return BatchChange(
        model=infer_shapes(model),
        lines=(f"batch: {walk.before} becomes {wish.size}", *walk.lines),
        inputs=lambda sample: enlarged(sample, walk),
        limit=LIMIT,
        before=walk.before,
        size=wish.size,
        axes={name: axis for name in walk.new.types if (axis := walk.batch_axis(name)) is not None},
        fed=tuple(walk.batched),
    )


def enlarged(sample: Arrays, walk: Walk) -> Arrays:
    """Make the new graph's sample of one of the old one: different items, as many as it takes."""
    if walk.symbol is not None:
        return sample
    whole = joined(variants(sample, -(-walk.after // walk.before), walk.batched), walk.batched)
    return {name: array[: walk.after] if name in walk.batched else array for name, array in whole.items()}


def variants(sample: Arrays, count: int, fed: Sequence[str]) -> list[Arrays]:
    """Give `count` different samples: the first as it is, others moved along the last axis, every other mirrored."""
    return [
        {name: _varied(array, number) if name in fed and array.ndim > 1 else array for name, array in sample.items()}
        for number in range(count)
    ]


def _varied(array: Array, number: int) -> Array:
    moved = np.roll(array, number, axis=-1)
    return np.ascontiguousarray(np.flip(moved, -1) if number % 2 else moved)


def joined(samples: Sequence[Arrays], fed: Sequence[str]) -> Arrays:
    """Join samples to one with all their items."""
    return {
        name: np.concatenate([item[name] for item in samples]) if name in fed else array
        for name, array in samples[0].items()
    }


@dataclass(frozen=True, kw_only=True)
class BatchChange(Change):
    """A graph whose batch was `before` and is `size`; `axes` tells where in each tensor it is."""

    before: int
    size: int | str
    axes: dict[str, int]
    fed: tuple[str, ...]

    def trials(self, old: Runtime, new: Runtime, sample: Arrays) -> Iterator[tuple[Arrays, Arrays]]:
        """Yield single runs joined, and runs of all at once, for different items."""
        for size in [self.size] if isinstance(self.size, int) else [self.before, TRIED * self.before]:
            total = lcm(self.before, size)
            singles = variants(sample, total // self.before, self.fed)
            expected = self.joined_outputs([old(single) for single in singles])
            together = joined(singles, self.fed)
            parts = [
                {name: array[start : start + size] if name in self.fed else array for name, array in together.items()}
                for start in range(0, total, size)
            ]
            yield expected, self.joined_outputs([new(part) for part in parts])

    def items(self, sample: Arrays) -> list[Arrays]:
        """Take a sample of the new graph apart into samples of the old one."""
        total = next(len(sample[name]) for name in self.fed)
        return [
            {name: array[start : start + self.before] if name in self.fed else array for name, array in sample.items()}
            for start in range(0, total, self.before)
        ]

    def joined_outputs(self, results: Sequence[Arrays]) -> Arrays:
        """Join the outputs of several runs where they follow the batch; others must be the same in each."""
        return {
            name: np.concatenate([result[name] for result in results], self.axes[name])
            if name in self.axes
            else np.stack([result[name] for result in results])[0]
            for name in results[0]
        }

    def culprit(self, before: onnx.ModelProto, sample: Arrays) -> str:
        """Name the first node whose result for several items is not that for each alone."""
        nodes = [node for node in before.graph.node if node.output[0] in self.axes]
        taps = [node.output[0] for node in nodes]
        kept = {name for node in self.model.graph.node for name in node.output}
        old, new = opened(before, taps), opened(self.model, [name for name in taps if name in kept])
        for expected, found in self.trials(old, new, sample):
            for node in nodes:
                name = node.output[0]
                if name in found and relative_error(expected[name], found[name]) > self.limit.relative:
                    return title(node)
        return ""
