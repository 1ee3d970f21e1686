"""The doctor: what this machine can and cannot do, and the remedy."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelfarm import disk
from modelfarm.errors import FarmError
from modelfarm.lookup import Lookup
from modelfarm.recipe import Recipe, TorchSource
from modelfarm.runners.venv import VenvRunner, interpreter, unreachable
from modelfarm.settings import Settings
from modelfarm.store import Store
from modelfarm.target import Target

_ROOM = 5 << 30  # bytes that a toolchain and a few artifacts want


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at: `state` is ok, note or lacking."""

    state: str
    subject: str
    detail: str
    remedy: str = ""


def examine_machine(settings: Settings) -> Iterator[Finding]:
    """Look at the interpreter, the processor, the folders and their room."""
    yield Finding(state="ok", subject="python", detail=f"{platform.python_version()} in {sys.prefix}")
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    yield Finding(state="ok", subject="machine", detail=machine)
    yield _folder("store", settings.artifacts, "ARTIFACTS")
    yield _folder("cache", settings.cache, "MODELFARM_CACHE")


def _folder(subject: str, folder: Path, variable: str) -> Finding:
    standing = next(place for place in (folder, *folder.parents) if place.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK):
        return Finding(state="lacking", subject=subject, detail=f"{folder} cannot be written",
                       remedy=f"{variable}= names another folder")
    free = disk.free(folder)
    detail = f"{folder}, {free / 1e9:.0f} GB free"
    if free < _ROOM:
        return Finding(state="note", subject=subject, detail=detail, remedy=f"make room, or {variable}= another disk")
    return Finding(state="ok", subject=subject, detail=detail)


def examine_toolchain(target: Target, runner: VenvRunner) -> Iterator[Finding]:
    """Look at whether a target's environment is installed, or could be."""
    subject = f"toolchain {target.name}"
    if runner.ready(target):
        yield Finding(state="ok", subject=subject, detail=f"installed in {runner.folder(target)}")
        return
    yield Finding(state="note", subject=subject, detail="not installed yet; the first conversion does it")
    try:
        interpreter(target)
    except FarmError as error:
        yield Finding(state="lacking", subject=subject, detail=error.message, remedy=error.remedy)
    if problem := unreachable(runner.torch_index):
        detail = f"{runner.torch_index} does not answer: {problem}"
        yield Finding(state="note", subject="PyTorch's index", detail=detail,
                      remedy="TORCH_INDEX= names a mirror; PIP_FIND_LINKS= a folder of wheels")


def examine_engines() -> Iterator[Finding]:
    """Look for container engines; nothing needs one yet."""
    for engine in ("docker", "podman"):
        if found := shutil.which(engine):
            yield Finding(state="note", subject=engine, detail=f"{found}; the runner in use is venv")


def examine_store(store: Store) -> Iterator[Finding]:
    """Read every artifact and name those that are damaged."""
    damaged = list(store.damages())
    for error in damaged:
        yield Finding(state="lacking", subject="artifact", detail=error.message, remedy=error.remedy)
    if not damaged:
        yield Finding(state="ok", subject="artifacts", detail=f"{sum(1 for _ in store.artifacts())}, all whole")


def examine_recipes(recipes: Sequence[Recipe], lookup: Lookup) -> Iterator[Finding]:
    """Look for the weights and samples of the models; many have weights that only their authors give."""
    missing = [recipe.name for recipe in recipes if not has_files(recipe, lookup)]
    detail = f"{len(recipes) - len(missing)} of {len(recipes)} have their weights and samples here"
    if not missing:
        yield Finding(state="ok", subject="models", detail=detail)
    else:
        yield Finding(state="note", subject="models", detail=f"{detail}; not {', '.join(missing)}",
                      remedy="MODELFARM_DATA= names folders with their files, WEIGHTS= a checkpoint")


def has_files(recipe: Recipe, lookup: Lookup) -> bool:
    """Return whether a recipe's weights and samples are on this machine."""
    source = recipe.source
    try:
        lookup.file(source.weights if isinstance(source, TorchSource) else source.file, recipe.folder)
        lookup.matching((*recipe.samples.pictures, *recipe.samples.arrays), recipe.folder)
    except FarmError:
        return False
    return True
