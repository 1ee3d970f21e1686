"""Inputs: the files that go into jobs, by digest in the store, where every worker that shares it finds them.

    <root>/.inputs/<SHA-256>/<name>

A scheduler so sees names and digests only. What nobody has used for a while is swept; it is a copy.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from modelfarm import disk
from modelfarm.errors import MachineError
from modelfarm.job import Job, Material
from modelfarm.recipe import Recipe
from modelfarm.store import Store

_KEPT = 30 * 24 * 3600  # seconds
_LATE = 10.0  # seconds that a network file system may take to show what another machine has written
_PAUSE = 0.2


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs in a store; each is looked at once."""

    store: Store
    _there: set[Path] = field(default_factory=set, repr=False)

    @property
    def root(self) -> Path:
        """Return the folder of all inputs."""
        return self.store.root / ".inputs"

    def place(self, material: Material) -> Path:
        """Return where a material lies: its name is kept, because samples are named after their files."""
        return self.root / material.sha256 / material.name

    def put(self, job: Job) -> None:
        """Copy what goes into a job, and into what it starts from, into the store, as far as it is not there.

        Raises MachineError where a file is no longer what was planned with.
        """
        for material in all_materials(job):
            goal = self.place(material)
            if goal in self._there:
                continue
            if not goal.is_file():
                self._copy(material, goal)
            with suppress(OSError):
                os.utime(goal.parent)  # it is in use
            self._there.add(goal)

    def _copy(self, material: Material, goal: Path) -> None:
        # A copy, not a link: whoever writes into the original would change what a worker reads.
        with self.store.stage() as stage:
            fresh = stage.scratch / "input"
            try:
                shutil.copyfile(material.path, fresh)
            except FileNotFoundError as error:
                raise MachineError(f"{material.path} has gone since the job was planned",
                                   remedy="bring it back") from error
            with fresh.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != material.sha256:
                    raise MachineError(f"{material.path} has changed since the job was planned", remedy="run it again")
            disk.sync(fresh)
            goal.parent.mkdir(parents=True, exist_ok=True)
            fresh.replace(goal)

    def take(self, job: Job) -> Job:
        """Return the job with the files in this store as its materials, each read and found to be right.

        Raises MachineError where one is missing, which means that the store is not the one that they were put into.
        """
        materials = tuple(replace(material, path=self._found(material)) for material in job.materials)
        moved = replace(job, materials=materials, origin=self.take(job.origin) if job.origin else None)
        return replace(moved, recipe=_at_home(moved))

    def _found(self, material: Material) -> Path:
        file = self.place(material)
        if not eventually(file.is_file):
            raise MachineError(f"the store {self.store.root} has no input {material.name} ({material.sha256[:12]}...)",
                               remedy="ARTIFACTS= must name the same shared folder for the farm and its workers")
        if self.store.digests.file(file) != material.sha256:
            raise MachineError(f"{file} is damaged", remedy=f"remove {file.parent} and run the job again")
        return file

    def sweep(self) -> None:
        """Remove what nobody has used for a month; never raise for it."""
        with suppress(OSError):
            for folder in self.root.iterdir():
                if time.time() - folder.stat().st_mtime > _KEPT:
                    disk.remove(folder)


def all_materials(job: Job) -> list[Material]:
    """Return the files that go into a job, and into what it starts from."""
    return [*(all_materials(job.origin) if job.origin else ()), *job.materials]


def _at_home(job: Job) -> Recipe:
    """Return the job's recipe with its own decoder and labels among the materials."""
    recipe = job.recipe
    if recipe.decoder is None:
        return recipe
    decoder = recipe.decoder
    for module in job.having("decoder"):
        decoder = replace(decoder, module=module.path)
    for labels in job.having("labels"):
        decoder = replace(decoder, options={**decoder.options, "labels": labels.name})
        recipe = replace(recipe, folder=labels.path.parent)
    return replace(recipe, decoder=decoder)


def eventually(ready: Callable[[], bool]) -> bool:
    """Return whether something becomes true within the patience that network file systems want."""
    deadline = time.monotonic() + _LATE
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True
