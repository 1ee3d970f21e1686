"""The artifact as every way to TFLite opens it: in the interpreter, and with what it says of itself read back."""

from __future__ import annotations

from typing import Sequence

import interpreter
from jobkit import Job, Runtime
from options import read_options
from toolchain import child_of
from words import check, words_of


def load(files: Sequence[str], job: Job, usual: str) -> Runtime:
    """Open the file in TensorFlow Lite's interpreter, in a process of its own; `usual` is its layout of channels.

    Raises UnusableError where the interpreter does not take it, or its metadata is not what the recipe says. A file
    that is given may be older than metadata, and who only wants to see what it finds hands on no words of a recipe.
    """
    path, child = job.out / files[0], child_of(job)
    runtime = interpreter.open_file(path, job, child, usual=usual, threads=read_options(job).threads)
    found = child.call("metadata:read", str(path), doing=f"read the metadata of {path.name}")
    if job.given and (found is None or not job.meaning):
        return runtime
    wanted = words_of(job, [tensor.name for tensor in runtime.outputs])
    check(found, wanted)
    job.facts["metadata"] = wanted.lines
    return runtime
