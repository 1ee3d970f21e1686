"""Fewer nodes for the same function, and the proof that it is the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import onnx
from graph import FILE, write_graph
from jobkit import GraphError, Runtime, brief
from jobkit.runtime import Arrays
from session import open_graph

Array = np.ndarray[Any, Any]

# Of the largest value: fusing a normalisation into a convolution rounds differently, and no more than that.
TOLERANCE = 2e-5

# A column is judged by its own values from so many rows on, and never as if they were much smaller than the others.
ROWS_FOR_COLUMNS = 64
LEAST_COLUMN = 0.01

# Outputs that are zero but for rounding are equal.
SMALLEST = 1e-3

REMEDY = "set simplify: false for this target in the recipe"

Simplifier = Callable[[onnx.ModelProto], onnx.ModelProto]


def slim(model: onnx.ModelProto) -> onnx.ModelProto:
    """Simplify with onnxslim: folded constants, fused operators, no dead nodes."""
    # The import alone takes half a second.
    import onnxslim

    logging.getLogger("onnxslim").setLevel(logging.WARNING)
    return cast(onnx.ModelProto, onnxslim.slim(model))


def simplify(
    model: onnx.ModelProto, samples: Iterable[Arrays], work: Path, simplifier: Simplifier = slim
) -> onnx.ModelProto:
    """Give a simplified copy of `model` that computes the same on every sample; `work` is a folder for both.

    Raises GraphError where simplification fails or changes an output.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        simplified = simplifier(copy)
    except Exception as error:
        raise GraphError(f"simplification failed: {type(error).__name__}: {brief(error)}", REMEDY) from error
    if simplified is None:
        raise GraphError("simplification gave nothing", REMEDY)
    with TemporaryDirectory(dir=work) as before, TemporaryDirectory(dir=work) as after:
        write_graph(model, Path(before))
        write_graph(simplified, Path(after))
        compare(open_graph(Path(before, FILE)), open_graph(Path(after, FILE)), samples)
    return simplified


def compare(original: Runtime, simplified: Runtime, samples: Iterable[Arrays]) -> None:
    """Raise GraphError, naming the output and the error, where the two graphs differ on a sample."""
    for index, sample in enumerate(samples):
        expected, found = original(sample), simplified(sample)
        for name, array in expected.items():
            if name not in found or found[name].shape != array.shape or found[name].dtype != array.dtype:
                raise GraphError(f"simplification lost the output {name!r} or changed its shape or type", REMEDY)
            excess = difference(array, found[name])
            if excess > 1 and difference(array, original(sample)[name]) > 1:
                raise GraphError(
                    f"the output {name!r} is another each time that the graph runs: something in it is random",
                    "take it out of forward(); dropout(training=True) is the usual one",
                )
            if excess > 1:
                raise GraphError(
                    f"simplification changes the output {name!r} on sample {index}: "
                    f"the error is {excess:.3g} times what rounding explains",
                    REMEDY,
                )


def difference(expected: Array, found: Array) -> float:
    """Give the largest error as a multiple of what rounding may do; infinite where NaN or infinity differ.

    The limit of a value follows the largest of its column, the last axis, where there are enough rows to know it:
    a wrong score of a box then does not hide behind the box's pixels.
    """
    if expected.size == 0 or np.array_equal(expected, found, equal_nan=expected.dtype.kind == "f"):
        return 0.0
    finite = np.isfinite(expected)
    if not np.array_equal(finite, np.isfinite(found)):
        return float("inf")
    values = np.where(finite, expected, 0).astype(np.float64)
    errors = np.abs(values - np.where(finite, found, 0).astype(np.float64))
    columns = values.shape[-1] if values.ndim else 1
    scale = np.abs(values).max()
    if values.size // columns >= ROWS_FOR_COLUMNS:
        scale = np.maximum(np.abs(values).reshape(-1, columns).max(axis=0), scale * LEAST_COLUMN)
    return float((errors / (TOLERANCE * np.maximum(scale, SMALLEST))).max())
