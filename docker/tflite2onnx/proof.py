"""Proof that a graph computes what the file's own interpreter does, and the tensor where it first does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from anatomy import FLOATS, Anatomy, Operator
from child import Child
from jobkit import FileSource, GraphError, Job
from jobkit.runtime import Arrays
from original import Original
from session import open_graph

# Of a tensor's own size: the root of the mean square of the error by that of the values. In float, kernels differ by
# the order of sums alone. Quantised files round at every step, and one step up or down is no error; a bias that is
# lost is: it was seen to change a result by a third of its size.
LIMIT, LIMIT_QUANTISED = 1e-3, 0.15

# So many of the samples are run, beside random inputs.
SAMPLES, SEED = 3, 0

# Makes the graph anew, with these tensors as further outputs.
Translate = Callable[[Sequence[str]], Any]


def prove(
    job: Job, anatomy: Anatomy, graph: Path, translate: Translate, corrected: Sequence[str]
) -> dict[str, float]:
    """Hold outputs, and the tensors that were corrected, against the interpreter; give the error of each.

    `graph` is where the graph is, and where `translate` makes another one.

    Raises GraphError naming the operator whose result is the first that differs.
    """
    inputs = list(examples(job))
    outputs = anatomy.names(anatomy.outputs)
    errors = _compared(job, anatomy, graph, outputs, inputs)
    inner = [name for name in corrected if name not in outputs]
    if inner:
        translate(inner)
        errors.update(_compared(job, anatomy, graph, inner, inputs))
    limit = LIMIT_QUANTISED if anatomy.integer else LIMIT
    wrong = {name: error for name, error in errors.items() if not error <= limit}
    if wrong:
        name = next(iter(wrong))
        raise GraphError(
            f"the ONNX graph does not compute what {_file(job).name} does: {name} differs by "
            f"{wrong[name]:.2g} of its size; {_first(job, anatomy, graph, translate, inputs[:1], limit)}",
            "this is a defect of tf2onnx that the farm does not know yet: cut the model before that operator, or "
            "convert it from another source",
        )
    return errors


def examples(job: Job) -> Iterator[Arrays]:
    """Yield the first samples, and random numbers from a fixed seed."""
    for number in range(min(SAMPLES, len(job.samples))):
        yield job.samples[number]
    random = np.random.default_rng(SEED)
    yield {item.name: _random(random, item.shape, np.dtype(item.dtype)) for item in job.inputs}


def _random(random: np.random.Generator, shape: Sequence[int], dtype: np.dtype[Any]) -> Any:
    if dtype.kind in "iu":
        most = min(np.iinfo(dtype).max, 255)
        return random.integers(max(np.iinfo(dtype).min, -most), most, shape, dtype)
    return random.random(shape).astype(dtype)


def _file(job: Job) -> Path:
    assert isinstance(job.source, FileSource)
    return job.source.file


def _compared(
    job: Job, anatomy: Anatomy, graph: Path, names: Sequence[str], inputs: Sequence[Arrays]
) -> dict[str, float]:
    """Give the largest error of each tensor over the inputs."""
    numbers = {tensor.name: number for number, tensor in enumerate(anatomy.tensors)}
    runtime = open_graph(graph, optimised=False)
    errors = dict.fromkeys(names, 0.0)
    with Child("interpreter") as child:
        original = Original(_file(job), job, child, keep=True)
        for example in inputs:
            made = runtime(example)
            kept = original.inside(example, [numbers[name] for name in names])
            for name, array in zip(names, kept, strict=True):
                errors[name] = float(np.max([errors[name], difference(made[name], array)]))
    return errors


def difference(made: Any, wanted: Any) -> float:
    """Give the root of the mean square of the error by that of the values; infinity where the shapes differ."""
    if made.shape != wanted.shape:
        return float("inf")
    error = np.asarray(made, np.float64) - np.asarray(wanted, np.float64)
    size = float(np.sqrt(np.mean(np.square(wanted, dtype=np.float64)))) if wanted.size else 0.0
    return float(np.sqrt(np.mean(np.square(error)))) / max(size, 1e-6) if wanted.size else 0.0


def _first(
    job: Job, anatomy: Anatomy, graph: Path, translate: Translate, inputs: Sequence[Arrays], limit: float
) -> str:
    """Say where a graph with every tensor as an output first differs."""
    computed = dict(_computed(anatomy))
    try:
        translate(list(computed))
        errors = _compared(job, anatomy, graph, list(computed), inputs)
    except GraphError as error:
        return f"where cannot be told: {error.message}"
    for name, operator in computed.items():
        if not errors[name] <= limit:
            place = anatomy.operators.index(operator) + 1
            return f"first after operator {place} of {len(anatomy.operators)}, {operator.name}, in {name}"
    return "no tensor inside differs"


def _computed(anatomy: Anatomy) -> Iterator[tuple[str, Operator]]:
    for operator in anatomy.operators:
        for number in operator.outputs:
            tensor = anatomy.tensors[number]
            if number >= 0 and tensor.type in FLOATS and tensor.name:
                yield tensor.name, operator


def worst(errors: Mapping[str, float]) -> float:
    """Give the largest error."""
    return max(errors.values(), default=0.0)
