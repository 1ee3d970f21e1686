"""ONNX to TFLite by onnx-tf: to a SavedModel, held against ONNX Runtime, and from there to the file."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import List, Sequence

import finishing
import opening
from jobkit import Job, Runtime
from onnxsource import reference, source_file
from options import read_options
from precision import Saved
from toolchain import child_of

__all__ = ["PACKAGES", "convert", "load", "prepare", "reference"]

PACKAGES = ("tensorflow-cpu", "onnx", "onnx-tf", "onnxruntime", "tflite-support")

# onnx-tf never turns the axes of inputs and outputs.
LAYOUT = "NCHW"

# So many samples are run when onnx-tf's result is held against ONNX Runtime.
COMPARED = 2

REMEDY = "try the other way, via: onnx2tf"


def prepare(job: Job) -> None:
    """Refuse wrong options and a source of another kind at once."""
    read_options(job)
    source_file(job)


def convert(job: Job) -> List[str]:
    """Make ``model.tflite``; give its name."""
    # A SavedModel is written once and read once: it needs no place that lasts.
    with TemporaryDirectory(dir=job.out, prefix="work-") as folder:
        return finishing.build(_saved(job, folder), job, child_of(job))


def _saved(job: Job, folder: str) -> Saved:
    samples = [job.samples[index] for index in range(min(COMPARED, len(job.samples)))]
    target = str(Path(folder) / "saved_model")
    with job.events.step("convert to a SavedModel with onnx-tf, and compare with ONNX Runtime"):
        inputs, outputs, error = child_of(job).call(
            "savedmodel:to_saved_model", str(source_file(job)), job.inputs, samples, target,
            doing="convert with onnx-tf", remedy=REMEDY,
        )  # fmt: skip
    job.facts["onnx-tf"] = {"compared": len(samples), "error": float(f"{error:.1g}")}
    shapes = {item.name: (item.shape, item.layout) for item in job.inputs}
    return Saved(
        folder=target,
        inputs={f"input_{index}": name for index, name in enumerate(inputs)},
        outputs={f"output_{index}": name for index, name in enumerate(outputs)},
        shapes={f"input_{index}": shapes[name] for index, name in enumerate(inputs)},
        usual=LAYOUT,
    )


def load(files: Sequence[str], job: Job) -> Runtime:
    """Open the file in TensorFlow Lite's interpreter, in a process of its own."""
    return opening.load(files, job, LAYOUT)
