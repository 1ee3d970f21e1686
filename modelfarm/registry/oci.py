"""OCI documents: descriptors, image manifests and indexes, as bytes and back.

Format: https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md, image-index.md and descriptor.md there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelfarm.digest import canonical

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"
NOTHING = b"{}"  # the bytes of an empty configuration, as the specification has them
_DIGEST = re.compile("sha256:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """What one document says of another, or of a blob; `size` in bytes."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the descriptor as JSON has it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size,
                **({"artifactType": self.artifact_type} if self.artifact_type else {}),
                **({"annotations": dict(self.annotations)} if self.annotations else {})}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """An image manifest that holds an artifact: `data` are its bytes, of which `digest` is the SHA-256."""

    artifact_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None
    annotations: Mapping[str, str]
    data: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """Return the name of the manifest in a registry."""
        return digest_of(self.data)

    @property
    def descriptor(self) -> Descriptor:
        """Return what an index, or a thing that is attached to this one, says of it."""
        return Descriptor(media_type=MANIFEST, digest=self.digest, size=len(self.data),
                          artifact_type=self.artifact_type, annotations=self.annotations)

    @property
    def reference(self) -> Descriptor:
        """Return what the `subject` of another manifest says of this one."""
        return Descriptor(media_type=MANIFEST, digest=self.digest, size=len(self.data))


def digest_of(data: bytes) -> str:
    """Return the digest of bytes, as registries write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def describe(data: bytes, media_type: str, annotations: Mapping[str, str] | None = None) -> Descriptor:
    """Return the descriptor of bytes."""
    return Descriptor(media_type=media_type, digest=digest_of(data), size=len(data),
                      annotations=dict(annotations or {}))


def write_manifest(*, artifact_type: str, config: Descriptor, layers: Sequence[Descriptor],
                   subject: Descriptor | None = None, annotations: Mapping[str, str] | None = None) -> Manifest:
    """Write a manifest; equal arguments give equal bytes."""
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config.document(),
                "layers": [layer.document() for layer in layers],
                **({"artifactType": artifact_type} if artifact_type else {}),
                **({"subject": subject.document()} if subject else {}),
                **({"annotations": dict(annotations)} if annotations else {})}
    return Manifest(artifact_type=artifact_type or config.media_type, config=config, layers=tuple(layers),
                    subject=subject, annotations=dict(annotations or {}), data=canonical(document))


def read_manifest(data: bytes) -> Manifest:
    """Read an image manifest; raises ValueError where the bytes are none."""
    document = _object(data)
    if document.get("mediaType", MANIFEST) != MANIFEST or document.get("schemaVersion") != 2:
        raise ValueError(f"it is of the type {document.get('mediaType')!r}, not an image manifest")
    config = _descriptor(document.get("config"))
    layers = tuple(_descriptor(entry) for entry in _list(document.get("layers")))
    subject = _descriptor(document["subject"]) if document.get("subject") else None
    # The type of a manifest that does not say it is that of its configuration.
    return Manifest(artifact_type=_text(document.get("artifactType") or config.media_type), config=config,
                    layers=layers, subject=subject, annotations=_annotations(document), data=data)


def write_index(manifests: Sequence[Descriptor]) -> bytes:
    """Write an index of manifests."""
    return canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": [each.document() for each in manifests]})


def read_index(data: bytes) -> list[Descriptor]:
    """Read the manifests that an index names; raises ValueError where the bytes are none."""
    return [_descriptor(entry) for entry in _list(_object(data).get("manifests"))]


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    return document


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"a list was expected, not {value!r:.60}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a text was expected, not {value!r:.60}")
    return value


def _annotations(document: Mapping[str, Any]) -> dict[str, str]:
    entries = document.get("annotations") or {}
    if not isinstance(entries, dict):
        raise ValueError("its annotations are no object")
    return {name: _text(value) for name, value in entries.items()}


def _descriptor(entry: object) -> Descriptor:
    if not isinstance(entry, dict):
        raise ValueError(f"a descriptor was expected, not {entry!r:.60}")
    digest, size = entry.get("digest"), entry.get("size")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r:.80} is no SHA-256 digest")
    if type(size) is not int or size < 0:
        raise ValueError(f"{size!r:.60} is no size")
    return Descriptor(media_type=_text(entry.get("mediaType")), digest=digest, size=size,
                      artifact_type=_text(entry.get("artifactType") or ""), annotations=_annotations(entry))
