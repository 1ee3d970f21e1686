"""What a pass did to a graph, in a form that can be proven."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import onnx
from jobkit import Runtime
from jobkit.runtime import Arrays


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The largest error that is still equal, relative to the largest value of the column; 0 is bit for bit."""

    relative: float
    reason: str

    def __str__(self) -> str:
        """Say it in words and a number."""
        return f"{self.reason}: {self.relative:.2g} of the column's largest value" if self.relative else self.reason


EXACT = Limit(relative=0.0, reason="bit for bit")

# Another order of the same sums rounds differently, and no more than that.
ROUNDING = Limit(relative=2e-5, reason="but for rounding")


def same(arrays: Arrays) -> Arrays:
    """Give the arrays as they are."""
    return arrays


@dataclass(frozen=True, kw_only=True)
class Change:
    """A new graph and how it relates to the old one; without `lines` there was nothing to do.

    `expected` makes the new graph's outputs of the old one's, `inputs` the new graph's inputs of the old one's;
    `taps` are the tensors inside the old graph that `expected` reads beside its outputs. `facts` are for whoever
    decodes the outputs: factors, names, sizes. `tried` runs in the proof in the place of `model`, where ONNX Runtime
    would not compute what `model` says.
    """

    model: onnx.ModelProto
    lines: tuple[str, ...] = ()
    expected: Callable[[Arrays], Arrays] = same
    inputs: Callable[[Arrays], Arrays] = same
    taps: tuple[str, ...] = ()
    limit: Limit = EXACT
    facts: Mapping[str, object] = field(default_factory=dict)
    tried: onnx.ModelProto | None = None

    def trials(self, old: Runtime, new: Runtime, sample: Arrays) -> Iterator[tuple[Arrays, Arrays]]:
        """Yield what the new graph should give and what it does give, for one sample of the old one."""
        yield self.expected(old(sample)), new(self.inputs(sample))

    def culprit(self, before: onnx.ModelProto, sample: Arrays) -> str:
        """Name the node at which the graphs begin to differ, where this can be told."""
        return ""
