"""The doctor: what this machine can and cannot do, and the remedy."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelfarm import disk, gpu, toolchain
from modelfarm.containers import NAMES, Client
from modelfarm.errors import FarmError, MachineError
from modelfarm.lookup import Lookup
from modelfarm.pins import ImagePin, read_pins
from modelfarm.recipe import Recipe, TorchSource
from modelfarm.runners import Runners
from modelfarm.runners.venv import VenvRunner, interpreter, unreachable
from modelfarm.settings import Settings
from modelfarm.store import Store
from modelfarm.survey import Survey, others_with_buildx, surveys
from modelfarm.target import Target

_ROOM = 5 << 30  # bytes that a toolchain and a few artifacts want
_PATIENCE = 10.0  # seconds that an engine has to answer
_ENGINE = 'eval "$(ci/engine start)" brings one on Debian, as root'


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


def examine_engines(engines: Sequence[Survey] | None = None, runner: str = "auto") -> Iterator[Finding]:
    """Look at the container clients of this machine and at their engines; lacking is only what RUNNER= names."""
    engines = surveys() if engines is None else engines
    named = {engine.client.name for engine in engines}
    if runner in NAMES and runner not in named:
        yield Finding(state="lacking", subject=runner, detail=f"RUNNER={runner}, but it is not on the PATH",
                      remedy=f"install {runner}, or name its client with {runner.upper()}=")
    elif "docker" not in named:
        yield Finding(state="note", subject="docker", detail="not on the PATH: no images can be built, pulled or used",
                      remedy=f"install docker with its plugin buildx; {_ENGINE}")
    for engine in engines:
        yield from _engine(engine, "lacking" if engine.client.name == runner else "note")


def _engine(engine: Survey, state: str) -> Iterator[Finding]:
    name, program = engine.client.name, engine.client.program
    if engine.problem:
        yield Finding(state=state, subject=name, detail=f"{program} {engine.version}".strip() + f": {engine.problem}",
                      remedy=_wake(name, engine.problem))
    else:
        detail = f"{program} {engine.version}".strip()
        yield Finding(state="ok", subject=name,
                      detail=f"{detail}, engine {engine.engine}" if engine.engine != engine.version else detail)
    if name == "docker":
        yield _buildx(engine)
    if engine.root:
        yield _room(engine.root, name)


def _wake(name: str, problem: str) -> str:
    if "permission denied" in problem.lower():
        return f"get the right to use it (group {name}), or run it rootless"
    if "did not answer" in problem:
        return "its engine hangs: look into its log, restart it"
    host = os.environ.get("DOCKER_HOST")
    place = f" where DOCKER_HOST={host} says" if host else "; DOCKER_HOST= names another"
    return f"start the engine{place}; {_ENGINE}"


def _buildx(engine: Survey) -> Finding:
    if engine.buildx:
        return Finding(state="ok", subject="buildx", detail=engine.buildx)
    other = next(others_with_buildx(engine.client), "")
    remedy = f"DOCKER={other} has it" if other else "install docker-buildx (from Docker itself: docker-buildx-plugin)"
    return Finding(state="note", subject="buildx", remedy=remedy,
                   detail=f"{engine.client.program} has no such plugin; images cannot be built")


def _room(root: Path, name: str) -> Finding:
    free = disk.free(root)
    detail = f"{root}, {free / 1e9:.0f} GB free"
    if free < _ROOM:
        return Finding(state="note", subject=f"{name} folder", detail=detail,
                       remedy=f"make room; {name} system df tells what is large")
    return Finding(state="ok", subject=f"{name} folder", detail=detail)


def examine_gpu(engines: Sequence[Survey], system: Path = Path("/")) -> Iterator[Finding]:
    """Look for GPUs, and whether containers can have them; to have none is no fault."""
    cards, specified = gpu.devices(system), gpu.container_specifications(system)
    if not cards:
        yield Finding(state="ok", subject="GPU", detail="none on this machine")
    elif specified or any(engine.nvidia for engine in engines):
        yield Finding(state="ok", subject="GPU", detail=f"{', '.join(cards)}, and containers can have them")
    else:
        yield Finding(state="note", subject="GPU", detail=f"{', '.join(cards)}, but containers cannot have them",
                      remedy="install nvidia-container-toolkit, then: nvidia-ctk runtime configure --runtime=docker")


def examine_toolchains(targets: Iterable[Target], runners: Runners, engines: Sequence[Survey],
                       lock: Path) -> Iterator[Finding]:
    """Look at each target's image and environment, and say which runner its jobs get."""
    wanted = runners.settings.runner
    client = next((engine.client for engine in engines if not engine.problem
                   and engine.client.name == (wanted if wanted in NAMES else "docker")), None)
    pins: Mapping[str, ImagePin] = {}
    try:
        pins = read_pins(lock).images
    except FarmError as error:
        yield Finding(state="note", subject=lock.name, detail=error.message, remedy=error.remedy)
    held = _held(client) if client else {}
    for target in targets:
        if client and target.containerised:
            yield from _image(target, runners, held, pins.get(target.name), "lacking" if wanted in NAMES else "note")
        yield from _runner(target, runners, answers=client is not None)


def _held(client: Client) -> Mapping[str, str]:
    """Return the identities of the farm's images in an engine by their names."""
    try:
        lines = client.ask("image", "ls", "--no-trunc", "--filter", "label=modelfarm.target",
                           "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", seconds=_PATIENCE).splitlines()
    except MachineError:
        return {}
    pairs = (line.split() for line in lines)
    return {name.removeprefix("localhost/"): identity for name, identity in pairs}


def _image(target: Target, runners: Runners, held: Mapping[str, str], pin: ImagePin | None,
           state: str) -> Iterator[Finding]:
    subject, make = f"image {target.name}", f"make images TARGET={target.name}"
    digest = toolchain.sources(target, runners.digests)
    name = toolchain.local_name(target, runners.digests)
    locked = pin is not None and pin.sources == digest
    if name in held:
        how = "not in images.lock"
        if pin and locked:
            how = "as images.lock has it" if held[name] == pin.identity else "built here; images.lock has another build"
        yield Finding(state="ok", subject=subject, detail=f"{name}, {how}")
    else:
        yield Finding(state=state, subject=subject, detail=f"none of this checkout, {name}",
                      remedy=f"make pull, or {make}" if locked else make)
    others = [other for other in held if other.startswith(f"modelfarm/{target.name}:") and other != name]
    if others:
        yield Finding(state="note", subject=subject, detail=f"{len(others)} of other sources: {', '.join(others)}",
                      remedy="remove what no checkout uses any more, with image rm")


def _runner(target: Target, runners: Runners, *, answers: bool) -> Iterator[Finding]:
    """Say where a target's jobs run; the environment is looked at only where they run in it."""
    wanted = runners.settings.runner
    try:
        # Of an engine that does not answer we know; asking it again for each target may take long.
        asked = answers or wanted != "auto" or target.environment == "image"
        runner = runners.of(target) if asked else runners.venv
    except MachineError as error:
        yield Finding(state="note", subject=f"runner {target.name}", detail=error.message, remedy=error.remedy)
        return
    yield Finding(state="ok", subject=f"runner {target.name}", detail=f"{runner.name} (RUNNER={wanted})")
    if isinstance(runner, VenvRunner):
        yield from examine_toolchain(target, runner)


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
