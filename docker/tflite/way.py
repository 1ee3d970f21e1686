"""A way to TFLite: a converter that makes SavedModels of ONNX files, and what is the same around each of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import List, Sequence

import finishing
import opening
from jobkit import Job, Runtime
from onnxsource import source_file
from options import read_options
from precision import Saved
from toolchain import child_of

# So many samples are run when the SavedModel is held against ONNX Runtime.
COMPARED = 2


@dataclass(frozen=True)
class Way:
    """A converter by its `name`, and the `other` to try where it fails.

    `function` runs in the toolchain's own process: it takes the ONNX file's path, the recipe's inputs, some samples
    and a folder for the SavedModel, and gives the graph's names of inputs and outputs by those in the signature, and
    the largest error against ONNX Runtime. `layout` is that of the file's inputs where the recipe's have channels.
    """

    name: str
    other: str
    function: str
    layout: str

    def convert(self, job: Job) -> List[str]:
        """Make ``model.tflite``; give its name."""
        # A SavedModel is written once and read once: it needs no place that lasts.
        with TemporaryDirectory(dir=job.out, prefix="work-") as folder:
            return finishing.build(self._saved(job, str(Path(folder) / "saved_model")), job, child_of(job))

    def load(self, files: Sequence[str], job: Job) -> Runtime:
        """Open the file in TensorFlow Lite's interpreter, in a process of its own."""
        return opening.load(files, job, self.layout)

    def _saved(self, job: Job, folder: str) -> Saved:
        samples = [job.samples[index] for index in range(min(COMPARED, len(job.samples)))]
        with job.events.step(f"convert to a SavedModel with {self.name}, and compare with ONNX Runtime"):
            inputs, outputs, error = child_of(job).call(
                self.function, str(source_file(job)), job.inputs, samples, folder,
                doing=f"convert with {self.name}", remedy=f"try the other way, via: {self.other}",
            )  # fmt: skip
        job.facts[self.name] = {"compared": len(samples), "error": float(f"{error:.1g}")}
        shapes = {item.name: (item.shape, item.layout) for item in job.inputs}
        return Saved(
            folder=folder,
            inputs=inputs,
            outputs=outputs,
            shapes={key: shapes[name] for key, name in inputs.items()},
            usual=self.layout,
        )


def prepare(job: Job) -> None:
    """Refuse wrong options and a source of another kind at once."""
    read_options(job)
    source_file(job)
