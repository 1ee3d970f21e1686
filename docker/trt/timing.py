"""The timing cache: what kernels took on this GPU, handed from one build to the next.

With it a second build is quick, and chooses the same kernels. It holds for one GPU, driver and version of TensorRT; the
farm keeps one for each.
"""

from __future__ import annotations

from typing import Optional

from jobkit import Job

NAME = "timing.cache"


def read_timing(job: Job) -> bytes:
    """Give the cache of earlier builds, empty where this is the first."""
    file = job.folder / "in" / NAME
    return file.read_bytes() if file.is_file() else b""


def write_timing(job: Job, timing: Optional[bytes]) -> None:
    """Hand the cache, which has become more, to the next build; an empty one is none."""
    if timing:
        (job.out / NAME).write_bytes(timing)
