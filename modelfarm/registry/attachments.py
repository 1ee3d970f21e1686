"""Attachments: what hangs on an artifact in a registry by the artifact's digest, such as its provenance.

A registry that knows of them lists them itself; for another, a tag named after the digest holds the list. Both:
https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#listing-referrers
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from modelfarm.errors import RegistryError
from modelfarm.registry.oci import INDEX, Descriptor, Manifest, read_index, write_index
from modelfarm.registry.shelf import Shelf

_NO_LISTS = (400, 404)  # how a registry answers that keeps none
_ATTEMPTS = 5  # of several that write the same list at a time


def attach(shelf: Shelf, manifest: Manifest) -> None:
    """Put a manifest whose subject is another one, so that it is found from there."""
    assert manifest.subject
    reply = shelf.write(manifest.data, manifest.digest)
    if reply.headers.get("OCI-Subject"):
        return  # the registry keeps the list
    tag = tag_of(manifest.subject.digest)
    for _ in range(_ATTEMPTS):
        listed = list(_listed(shelf, tag))
        if any(each.digest == manifest.digest for each in listed):
            return
        shelf.write(write_index([*listed, manifest.descriptor]), tag, INDEX)
    raise RegistryError(f"{shelf.name(tag)} changes whenever it is written",
                        remedy="somebody else publishes the same; run again when they are done")


def attached(shelf: Shelf, subject: str, artifact_type: str) -> Iterator[Descriptor]:
    """Yield what is attached to the manifest of a digest and is of one type, in the registry's order."""
    for reply in shelf.line.pages(f"referrers/{subject}", name=shelf.name(subject), known=_NO_LISTS):
        listed = _listed(shelf, tag_of(subject)) if reply.status in _NO_LISTS else _read(shelf, subject, reply.body)
        yield from (each for each in map(partial(_typed, shelf), listed) if each.artifact_type == artifact_type)


def _typed(shelf: Shelf, entry: Descriptor) -> Descriptor:
    """Return an entry with its type: some that copy lists, as skopeo 1.9 does, leave it out, and the annotations."""
    if entry.artifact_type:
        return entry
    manifest = shelf.manifest(entry.digest)
    return manifest.descriptor if manifest else entry


def tag_of(digest: str, ending: str = "") -> str:
    """Return the tag that stands for a digest."""
    return digest.replace(":", "-") + ending


def _listed(shelf: Shelf, tag: str) -> Iterator[Descriptor]:
    data = shelf.read(tag, INDEX)
    if data is not None:
        yield from _read(shelf, tag, data)


def _read(shelf: Shelf, reference: str, data: bytes) -> list[Descriptor]:
    try:
        return read_index(data)
    except ValueError as error:
        raise RegistryError(f"the list of what is attached to {shelf.name(reference)} cannot be read: {error}",
                            remedy="tell who runs the registry") from error
