"""Package: an artifact as OCI documents, in the shape of the CNCF ModelPack specification.

Types: https://github.com/modelpack/model-spec/blob/main/docs/spec.md and config.md beside it. Equal artifacts give
equal documents: what differs from run to run, the smoke report, is attached, and not in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelfarm.artifact import MANIFEST, SMOKE, Artifact, Subject
from modelfarm.digest import canonical
from modelfarm.errors import ArtifactError
from modelfarm.manifest import read_origin
from modelfarm.registry import oci
from modelfarm.registry.oci import Descriptor, Manifest
from modelfarm.registry.transfer import Blob

MODEL = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"
WEIGHTS = "application/vnd.cncf.model.weight.v1.raw"
SETTINGS = "application/vnd.cncf.model.weight.config.v1.raw"
DATA = "application/vnd.cncf.model.dataset.v1.raw"
PROVENANCE = "application/vnd.in-toto+json"
SMOKE_REPORT = "application/vnd.modelfarm.smoke.v1+json"

FILE = "org.cncf.model.filepath"  # of a layer
CREATED = "org.opencontainers.image.created"
OWN = "modelfarm."  # annotations of the farm's own: model, variant, target, version, key, verified, provenance

_BY_ENDING = {".npz": DATA, ".json": SETTINGS, ".yaml": SETTINGS, ".txt": SETTINGS}
_REPORTS = {SMOKE: SMOKE_REPORT, "smoke.log": "text/plain", "reproduce.sh": "text/x-shellscript"}
_PICTURES = ("*.overlay.png", "image/png")


@dataclass(frozen=True, kw_only=True)
class Package:
    """An artifact, its provenance and its smoke report as manifests, and the blobs that these name."""

    model: Manifest
    attachments: tuple[Manifest, ...]
    blobs: tuple[Blob, ...]

    @property
    def size(self) -> int:
        """Return the bytes of all blobs together."""
        return sum(blob.descriptor.size for blob in self.blobs)


def pack(artifact: Artifact) -> Package:
    """Describe an artifact; raises ArtifactError where its manifest does not say what it is."""
    config = _bytes(canonical(_config(artifact)), CONFIG)
    files = [_layer(artifact, file) for file in artifact.files]
    statement = _file(artifact.path(MANIFEST), PROVENANCE, {
        oci.TITLE: MANIFEST, "in-toto.io/predicate-type": str(artifact.manifest.get("predicateType", ""))})
    model = oci.write_manifest(artifact_type=MODEL, config=config.descriptor,
                               layers=[file.descriptor for file in files],
                               annotations=_annotations(artifact, statement.descriptor.digest))
    reports = list(_reports(artifact))
    nothing = _bytes(oci.NOTHING, oci.EMPTY)
    attachments = [_attachment(model, PROVENANCE, nothing, [statement], {})]
    if reports:
        made = str(artifact.smoke.get("made_at", ""))
        attachments.append(_attachment(model, SMOKE_REPORT, nothing, reports, {CREATED: made} if made else {}))
    return Package(model=model, attachments=tuple(attachments),
                   blobs=(*files, config, statement, *reports, nothing))


def _config(artifact: Artifact) -> dict[str, object]:
    origin = read_origin(artifact)
    recipe = artifact.manifest["predicate"]["buildDefinition"]["externalParameters"]["recipe"]
    descriptor = {"name": artifact.model, "version": artifact.version, "title": f"{artifact.model} {artifact.variant}",
                  "description": str(recipe.get("description") or "")}
    return {"descriptor": {name: value for name, value in descriptor.items() if value},
            "config": {"format": origin.target, "precision": origin.precision},
            "modelfs": {"type": "layers", "diffIds": [f"sha256:{file.sha256}" for file in artifact.files]}}


def _annotations(artifact: Artifact, provenance: str) -> dict[str, str]:
    own = {"model": artifact.model, "variant": artifact.variant, "target": read_origin(artifact).target,
           "version": artifact.version, "key": artifact.key, "verified": artifact.verified, "provenance": provenance}
    return {oci.TITLE: f"{artifact.model}/{artifact.variant}", "org.opencontainers.image.version": artifact.version,
            **{f"{OWN}{name}": value for name, value in own.items()}}


def _layer(artifact: Artifact, file: Subject) -> Blob:
    kind = _BY_ENDING.get(Path(file.name).suffix, WEIGHTS)
    descriptor = Descriptor(media_type=kind, digest=f"sha256:{file.sha256}", size=file.size,
                            annotations={oci.TITLE: file.name, FILE: file.name})
    return Blob(descriptor=descriptor, source=artifact.path(file.name))


def _reports(artifact: Artifact) -> Iterator[Blob]:
    """Yield what people and programs read of a smoke test; the toolchain's log tells of the machine, and stays here."""
    pattern, kind = _PICTURES
    pictures = {file.name: kind for file in sorted(artifact.folder.glob(pattern))}
    for name, kind in {**_REPORTS, **pictures}.items():
        if artifact.path(name).is_file():
            yield _file(artifact.path(name), kind, {oci.TITLE: name})


def _attachment(model: Manifest, kind: str, config: Blob, layers: list[Blob], annotations: dict[str, str]) -> Manifest:
    return oci.write_manifest(artifact_type=kind, config=config.descriptor, subject=model.reference,
                              layers=[layer.descriptor for layer in layers], annotations=annotations)


def _bytes(data: bytes, kind: str) -> Blob:
    return Blob(descriptor=oci.describe(data, kind), source=data)


def _file(file: Path, kind: str, annotations: dict[str, str]) -> Blob:
    """Return a small file as it is now: a report may be written anew while it travels."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{file} cannot be read: {error.strerror}", remedy="run the job again") from error
    return Blob(descriptor=oci.describe(data, kind, annotations), source=data)
