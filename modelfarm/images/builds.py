"""Builds: images made with `docker buildx bake`, tested, and only then named."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelfarm import gpu
from modelfarm.command import Ended, output, run
from modelfarm.console import Console
from modelfarm.containers import Image
from modelfarm.errors import FarmError, MachineError
from modelfarm.images.base import choose_base, releases
from modelfarm.images.hints import build_failure, last_words
from modelfarm.images.inputs import known_sources
from modelfarm.images.stages import Stages
from modelfarm.images.workshop import Workshop, repository, revision
from modelfarm.phrase import shown, size
from modelfarm.target import Target

_TESTING = 900.0  # seconds for an image's test of itself
# As little as a job has, see runners/container.py; the test may write below /tmp.
_CONFINED = ("--network", "none", "--read-only", "--tmpfs", "/tmp:exec", "--cap-drop", "ALL",
             "--security-opt", "no-new-privileges")


def build(workshop: Workshop, target: Target, console: Console) -> Image:
    """Build the image of a target unless it is here, and return it.

    It is built and tested under a temporary name. Raises MachineError where it cannot be built or fails its own test,
    RegistryError where its base cannot be pulled.
    """
    name = workshop.name(target)
    if not workshop.inputs.force and (there := workshop.image(target)):
        console.note(f"{name} is there, made from {there.labels.get('modelfarm.base', 'an unknown base')}; "
                     "FORCE=1 builds it anew")
        return there
    log = workshop.log(target.name)
    with _temporary_name(workshop, target) as temporary:
        _bake(workshop, target, temporary, log, console)
        image = _checked(workshop, target, temporary)
        with console.step("the image tests itself"):
            _test(workshop, target, image, log)
        with console.step("read every file of it"):
            content = workshop.describe(image).content
        workshop.client.ask("tag", image.identity, name)
    console.note(f"{name}, {size(image.size)}, content {content}")
    console.note(f"log: {shown(log)}")
    return image


@contextmanager
def _temporary_name(workshop: Workshop, target: Target) -> Iterator[str]:
    """Yield a name that is gone afterwards, and with it the image, unless it got another name."""
    name = f"modelfarm/{target.name}:building-{secrets.token_hex(6)}"
    try:
        yield name
    finally:
        output([workshop.client.program, "image", "rm", name])


def _bake(workshop: Workshop, target: Target, name: str, log: Path, console: Console) -> None:
    environment = _environment(workshop, target, console)
    words: list[str | Path] = [
        workshop.client.program, "buildx", "bake", "-f", workshop.bake_file, "--progress", "plain", "--load",
        "--provenance=false", *(["--no-cache"] if workshop.inputs.force else []), *_allowed(workshop),
        "--set", f"{target.name}.tags={name}", target.name]
    stages = Stages(console)
    with console.step(f"build the {target.name} image"):
        try:
            ended = run(words, log=log, environment=environment, on_line=stages,
                        cwd=workshop.toolchains.parent)
        finally:
            stages.close()
        if ended.code:
            raise _failure(workshop, target, ended, log)


def _environment(workshop: Workshop, target: Target, console: Console) -> dict[str, str]:
    """Return the variables of docker-bake.hcl; what stands in the farm's environment is inherited, and unlogged."""
    digests = {"sources": workshop.sources(target), "lock": workshop.digests.file(target.requirements)}
    bases = [choose_base(workshop, release, console) for release in releases(workshop, target)]
    given = {name: value for name, value in workshop.inputs.environment.items() if os.environ.get(name) != value}
    return {"REVISION": revision(workshop.toolchains), "REPOSITORY": repository(workshop.toolchains),
            "DIGESTS": json.dumps({target.name: digests}), **given,
            **{name: value for base in bases for name, value in base.environment.items()},
            # The builder of the engine itself: only it sees the engine's images.
            "BUILDX_BUILDER": workshop.client.ask("context", "show"),
            # Newer versions of buildx ask before they read what is given by its path.
            "BUILDX_BAKE_ENTITLEMENTS_FS": "0"}


def _allowed(workshop: Workshop) -> list[str]:
    """Return the leave to use this machine's network, where NETWORK= asks for it and this buildx wants to be told."""
    if workshop.inputs.passed_on.get("NETWORK") != "host":
        return []
    return ["--allow=network.host"] if "--allow" in workshop.client.ask("buildx", "bake", "--help") else []


def _failure(workshop: Workshop, target: Target, ended: Ended, log: Path) -> FarmError:
    text = log.read_text(errors="replace").partition("\n")[2]  # without the command
    if ended.code < 0:
        return MachineError(f"the build of the {target.name} image {ended.why}", remedy=f"its output is in {log}")
    return build_failure(f"the {target.name} image", text, workshop.inputs, known_sources(workshop.bake_file), log)


def _checked(workshop: Workshop, target: Target, name: str) -> Image:
    """Return what was built; raises MachineError where it is not what this checkout says."""
    image = workshop.client.image(name)
    if image is None:
        raise MachineError(f"the build of the {target.name} image left no image in the engine",
                           remedy=f"see its output in {workshop.folder}")
    if problem := mislabelled(workshop, target, image):
        raise MachineError(f"the {target.name} image was built, but {problem}",
                           remedy=f"were files changed meanwhile? Run again; the labels come from {workshop.bake_file}")
    return image


def mislabelled(workshop: Workshop, target: Target, image: Image) -> str:
    """Say how an image's labels differ from what this checkout would write; empty where they agree."""
    wanted = {"modelfarm.target": target.name, "modelfarm.sources": workshop.sources(target)}
    for label, value in wanted.items():
        if image.labels.get(label) != value:
            return f"its label {label} is {image.labels.get(label) or 'missing'}, not {value}"
    return ""


def _test(workshop: Workshop, target: Target, image: Image, log: Path) -> None:
    container = f"modelfarm-test-{target.name}-{secrets.token_hex(6)}"
    before = log.stat().st_size
    try:
        ended = run([workshop.client.program, "run", "--rm", "--init", "--name", container, *_CONFINED,
                     *_gpu(workshop, target), image.identity, "--self-test"], log=log, seconds=_TESTING)
    finally:
        # Where the client was ended, its container lives on.
        output([workshop.client.program, "rm", "--force", container])
    if ended.code:
        said = log.read_bytes()[before:].decode("utf-8", "replace").partition("\n")[2]
        raise MachineError(f"the {target.name} image fails its own test, which {ended.why}; it was not kept"
                           + "".join(f"\n    {line}" for line in last_words(said)),
                           remedy=f"the whole output is in {log}")


def _gpu(workshop: Workshop, target: Target) -> list[str]:
    """Return what gives a test the GPU that its target wants; where there is none, the test does without its job."""
    if target.device != "gpu" or not gpu.devices():
        return []
    return [word for option in gpu.require(target.name).container_options(workshop.client.name) for word in option]
