"""One call for the toolchain's own process: an ONNX file read, converted by onnx-tf, compared, and saved."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Sequence, Tuple

import beside
import onnxtf
from jobkit import Input


def to_saved_model(
    path: str, inputs: Sequence[Input], samples: Sequence[Mapping[str, Any]], folder: str
) -> Tuple[Dict[str, str], Dict[str, str], float]:
    """Write the SavedModel of the graph at `path` into `folder`, proven on `samples`.

    Gives the graph's names of inputs and outputs by those in the signature, ``input_0``, ``output_0`` and so on, and
    the largest error.
    """
    model = onnxtf.read(path, inputs)
    converted = onnxtf.convert(model)
    error = beside.check(converted, model, samples)
    onnxtf.save(converted, folder)
    inputs = {f"input_{index}": name for index, name in enumerate(converted.inputs)}
    outputs = {f"output_{index}": name for index, name in enumerate(converted.outputs)}
    return inputs, outputs, error
