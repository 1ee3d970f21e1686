"""The base: which Debian images stand on, pulled by digest or made here with debootstrap."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from modelfarm.command import output
from modelfarm.console import Console
from modelfarm.containers import ClientError
from modelfarm.errors import FarmError, MachineError, RegistryError
from modelfarm.images import debootstrap, hints
from modelfarm.images.workshop import Workshop
from modelfarm.pins import BasePin, Pins, change_pins, today
from modelfarm.target import Target

_PULLING = 1800.0  # seconds for some 30 MB over any line
_NEEDED = "needed:"


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base image: its name in the engine, and what images say that they were made from."""

    release: str
    reference: str
    label: str

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables of docker-bake.hcl for this release."""
        name = self.release.upper()
        return {f"DEBIAN_{name}": f"docker-image://{self.reference}", f"BASE_{name}": self.label}


def local_name(release: str) -> str:
    """Return the name of a base that was made here."""
    return f"modelfarm/debian:{release}"


def releases(workshop: Workshop, target: Target) -> list[str]:
    """Return the Debian releases that docker-bake.hcl builds a target from.

    Raises MachineError where this buildx cannot read the file, or does not do what NETWORK= asks for.
    """
    names = {f"DEBIAN_{release.upper()}": f"{_NEEDED}{release}" for release in workshop.bases}
    words = ["buildx", "bake", "--print", "-f", str(workshop.bake_file), target.name]
    answer = output([workshop.client.program, *words], environment=workshop.inputs.environment | names,
                    cwd=workshop.toolchains.parent)
    if answer.code:
        said = " ".join(hints.last_words(answer.err))
        raise MachineError(f"{workshop.bake_file} and this docker do not agree on {target.name}: {said}",
                           remedy="builds need docker's plug-in buildx 0.11 or newer: the package docker-buildx")
    plans = json.loads(answer.out)["target"]
    if workshop.inputs.passed_on.get("NETWORK") and "network" not in plans[target.name]:
        raise MachineError("this buildx knows no NETWORK=; it would build without",
                           remedy="install buildx 0.17 or newer, or name a proxy or mirror that is not on loopback")
    contexts = [place for plan in plans.values() for place in (plan.get("contexts") or {}).values()]
    return sorted({place.removeprefix(_NEEDED) for place in contexts if place.startswith(_NEEDED)})


def choose_base(workshop: Workshop, release: str, console: Console) -> Base:
    """Return the base that BASE= names.

    Without a BASE= it is the one that `make base` made, else the registry's, else, where no registry is in reach, a
    new one of debootstrap.
    """
    wanted = workshop.inputs.base
    if wanted != "registry" and (made := _made(workshop, release)):
        return made
    if wanted == "debootstrap":
        return make_base(workshop, release, console)
    pin = workshop.bases[release]
    said = _fetch(workshop, pin, console)
    if not said:
        return Base(release=release, reference=pin.reference, label=f"registry {pin.reference}")
    if wanted == "registry" or not hints.is_out_of_reach(said):
        raise _refused(workshop, pin, said)
    console.note(f"no registry with {pin.reference[:40]}... is in reach; debootstrap makes the base here")
    try:
        return make_base(workshop, release, console)
    except FarmError as error:
        reason = _refused(workshop, pin, said)
        raise MachineError(f"{error.message}\n{reason.message}", remedy=error.remedy) from error


def _made(workshop: Workshop, release: str) -> Base | None:
    reference = local_name(release)
    image = workshop.client.image(reference)
    if image is None:
        return None
    label = image.labels.get("modelfarm.base") or f"local {image.identity}"
    return Base(release=release, reference=reference, label=label)


def _fetch(workshop: Workshop, pin: BasePin, console: Console) -> str:
    """Pull a base by digest unless it is here; return what the client said where that failed, else nothing."""
    if workshop.client.image(pin.reference):
        return ""
    step = console.begin(f"pull {pin.image}:{pin.tag}")
    try:
        workshop.client.ask("pull", "--quiet", pin.reference, seconds=_PULLING)
    except ClientError as error:
        step.end(failed=True)
        return error.said
    except BaseException:
        step.end(failed=True)
        raise
    step.end()
    return ""


def _refused(workshop: Workshop, pin: BasePin, said: str) -> FarmError:
    error = hints.transfer_failure(said, pin.reference, workshop.client.name)
    if hints.is_gone(said):
        error.remedy = "ci/refresh-bases asks the registry for the digest of today"
    error.remedy += "; BASE=debootstrap makes the base here" if error.remedy else "BASE=debootstrap makes the base here"
    return error


def make_base(workshop: Workshop, release: str, console: Console) -> Base:
    """Make the base of a release with debootstrap and name it in the engine; raises MachineError where that fails."""
    debootstrap.check(release)
    log, mirror, label = workshop.log(f"debian-{release}"), workshop.inputs.mirror, f"debootstrap {release}"
    with (console.step(f"make Debian {release} with debootstrap"),
          debootstrap.root(release, mirror, log) as tree):
        workshop.client.ask(
            "import", "--change", f"LABEL modelfarm.base={json.dumps(label)}", "--change", 'CMD ["bash"]',
            "--message", f"modelfarm: {label}", tree, local_name(release), seconds=600)
    image = workshop.client.image(local_name(release))
    console.note(f"{local_name(release)}, {image.size / 1e6:.0f} MB" if image else local_name(release))
    return Base(release=release, reference=local_name(release), label=label)


def refresh(workshop: Workshop) -> Iterator[str]:
    """Ask the registry for the digest that each base's tag has today and write the lock file; yield what changed.

    Raises RegistryError, and writes nothing, where one of them gives no answer.
    """
    fresh = {release: _current(workshop, pin) for release, pin in workshop.bases.items()}
    before = workshop.bases
    change_pins(workshop.bases_lock, lambda pins: Pins(bases=fresh, images=pins.images))
    for release, pin in fresh.items():
        word = "still" if pin.digest == before[release].digest else "now"
        yield f"{release}: {pin.image}:{pin.tag} is {word} {pin.digest}"


def _current(workshop: Workshop, pin: BasePin) -> BasePin:
    digest = tag_digest(workshop, f"{pin.image}:{pin.tag}")
    return BasePin(image=pin.image, tag=pin.tag, digest=digest, date=today())


def tag_digest(workshop: Workshop, reference: str) -> str:
    """Return the digest that a tag has in its registry; raises RegistryError where it gives none."""
    try:
        text = workshop.client.ask("buildx", "imagetools", "inspect", reference, "--format", "{{json .Manifest}}")
    except ClientError as error:
        raise hints.transfer_failure(error.said, reference, workshop.client.name) from error
    try:
        return str(json.loads(text)["digest"])
    except (ValueError, LookupError, TypeError) as error:
        raise RegistryError(f"{reference} cannot be read: {text[:200]}", remedy="is it an image at all?") from error
