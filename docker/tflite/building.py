"""A SavedModel on its way to an artifact: converted, named, described. Every way to TFLite ends with this."""

from __future__ import annotations

from typing import List

import diagnosis
from child import Child
from jobkit import GraphError, Job
from options import read_options
from precision import Saved, Wish

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
    return [FILE]
