"""onnx-tf's result held against ONNX Runtime, and where they differ, the first node at which they do.

Runs in the toolchain's own process.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np
import onnx
import onnxtf
import tensorflow as tf
from closeness import TOLERANCE, difference, run_onnx
from jobkit import GraphError
from onnxtf import Converted

REMEDY = "try the other way, via: onnx2tf; or write this part of the model with other operators"

Arrays = Mapping[str, Any]


def check(converted: Converted, source: onnx.ModelProto, samples: Sequence[Arrays]) -> float:
    """Give the largest error of `converted` against `source` on the samples, relative to the range of an output.

    Raises GraphError with the first node that differs where it is above TOLERANCE.
    """
    largest = 0.0
    for sample in samples:
        wanted = run_onnx(source, converted.outputs, sample)
        error, name = _worst(_run(converted, sample), wanted, converted.outputs)
        if not error <= TOLERANCE:
            raise GraphError(f"onnx-tf converts the graph wrongly: {_blame(source, sample, name, error)}", REMEDY)
        largest = max(largest, error)
    return largest


def _run(converted: Converted, sample: Arrays) -> Dict[str, Any]:
    given = converted.call(*(tf.constant(sample[name]) for name in converted.inputs))
    return {name: given[f"output_{index}"].numpy() for index, name in enumerate(converted.outputs)}


def _worst(got: Arrays, wanted: Arrays, names: Sequence[str]) -> Tuple[float, str]:
    errors = [(difference(got[name], wanted[name]), name) for name in names]
    return max(errors, key=lambda entry: (np.isnan(entry[0]), entry[0]))


def _blame(model: onnx.ModelProto, sample: Arrays, output: str, error: float) -> str:
    """Name the first node whose result differs, by running both with all their tensors as outputs."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    tensors = _tensors(model)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in tensors)
    wanted = run_onnx(shown, tensors, sample)
    got = _run(onnxtf.convert(model, tensors), sample)
    said = f"the output {output} is off by {error:.2g} of its range"
    for node in model.graph.node:
        off = [difference(got[name], wanted[name]) for name in node.output if name in wanted]
        if off and not max(off) <= TOLERANCE:
            title = f"{node.name or node.output[0]} ({node.op_type})"
            return f"{said}; the first node that differs is {title}, by {max(off):.2g}"
    return said


def _tensors(model: onnx.ModelProto) -> List[str]:
    return [name for node in model.graph.node for name in node.output if name]
