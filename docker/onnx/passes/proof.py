"""The proof that a pass kept what the graph computes: before and after, in ONNX Runtime, each time it runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from graph import FILE, IR_WITHOUT_WEIGHTS_AS_INPUTS, input_values, is_huge, write_graph
from jobkit import GraphError, Runtime
from jobkit.runtime import Arrays
from session import open_graph
from simplify import TOLERANCE, difference

from passes.change import Change, Limit
from passes.edit import Array, copied, dims, drop_unused

SEED = 20
REMEDY = "leave this edit out of the recipe, or change the model where it is made"

# Free axes of a graph without a sample: one item, and a picture that small nets take.
FREE_BATCH, FREE_SIZE = 1, 64


@dataclass(frozen=True, kw_only=True)
class Proof:
    """How much the two graphs differ at most, on how many samples; `error` is relative as a Limit is."""

    error: float
    samples: int
    limit: Limit

    def __str__(self) -> str:
        """Say it in one line for the manifest."""
        found = f"an error of {self.error:.2g}" if self.error else "no difference"
        return f"{found} on {self.samples} samples; allowed: {self.limit}"


def prove(name: str, before: onnx.ModelProto, change: Change, samples: Sequence[Arrays]) -> Proof:
    """Run the graphs before and after the pass `name` on `samples` and on random inputs, and compare.

    Raises GraphError with the pass, the output and the error where they differ by more than the limit.
    """
    if is_huge(before):
        raise GraphError(f"the pass {name} cannot be proven on a graph over 2 GiB", REMEDY)
    old, new = opened(before, change.taps), opened(change.tried or change.model)
    worst, tried = 0.0, [*samples, *random_samples(before, samples)]
    for index, sample in enumerate(tried):
        try:
            for expected, found in change.trials(old, new, sample):
                worst = max(worst, _compare(name, index, expected, found, change.limit))
        except GraphError as error:
            node = change.culprit(before, sample)
            raise GraphError(f"{error.message}; it begins at {node}" if node else error.message, REMEDY) from error
    return Proof(error=worst, samples=len(tried), limit=change.limit)


def opened(model: onnx.ModelProto, taps: Sequence[str] = (), *, optimised: bool = False) -> Runtime:
    """Open `model` in ONNX Runtime, with the tensors `taps` inside it as further outputs.

    It runs exactly as it is; `optimised` is for those who measure, and do not prove.
    """
    copy = tapped(model, taps)
    inputs = input_values(copy)
    if len(inputs) < len(copy.graph.input):  # weights among them: ONNX Runtime warns of each
        copy.ir_version = max(copy.ir_version, IR_WITHOUT_WEIGHTS_AS_INPUTS)
        del copy.graph.input[:]
        copy.graph.input.extend(inputs)
    drop_unused(copy.graph)
    with tempfile.TemporaryDirectory(prefix="proof-") as folder:
        write_graph(copy, Path(folder))
        return open_graph(Path(folder, FILE), optimised=optimised)


def tapped(model: onnx.ModelProto, taps: Sequence[str]) -> onnx.ModelProto:
    """Give `model` with tensors inside it as further outputs."""
    copy = copied(model)
    known = {value.name for value in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in taps if name not in known)
    return copy


def _compare(name: str, index: int, expected: Arrays, found: Arrays, limit: Limit) -> float:
    worst = 0.0
    if set(expected) != set(found):
        raise GraphError(f"the pass {name} changes the outputs to {', '.join(found)}", REMEDY)
    for output, array in expected.items():
        other = found[output]
        if other.shape != array.shape or other.dtype != array.dtype:
            raise GraphError(
                f"the pass {name} makes the output {output} {other.dtype} {list(other.shape)} "
                f"instead of {array.dtype} {list(array.shape)}",
                REMEDY,
            )
        error = relative_error(array, other)
        if not error <= limit.relative:
            raise GraphError(
                f"the pass {name} changes the output {output} on sample {index}: the error is {error:.3g} of the "
                f"column's largest value; allowed: {limit}",
                REMEDY,
            )
        worst = max(worst, error)
    return worst


def relative_error(expected: Array, found: Array) -> float:
    """Give the largest error relative to its column's largest value; 0 where both are equal bit for bit."""
    return difference(expected, found) * TOLERANCE


def random_samples(model: onnx.ModelProto, samples: Sequence[Arrays], count: int = 2) -> Iterator[Arrays]:
    """Yield seeded random inputs: floats in the range of the first sample, its own numbers shuffled for others."""
    rng = np.random.default_rng(SEED)
    for _ in range(count):
        yield {value.name: _random(value, samples, rng) for value in input_values(model)}


def _random(value: onnx.ValueInfoProto, samples: Sequence[Arrays], rng: np.random.Generator) -> Array:
    if samples and value.name in samples[0]:
        like = samples[0][value.name]
        if like.dtype.kind != "f":
            return rng.permutation(like.reshape(-1)).reshape(like.shape)
        low, high = (float(like.min()), float(like.max())) if like.size else (0.0, 1.0)
        return rng.uniform(low, high if high > low else low + 1, like.shape).astype(like.dtype)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    if dtype.kind != "f":
        return rng.integers(0, 2, sizes(value)).astype(dtype)
    return rng.standard_normal(sizes(value)).astype(dtype)


def sizes(value: onnx.ValueInfoProto, sample: Arrays | None = None) -> list[int]:
    """Give the sizes of an input: the sample's, or its own with its free axes small."""
    if sample and value.name in sample:
        return list(sample[value.name].shape)
    free = [FREE_BATCH] + [FREE_SIZE] * len(dims(value))
    return [size if isinstance(size, int) else free[axis] for axis, size in enumerate(dims(value))]
