"""Fetching: artifacts out of a registry into the store, each verified before it enters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelfarm.artifact import MANIFEST, Artifact, version_of
from modelfarm.console import Console
from modelfarm.errors import ArtifactError, GateError, RegistryError
from modelfarm.phrase import size
from modelfarm.registry import signatures, transfer
from modelfarm.registry.attachments import attached
from modelfarm.registry.faults import MissingError
from modelfarm.registry.keys import PublicKey
from modelfarm.registry.line import Line
from modelfarm.registry.oci import TITLE, Descriptor, Manifest
from modelfarm.registry.package import CREATED, FILE, MODEL, OWN, PROVENANCE, SMOKE_REPORT
from modelfarm.registry.publishing import checked_tag, objection, place
from modelfarm.registry.shelf import Shelf
from modelfarm.store import Stage, Store

_VERSION = re.compile("-[0-9a-f]{16}")
_PLAIN = re.compile(r"[A-Za-z0-9_][\w.+-]*")
_LARGEST = 64 << 20  # bytes of a manifest, or of all files of a report
_STRANGE = "it was not published by make publish, or somebody changed it: do not use it"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be fetched: a variant, and perhaps one version of it, or the digest that it must have."""

    model: str
    variant: str
    version: str = ""
    digest: str = ""

    @property
    def tag(self) -> str:
        """Return the tag to look at."""
        return f"{checked_tag(self.variant)}-{self.version}" if self.version else checked_tag(self.variant)


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a registry holds: the manifest, and what its annotations say of it."""

    manifest: Manifest
    name: str

    def says(self, what: str) -> str:
        """Return one of the farm's own annotations."""
        return self.manifest.annotations.get(f"{OWN}{what}", "")

    @property
    def layers(self) -> Mapping[str, Descriptor]:
        """Return the layers by the names of their files."""
        return {layer.annotations.get(FILE, ""): layer for layer in self.manifest.layers}


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """Fetches out of one registry; with a `key`, only what is signed with it."""

    store: Store
    registry: str
    key: PublicKey | None = None

    def variants(self, model: str, target: str = "") -> Iterator[str]:
        """Yield the variants that the registry has of a model, or those of one target.

        Raises MissingError where there are none.
        """
        shelf = self._shelf(model)
        tags = [tag for tag in shelf.tags() if not tag.startswith("sha256-") and not _VERSION.search(tag[-17:])]
        meant = [tag for tag in tags if not target or self._target(shelf, tag) == target]
        if not meant:
            what = f"artifact of {target}" if target else "artifact"
            raise MissingError(f"{shelf.line.repository} has no {what}",
                               remedy="see MODEL= and REGISTRY=; make publish puts it there")
        yield from sorted(meant)

    def fetch(self, wanted: Wanted, console: Console) -> Artifact:
        """Bring an artifact into the store, and let `latest` point to it; nothing enters that is not whole.

        Raises RegistryError, ArtifactError where something is damaged, GateError where it passed no gates.
        """
        shelf = self._shelf(wanted.model)
        offer = _offered(shelf, wanted)
        if self.key:
            signatures.check(shelf, offer.manifest.digest, self.key, offer.name)
        key = offer.says("key")
        with self.store.lock(key, waiting=lambda who: console.note(f"waiting for {who}, which makes the same")):
            if there := self._there(wanted, key, console):
                self.store.point_latest(there)
                console.note(f"{wanted.model}/{wanted.variant} {there.version} is here already")
                return there
            with self.store.stage() as stage:
                self._fill(shelf, wanted, offer, stage, console)
                return self.store.publish(stage, wanted.model, wanted.variant, key)

    def _shelf(self, model: str) -> Shelf:
        return Shelf(Line(place(self.registry, model)))

    def _target(self, shelf: Shelf, tag: str) -> str:
        manifest = shelf.manifest(tag)
        return manifest.annotations.get(f"{OWN}target", "") if manifest else ""

    def _there(self, wanted: Wanted, key: str, console: Console) -> Artifact | None:
        """Return the artifact where the store has it whole; a damaged one is moved away."""
        try:
            return self.store.find(wanted.model, wanted.variant, key)
        except ArtifactError as error:
            kept = self.store.discard_damaged(wanted.model, wanted.variant, key, error.message)
            console.note(f"{error.message}; moved to {kept}, fetching it")
            return None

    def _fill(self, shelf: Shelf, wanted: Wanted, offer: Offer, stage: Stage, console: Console) -> None:
        with console.step("check provenance and gates"):
            (stage.folder / MANIFEST).write_bytes(_provenance(shelf, offer))
            artifact = Artifact.read(stage.folder, model=wanted.model, variant=wanted.variant,
                                     version=version_of(offer.says("key")))
            _agree(artifact, offer)
        _download(shelf, "the artifact", offer.layers, stage.folder, console)
        report = self._report(shelf, offer)
        if report is None:
            console.note("the registry has no smoke report of it")
            return
        files = _files(report, {MANIFEST, *offer.layers})
        _download(shelf, "the smoke report", files, stage.folder, console)
        if (script := stage.folder / "reproduce.sh").is_file():
            script.chmod(0o755)

    def _report(self, shelf: Shelf, offer: Offer) -> Manifest | None:
        """Return the newest smoke report; with a key, the newest that is signed."""
        found = sorted(attached(shelf, offer.manifest.digest, SMOKE_REPORT),
                       key=lambda each: each.annotations.get(CREATED, ""), reverse=True)
        refused = None
        for each in found:
            try:
                if self.key:
                    signatures.check(shelf, each.digest, self.key, f"the smoke report of {offer.name}")
                return _attachment(shelf, each)
            except RegistryError as error:
                refused = refused or error
        if refused:
            raise refused
        return None


def _offered(shelf: Shelf, wanted: Wanted) -> Offer:
    """Return what the registry holds; raises RegistryError where it is not what is wanted."""
    reference = wanted.digest or wanted.tag
    manifest = shelf.manifest(reference)
    if manifest is None:
        raise _gone(shelf, wanted)
    offer = Offer(manifest=manifest, name=shelf.name(manifest.digest))
    if manifest.artifact_type != MODEL or not re.fullmatch("[0-9a-f]{64}", offer.says("key")):
        raise RegistryError(f"{shelf.name(reference)} is no artifact of a farm: its type is {manifest.artifact_type}",
                            remedy=_STRANGE)
    held = f"{offer.says('model')}/{offer.says('variant')} {offer.says('version')}"
    version = wanted.version or version_of(offer.says("key"))
    if held != f"{wanted.model}/{wanted.variant} {version}" or not offer.says("key").startswith(version):
        raise RegistryError(f"the tag moved: {shelf.name(reference)} now leads to {held}", remedy=_STRANGE)
    return offer


def _gone(shelf: Shelf, wanted: Wanted) -> RegistryError:
    """Return what became of something that the registry has no more: perhaps its tag moved."""
    held = shelf.digest(wanted.tag)
    if wanted.digest and held:
        return RegistryError(f"the tag moved: {shelf.name(wanted.tag)} now points to {held}, and the registry holds "
                             f"{wanted.digest} no more", remedy="see who published it; DIGEST= names the one to take")
    return MissingError(f"{shelf.line.repository} has no {wanted.digest or wanted.tag}",
                        remedy="see MODEL=, VARIANT=, VERSION= and REGISTRY=; make publish puts it there")


def _provenance(shelf: Shelf, offer: Offer) -> bytes:
    """Return the provenance that the artifact itself names by digest, and so its signature, too."""
    for each in attached(shelf, offer.manifest.digest, PROVENANCE):
        for layer in _attachment(shelf, each).layers:
            if layer.digest == offer.says("provenance"):
                return transfer.read(shelf.line, layer, _LARGEST)
    raise RegistryError(f"{offer.name} has no provenance: nothing that is attached to it has the digest "
                        f"{offer.says('provenance') or '(none)'}", remedy=_STRANGE)


def _attachment(shelf: Shelf, descriptor: Descriptor) -> Manifest:
    manifest = shelf.manifest(descriptor.digest)
    if manifest is None:
        raise RegistryError(f"{shelf.name(descriptor.digest)}, which is attached to an artifact, is gone",
                            remedy="publish the artifact again")
    return manifest


def _agree(artifact: Artifact, offer: Offer) -> None:
    """Raise where provenance and layers do not tell the same, or the gates were not passed."""
    named = artifact.manifest["predicate"]["buildDefinition"]["externalParameters"]
    told = {file.name: (f"sha256:{file.sha256}", file.size) for file in artifact.files}
    held = {name: (layer.digest, layer.size) for name, layer in offer.layers.items()}
    if (named.get("model"), named.get("variant")) != (artifact.model, artifact.variant) or told != held:
        raise ArtifactError(f"{offer.name} is damaged: its provenance tells of other files than it has",
                            remedy=_STRANGE)
    if artifact.key != offer.says("key"):
        raise ArtifactError(f"{offer.name} is damaged: its provenance has the key {artifact.key}", remedy=_STRANGE)
    if reason := objection(artifact):
        raise GateError(f"{offer.name} is not taken: {reason}", remedy="nothing was kept")


def _files(report: Manifest, taken: set[str]) -> dict[str, Descriptor]:
    """Return the files of a report by name; raises RegistryError for names that could do harm."""
    files = {layer.annotations.get(TITLE, ""): layer for layer in report.layers}
    if wrong := [name for name in files if not _PLAIN.fullmatch(name) or name in taken]:
        raise RegistryError(f"a smoke report wants to write {wrong[0]!r}", remedy=_STRANGE)
    if sum(layer.size for layer in report.layers) > _LARGEST:
        raise RegistryError("a smoke report is larger than makes sense", remedy=_STRANGE)
    return files


def _download(shelf: Shelf, what: str, files: Mapping[str, Descriptor], folder: Path, console: Console) -> None:
    total, done = sum(layer.size for layer in files.values()), 0
    with console.step(f"download {what}, {size(total)}") as step:
        for name, layer in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            transfer.download(shelf.line, layer, file, transfer.counted(step, done, total))
            done += layer.size
