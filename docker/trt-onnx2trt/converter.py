"""ONNX to TensorRT by the program onnx2trt, which onnx-tensorrt builds; run as the engines of the other ways are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import engines
import onnx2trt
from engines import ENGINE, load_engine, obey_tf32, open_gpu, seal
from jobkit import ContractError, FileSource, Job, OptionError, Runtime, SourceError
from jobkit.program import run
from memory import Cuda
from profiles import read_batch
from trtapi import Api, find

PACKAGES = ("tensorrt", "pycuda", "onnx")
PROGRAM = Path(os.environ.get("MODELFARM_ONNX2TRT") or "/opt/onnx-tensorrt/bin/onnx2trt")
OTHER = "VIA=python can do that"

_open: Dict[Path, Tuple[Api, Cuda]] = {}


def check_options(job: Job) -> None:
    """Raise OptionError for what the program cannot do."""
    if job.precision not in onnx2trt.BITS:
        raise OptionError(f"onnx2trt builds no engine in {job.precision}", OTHER)
    if read_batch(job.options.get("batch")):
        raise OptionError("onnx2trt takes no range of batches", OTHER)
    if job.options.get("fp32_layers"):
        raise OptionError("onnx2trt cannot keep single layers in fp32", OTHER)


def prepare(job: Job) -> None:
    """Refuse what the program cannot do, and a machine without a GPU."""
    check_options(job)
    _source(job)
    obey_tf32(job)  # the program has no option for it
    _gpu(job)
    if not job.given and not PROGRAM.is_file():
        raise ContractError(f"there is no {PROGRAM}", "make images TARGET=trt-onnx2trt builds the toolchain anew")


def _gpu(job: Job) -> Tuple[Api, Cuda]:
    if job.folder not in _open:
        api = find("tensorrt")
        _open[job.folder] = (api, open_gpu(api))
    return _open[job.folder]


def convert(job: Job) -> List[str]:
    """Let the program build the engine, judge it by its words, and issue a passport; give the names of both files."""
    engine = job.out / ENGINE
    words = onnx2trt.command(PROGRAM, _source(job), engine, job.precision, int(job.options.get("workspace") or 1 << 30))
    with job.events.step("build the engine with onnx2trt"):
        ended = run(words, job.out)
    onnx2trt.judge(ended, engine, job.precision)
    return seal(job, *_gpu(job))


def load(files: Sequence[str], job: Job) -> Runtime:
    """Load the engine, after a look at its passport, and show it to the farm."""
    return load_engine(files, job, *_gpu(job))


def reference(job: Job) -> Runtime:
    """Give the ONNX file in an evaluator on the CPU."""
    return engines.reference(_source(job))


def _source(job: Job) -> Path:
    if not isinstance(job.source, FileSource) or job.source.kind != "onnx":
        raise SourceError("onnx2trt reads an ONNX file", "the farm makes it with its onnx target")
    return job.source.file
