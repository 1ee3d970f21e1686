"""Transfers: images to a registry and back, by digest, whole and verified or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from modelfarm.command import Ended, run
from modelfarm.console import Console, Step
from modelfarm.containers import ClientError, Image
from modelfarm.errors import FarmError, MachineError, RegistryError
from modelfarm.images import hints
from modelfarm.images.base import tag_digest
from modelfarm.images.builds import build, mislabelled
from modelfarm.images.workshop import Workshop
from modelfarm.phrase import size
from modelfarm.pins import ImagePin, change_pins, today
from modelfarm.repository import checked_registry
from modelfarm.target import Target

_MOVED = re.compile(r"^[0-9a-f]{12}: (.+)$")  # what docker says of one layer
_LAYER_DONE = ("Pull complete", "Already exists", "Pushed", "Layer already exists", "Mounted from")


def push(workshop: Workshop, target: Target, registry: str, console: Console) -> ImagePin:
    """Push a target's image, built first where it is not here, and pin what the registry then holds.

    docker/images.lock changes last, when everything went well. Raises UsageError for a name that no registry takes,
    RegistryError where the registry fails, MachineError where the build does.
    """
    repository = f"{checked_registry(registry)}/{target.name}"
    image = build(workshop, target, console)
    if problem := mislabelled(workshop, target, image):
        raise MachineError(f"{workshop.name(target)} is not what its name says: {problem}",
                           remedy=f"make images TARGET={target.name} FORCE=1")
    content = workshop.describe(image).content
    pin = ImagePin(image="", identity=image.identity, sources=workshop.sources(target), content=content,
                   size=image.size, architecture=image.architecture, date=today())
    tagged = f"{repository}:{pin.sources[:16]}"
    there = workshop.client.image(tagged)
    workshop.client.ask("tag", image.identity, tagged)
    try:
        pin = replace(pin, image=f"{repository}@{_push(workshop, target, tagged, console)}")
    except BaseException:
        # The engine shall not say that the registry has what it has not.
        _untag(workshop, tagged, there)
        raise
    change_pins(workshop.lock, lambda pins: replace(pins, images={**pins.images, target.name: pin}))
    console.note(f"{pin.image}")
    console.note(f"{workshop.lock.name} names it now: commit it, and others get it with make pull")
    return pin


def _push(workshop: Workshop, target: Target, tagged: str, console: Console) -> str:
    """Push, read back, and return the digest that the registry holds."""
    said = _transfer(workshop, target, "push", tagged, console)
    found = re.search(r"digest: (sha256:[0-9a-f]{64})", said)
    if found is None:
        raise RegistryError(f"the client does not say under which digest it pushed {tagged}",
                            remedy=f"see its output in {workshop.folder}")
    held = tag_digest(workshop, tagged)
    if held != found[1]:
        raise RegistryError(f"{tagged} was pushed as {found[1]}, but the registry holds {held} under that name",
                            remedy="somebody pushed the same name meanwhile, or the registry changes what it is given; "
                                   "run again")
    return held


def pull(workshop: Workshop, target: Target, console: Console) -> Image:
    """Fetch the image that docker/images.lock names, by digest, and name it when it is verified.

    Raises MachineError where the lock has none for this checkout or this architecture, RegistryError where the
    registry fails or gives something else.
    """
    pin = _pinned(workshop, target)
    if (there := workshop.image(target)) and not workshop.inputs.force:
        same = there.identity in (pin.identity, pin.digest)
        console.note(f"{workshop.name(target)} is there, "
                     + ("as pinned" if same else "built here; FORCE=1 pulls the one that was published"))
        return there
    before = workshop.client.image(pin.image)
    try:
        if before is None:
            _fetch(workshop, target, pin, console)
        image = _verified(workshop, target, pin, console)
    except BaseException:
        if before is None:
            with suppress(ClientError):
                workshop.client.ask("image", "rm", pin.image)
        raise
    workshop.client.ask("tag", image.identity, workshop.name(target))
    console.note(f"{workshop.name(target)}, {size(image.size)}, content {pin.content}")
    return image


def _pinned(workshop: Workshop, target: Target) -> ImagePin:
    """Return the lock's entry; raises MachineError where it is not for this checkout and this engine."""
    pin = workshop.published.get(target.name)
    here = f"make images TARGET={target.name} builds it here"
    if pin is None:
        raise MachineError(f"{workshop.lock.name} names no published image of {target.name}",
                           remedy=f"{here}; make push REGISTRY=host:port/path publishes it")
    sources = workshop.sources(target)
    if pin.sources != sources:
        raise MachineError(
            f"{workshop.lock.name} names an image of {target.name} for other files than this checkout has: "
            f"{pin.sources[:16]} of {pin.date}, here {sources[:16]}",
            remedy=f"{here}; git checkout of {workshop.toolchains.name}/ as it was pushed fits the lock; "
                   "make push REGISTRY=host:port/path publishes this one")
    engine = _architecture(workshop)
    if pin.architecture != engine:
        raise MachineError(f"{pin.image[:60]}... is for {pin.architecture}, this engine runs {engine}", remedy=here)
    return pin


def _architecture(workshop: Workshop) -> str:
    field = "{{.Server.Arch}}" if workshop.client.name == "docker" else "{{.Client.OsArch}}"
    return workshop.client.ask("version", "--format", field).rpartition("/")[2]


def _fetch(workshop: Workshop, target: Target, pin: ImagePin, console: Console) -> None:
    try:
        _transfer(workshop, target, "pull", pin.image, console)
    except RegistryError as error:
        raise (_gone(workshop, pin, error) if hints.is_gone(error.message) else error) from None


def _gone(workshop: Workshop, pin: ImagePin, error: FarmError) -> FarmError:
    """Return what became of an image that the registry has no more: perhaps its tag moved."""
    with suppress(FarmError):
        now = tag_digest(workshop, pin.tagged)
        if now != pin.digest:
            return RegistryError(
                f"the tag moved: {workshop.lock.name} has {pin.digest} for {pin.tagged}, which the registry holds no "
                f"more; the tag now points to {now}",
                remedy="whoever pushed it anew shall commit the new lock; make push REGISTRY= writes it, "
                       "make images builds here")
    return error


def _verified(workshop: Workshop, target: Target, pin: ImagePin, console: Console) -> Image:
    """Return the image that was pulled; raises RegistryError where it is not what the lock says."""
    image = workshop.client.image(pin.image)
    if image is None:
        raise RegistryError(f"{pin.image} was pulled, but the engine has no image of that digest",
                            remedy="run again; another process may have removed it")
    # An engine with containerd's store of images names them by the manifest.
    if image.identity not in (pin.identity, pin.digest):
        raise _other(workshop, pin, f"its id is {image.identity}, the lock says {pin.identity}")
    if image.architecture != pin.architecture:
        raise _other(workshop, pin, f"it is for {image.architecture}, the lock says {pin.architecture}")
    if problem := mislabelled(workshop, target, image):
        raise _other(workshop, pin, problem)
    with console.step("read every file of it"):
        content = workshop.describe(image).content
    if content != pin.content:
        raise _other(workshop, pin, f"its content is {content}, the lock says {pin.content}")
    return image


def _other(workshop: Workshop, pin: ImagePin, problem: str) -> RegistryError:
    return RegistryError(f"{pin.image} is not the image that {workshop.lock.name} describes: {problem}",
                         remedy="the lock was written for another image: do not use this one; "
                                "make push writes a new lock")


def _transfer(workshop: Workshop, target: Target, verb: str, reference: str, console: Console) -> str:
    """Run a push or a pull with a bar that counts layers, and return what the client said."""
    log = workshop.log(f"{target.name}-{verb}")
    with console.step(f"{verb} {reference.partition('@')[0]}") as step:
        ended = run([workshop.client.program, verb, reference], log=log, on_line=_counter(step))
        said = log.read_text(errors="replace").partition("\n")[2]
        if ended.code:
            raise _refusal(workshop, ended, verb, reference, said)
    return said


def _refusal(workshop: Workshop, ended: Ended, verb: str, reference: str, said: str) -> FarmError:
    if ended.code < 0:
        return MachineError(f"{workshop.client.name} {verb} {reference} {ended.why}", remedy="run again")
    return hints.transfer_failure(said, reference, workshop.client.name)


def _counter(step: Step) -> Callable[[str], None]:
    """Return what moves a step's bar as layers arrive."""
    layers: dict[str, bool] = {}

    def count(line: str) -> None:
        if _MOVED.match(line):
            layer, _, said = line.partition(": ")
            layers[layer] = layers.get(layer, False) or said.startswith(_LAYER_DONE)
            step.progress(sum(layers.values()), len(layers))

    return count


def _untag(workshop: Workshop, tagged: str, there: Image | None) -> None:
    """Take a name away, or give it back to the image that had it."""
    with suppress(ClientError):
        if there is None:
            workshop.client.ask("image", "rm", tagged)
        else:
            workshop.client.ask("tag", there.identity, tagged)
