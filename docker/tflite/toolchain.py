"""The process of this toolchain in which TensorFlow lives: one for each job, from the conversion to the last run."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

from child import Child
from jobkit import Job

_children: Dict[Path, Child] = {}


def child_of(job: Job) -> Child:
    """Give the process that works for `job`."""
    return _children.setdefault(job.folder, Child("tensorflow"))
