"""A SavedModel on its way to an artifact: converted, named, described. Every way to TFLite ends with this."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import List

import diagnosis
from child import Child
from jobkit import GraphError, Job, UnusableError
from options import read_options
from precision import Saved, Wish
from words import words_of

FILE = "model.tflite"

REMEDY = "try the other way, via, or another precision; the last lines of convert.log name the operator"


def build(saved: Saved, job: Job, child: Child) -> List[str]:
    """Make ``model.tflite`` of `saved` in the job's precision; give its name. What is learnt goes to ``job.facts``.

    Raises GraphError naming the operator that TFLite does not have, UnusableError where eight bits cannot hold it.
    """
    options, path = read_options(job), job.out / FILE
    wish = Wish(job.precision, options.select_ops, job.calibration)
    with job.events.step(f"convert to TFLite, {job.precision}"):
        child.call("precision:write", saved, wish, str(path), doing="convert the SavedModel to TFLite", remedy=REMEDY)
    contents = child.call("flatfile:contents", str(path), doing=f"read {FILE}")
    if contents.custom:
        raise GraphError(
            f"the file has operators of nobody's: {', '.join(contents.custom)}",
            "write them in the model with operators that TFLite has",
        )
    job.facts["operators"] = dict(contents.operators)
    job.facts["select_ops"] = list(contents.select_ops)
    diagnosis.diagnose(path, saved, job, child)
    with job.events.step("write the metadata, and compare with the file before"):
        _describe(path, saved, job, child)
    return [FILE]


def _describe(path: Path, saved: Saved, job: Job, child: Child) -> None:
    """Write into the file what the recipe says of the model; the file still gives what it gave, bit for bit."""
    plain = Path(saved.folder).with_name("plain.tflite")
    shutil.copyfile(path, plain)
    child.call("metadata:attach", str(path), words_of(job, list(saved.outputs.values())), doing="write the metadata")
    for sample in (job.samples[index] for index in range(min(1, len(job.samples)))):
        equal = child.call(
            "metadata:same", str(plain), str(path), job.inputs, saved.usual, sample, read_options(job).threads,
            doing=f"run {path.name} with its metadata", crash=UnusableError,
        )  # fmt: skip
        if not equal:
            raise UnusableError("with its metadata the file gives other results than before", "see convert.log")
