"""TensorRT's modules for tests, and graphs that TensorRT-RTX takes or does not take."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jobfolder import DOCKER, Ended, run_job, write_job

TRT, RTX = DOCKER / "trt", DOCKER / "trt-rtx"
PATHS = f"{DOCKER}:{TRT}"
CONVERTER = RTX / "converter.py"

# Behind everything else, like the other toolchain's modules; converter.py has a namesake and is run, not imported.
sys.path.extend([str(TRT), str(RTX)])
building, calibrator, capabilities, enginefile, parsing, profiles, trtapi, trtlog = map(
    import_module,
    ("building", "calibrator", "capabilities", "enginefile", "parsing", "profiles", "trtapi", "trtlog"),
)

# What the script scripts/rtx_graphs.py of the onnx toolchain writes, and what they show.
GRAPHS = {
    "conv": "a convolution",
    "gemm": "a matrix product, which TensorRT-RTX has not in fp32 on compute capability 7.5",
    "free": "a convolution with a free batch",
    "unsupported": "two operators of ONNX that TensorRT has not, between some that it has",
    "foreign": "an operator of another domain",
    "nameless": "a node without a name",
    "large": "a matrix of 200 MB",
}
SHAPE = (1, 3, 8, 8)


def prepare(folder: Path, graph: Path, *, shape: Any = SHAPE, outputs: Any = ("y",), options: Any = (),
            **changes: Any) -> Path:
    """Write the folder of a job of the trt-rtx target on a graph."""
    document = {"source": {"kind": "onnx", "file": "in/source/model.onnx"}, **changes}
    write_job(
        folder,
        [{"x": np.zeros(shape, np.float32)}],
        target="trt-rtx",
        variant="trt-rtx-fp32",
        inputs=[{"name": "x", "shape": shape, "dtype": "float32", "layout": None}],
        outputs=[{"name": name, "shape": None, "dtype": None} for name in outputs],
        options=dict(options),
        promises=["model.engine"],
        reference=False,
        **document,
    )
    (folder / "in" / "source" / "model.onnx").write_bytes(graph.read_bytes())
    return folder


def job(folder: Path, graph: Path, python: Path, **changes: Any) -> Ended:
    """Run a whole job of the trt-rtx target on a graph."""
    return run_job(prepare(folder, graph, **changes), CONVERTER, str(python), PYTHONPATH=PATHS)
