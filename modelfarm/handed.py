"""What jobs hand on to later ones of the same target for the same GPU, such as the timings of kernels.

It makes a second build quick and alike; it is in no key, because a cache that grows with every model would make every
artifact anew. A manifest names what a job was handed, and the gates judge what it made with it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

from modelfarm.digest import key_of
from modelfarm.job import Job

FOLDER = "handed"  # below the cache
_DIGITS = 16


def place(job: Job, cache: Path) -> Path:
    """Return the folder of what jobs like this one hand on: those of its target, for its GPU and driver."""
    gpu = job.identity.get("gpu") or {}
    named = f"{job.target.makes_for}-{gpu.get('capability', 'any')}"
    return cache / FOLDER / f"{named}-{key_of({'target': job.target.makes_for, 'gpu': dict(gpu)})[:_DIGITS]}"


def give(job: Job, cache: Path, inside: Path) -> dict[str, str]:
    """Copy what earlier jobs handed on into a job's folder; return the SHA-256 of each file by its name."""
    given = {}
    for name in job.target.hands_on:
        try:
            content = (place(job, cache) / name).read_bytes()
        except OSError:
            continue  # it is the first, or the cache was emptied: the job takes longer
        (inside / name).write_bytes(content)
        given[name] = hashlib.sha256(content).hexdigest()
    return given


def take(job: Job, cache: Path, out: Path) -> None:
    """Keep what a job that passed hands on; of two at a time, the later one's stays, on a full disk none."""
    folder = place(job, cache)
    for name in job.target.hands_on:
        if not (out / name).is_file():
            continue
        partial = folder / f".{name}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(out / name, partial)
            partial.replace(folder / name)
        except OSError:
            with suppress(OSError):
                partial.unlink()
