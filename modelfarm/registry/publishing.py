"""Publishing: artifacts of the store into a registry, the tags last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modelfarm.artifact import Artifact
from modelfarm.console import Console
from modelfarm.errors import ArtifactError, GateError, RegistryError, UsageError
from modelfarm.manifest import read_origin
from modelfarm.phrase import size
from modelfarm.registry import signatures, transfer
from modelfarm.registry.attachments import attach
from modelfarm.registry.keys import PrivateKey
from modelfarm.registry.line import Line
from modelfarm.registry.oci import Manifest
from modelfarm.registry.package import Package, pack
from modelfarm.registry.shelf import Shelf
from modelfarm.registry.uploads import Uploads
from modelfarm.repository import is_part, is_tag
from modelfarm.store import Store


@dataclass(frozen=True, kw_only=True)
class Publisher:
    """Publishes into one registry; `force` moves the tag of a version, `key` signs."""

    store: Store
    registry: str
    key: PrivateKey | None = None
    force: bool = False

    def publish(self, artifact: Artifact, console: Console) -> str:
        """Publish an artifact with its provenance and smoke report; return its name by digest.

        The tags are put last: whatever breaks before leaves them as they were. Raises GateError for what may not be
        published, ArtifactError where it is damaged, RegistryError where the registry fails.
        """
        if reason := objection(artifact):
            raise GateError(f"{artifact.model}/{artifact.variant} {artifact.version} cannot be published: {reason}",
                            remedy="nothing was sent")
        package = pack(artifact.check(self.store.digests))
        shelf = Shelf(Line(place(self.registry, artifact.model)))
        version_tag = f"{checked_tag(artifact.variant)}-{artifact.version}"
        self._keep_version(shelf, package.model, version_tag)
        _upload(shelf, package, Uploads(cache=self.store.digests.folder), console)
        with console.step("publish"):
            shelf.write(package.model.data, package.model.digest)
            for attachment in package.attachments:
                attach(shelf, attachment)
            if self.key:
                for manifest in (package.model, *package.attachments):
                    signatures.sign(shelf, manifest.digest, self.key)
            for tag in (version_tag, artifact.variant):
                shelf.tag(package.model, tag)
        return shelf.name(package.model.digest)

    def _keep_version(self, shelf: Shelf, model: Manifest, tag: str) -> None:
        """Raise RegistryError where a version's tag names another artifact: a version never changes."""
        held = shelf.digest(tag)
        if held not in ("", model.digest) and not self.force:
            raise RegistryError(f"{shelf.name(tag)} names another artifact already: {held}, this one is {model.digest}",
                                remedy="the same sources gave other bytes, or somebody moved the tag; make reproduce "
                                       "tells which; FORCE=1 moves the tag to this one")


def _upload(shelf: Shelf, package: Package, uploads: Uploads, console: Console) -> None:
    """Send what the registry lacks."""
    done = sent = 0
    with console.step(f"upload {size(package.size)} to {shelf.line.repository}") as step:
        for blob in package.blobs:
            sent += transfer.upload(shelf.line, blob, transfer.counted(step, done, package.size), uploads=uploads)
            done += blob.descriptor.size
    console.note(f"{sent} of {len(package.blobs)} blobs were new to the registry")


def objection(artifact: Artifact) -> str:
    """Say why an artifact may not go to others; empty where it may.

    Raises ArtifactError where its manifest does not tell.
    """
    if read_origin(artifact).random_weights:
        return "its weights are random, good for sizes and times, not for results"
    try:
        states = dict(artifact.manifest["predicate"]["verification"]["gates"])
    except (ValueError, TypeError, LookupError) as error:
        raise ArtifactError(f"the manifest of {artifact.model}/{artifact.variant} {artifact.version} tells of no gates",
                            remedy="make the artifact anew") from error
    if failed := [name for name, state in states.items() if state == "failed"]:
        return f"it did not pass the gate {', '.join(failed)}"
    if "passed" not in states.values():
        return "it passed no gate"
    return ""


def place(registry: str, model: str) -> str:
    """Return the repository of a model; raises UsageError where the model's name is none for a registry."""
    if not is_part(model):
        raise UsageError(f"{model} cannot name a repository: it takes small letters, digits, single . _ and -",
                         remedy="name the model so in its recipe and folder")
    return f"{registry}/{model}"


def checked_tag(variant: str) -> str:
    """Return the tag of a variant; raises UsageError where its name is none for a registry."""
    if not is_tag(f"{variant}-{'0' * 16}"):
        raise UsageError(f"{variant} cannot be a tag: those have letters, digits, . _ - and are short",
                         remedy="publish a variant with a simpler name: put the options into the recipe")
    return variant


def chosen(store: Store, model: str, variant: str, target: str) -> Iterator[Artifact]:
    """Yield the latest artifacts of a model that are meant: one variant, those of a target, or all that may go out.

    Where no variant is named, random weights and steps on the way to other targets are left out. Raises ArtifactError
    where there is nothing.
    """
    if variant:
        artifact = store.latest(model, variant)
        if artifact is None:
            raise ArtifactError(f"{model} has no {variant} artifact{_failed(store, model, variant)}",
                                remedy="make status lists what there is")
        yield artifact
        return
    found = False
    for artifact in store.artifacts():
        if artifact.model == model and store.is_latest(artifact) and _meant(artifact, target):
            found = True
            yield artifact
    if not found:
        what = f"artifact of {target}" if target else "artifact"
        raise ArtifactError(f"{model} has no {what} to publish{_failed(store, model, '')}",
                            remedy=f"make {target or 'onnx'} MODEL={model}")


def _meant(artifact: Artifact, target: str) -> bool:
    origin = read_origin(artifact)
    step = f"{origin.target}-for-"
    return target in ("", origin.target) and not origin.random_weights and not artifact.variant.startswith(step)


def _failed(store: Store, model: str, variant: str) -> str:
    failures = [each for each in store.failures() if each.model == model and variant in ("", each.variant)]
    return f": {failures[0].variant} failed, and what failed is not published" if failures else ""
