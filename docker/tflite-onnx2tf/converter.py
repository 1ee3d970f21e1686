"""ONNX to TFLite by onnx2tf: to a SavedModel with channels last, proven, and from there as every way goes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import finishing
import opening
from jobkit import Job, Runtime
from onnxsource import reference, source_file
from options import read_options
from precision import Saved
from toolchain import child_of

__all__ = ["PACKAGES", "convert", "load", "prepare", "reference"]

PACKAGES = ("onnx2tf", "tensorflow-cpu", "tf-keras", "onnx", "onnxruntime", "tflite-support")

# What the order of axes of an input is in the file, where the recipe has channels second.
LAYOUT = "NHWC"

# So many samples are run when onnx2tf's result is held against ONNX Runtime.
COMPARED = 2

REMEDY = "try the other way, via: onnx-tf"

# onnx2tf walks over sets, whose order would differ from process to process: for the processes started here.
os.environ["PYTHONHASHSEED"] = "0"


def prepare(job: Job) -> None:
    """Refuse wrong options and a source of another kind at once."""
    read_options(job)
    source_file(job)


def convert(job: Job) -> list[str]:
    """Make ``model.tflite``; give its name."""
    # A SavedModel is written once and read once: it needs no place that lasts.
    with TemporaryDirectory(dir=job.out, prefix="work-") as folder:
        return finishing.build(_saved(job, folder), job, child_of(job))


def _saved(job: Job, folder: str) -> Saved:
    samples = [job.samples[index] for index in range(min(COMPARED, len(job.samples)))]
    target = str(Path(folder) / "saved_model")
    last = [item.name for item in job.inputs if item.layout == "NCHW"]
    with job.events.step("convert to a SavedModel with onnx2tf, and compare with ONNX Runtime"):
        inputs, outputs, error = child_of(job).call(
            "onnxtwo:to_saved_model", str(source_file(job)), job.inputs, last, samples, target,
            doing="convert with onnx2tf", remedy=REMEDY,
        )  # fmt: skip
    job.facts["onnx2tf"] = {"compared": len(samples), "error": float(f"{error:.1g}")}
    shapes = {item.name: (item.shape, item.layout) for item in job.inputs}
    return Saved(
        folder=target,
        inputs=inputs,
        outputs=outputs,
        shapes={key: shapes[name] for key, name in inputs.items()},
        usual=LAYOUT,
    )


def load(files: Sequence[str], job: Job) -> Runtime:
    """Open the file in TensorFlow Lite's interpreter, in a process of its own."""
    return opening.load(files, job, LAYOUT)
