"""Ranges of tensors, measured by ONNX Runtime's quantiser on a calibration set, and the graph that it makes with them.

https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import onnx
from graph import FILE, write_graph
from jobkit import GraphError, brief
from jobkit.runtime import Arrays

from passes.edit import Constants, copied, sort_nodes

# By the names of the recipe, those of CalibrationMethod.
METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
# Of three, seen to be the best for detectors: the widest of all values leaves few steps for the usual ones.
USUAL = "percentile"
LARGEST = 127


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice, meant for those who call it by hand, out of the log."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logger.setLevel(before)


def measure(model: onnx.ModelProto, operators: Sequence[str], calibration: Sequence[Arrays], method: str) -> Any:
    """Measure the range of every tensor that `operators` read or give. Raises GraphError where that fails."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.items = iter(calibration)

        def get_next(self) -> Arrays | None:
            return next(self.items, None)

    with tempfile.TemporaryDirectory(prefix="ranges-") as folder, _quiet():
        write_graph(copied(model), Path(folder))
        try:
            found = create_calibrator(
                str(Path(folder, FILE)), list(operators), augmented_model_path=str(Path(folder, "augmented.onnx")),
                calibrate_method=CalibrationMethod[METHODS[method]], extra_options={"symmetric": True})
            found.collect_data(Reader())
            return found.compute_data()
        except Exception as error:
            raise GraphError(f"ONNX Runtime cannot measure the ranges: {brief(error)}", "see convert.log") from error


def quantised(model: onnx.ModelProto, ranges: Any, operators: Sequence[str], nodes: Sequence[str]) -> onnx.ModelProto:
    """Give a copy in which `nodes` read Q and DQ: symmetric int8, weights per channel, biases in float.

    That is the form which TensorRT takes. Outputs are not quantised: who reads them does it.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    options = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False,
               "AddQDQPairToWeight": True, "OpTypesToExcludeOutputQuantization": list(operators)}
    with _quiet():
        quantiser = QDQQuantizer(copied(model), True, False, QuantType.QInt8, QuantType.QInt8, ranges, list(nodes), [],
                                 list(operators), options)
        quantiser.quantize_model()
    found: onnx.ModelProto = quantiser.model.model
    sort_nodes(found.graph)
    del found.graph.value_info[:]  # of the graph before
    return found


def described(model: onnx.ModelProto) -> list[dict[str, Any]]:
    """Give the scale and the range of each activation that is quantised."""
    constants = Constants(model.graph)
    found = []
    for node in model.graph.node:
        scale = constants.get(node.input[1]) if node.op_type == "QuantizeLinear" else None
        if scale is not None and node.input[0] not in constants and not scale.ndim:
            step = float(f"{float(scale):.6g}")
            found.append({"tensor": node.input[0], "scale": step, "zero_point": 0,
                          "minimum": float(f"{-step * (LARGEST + 1):.6g}"), "maximum": float(f"{step * LARGEST:.6g}")})
    return found
