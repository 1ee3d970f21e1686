"""Parcels: sets of files on their way from one machine of a farm to another, through a registry.

They are nobody's artifacts: an OCI 1.1 manifest of a type of its own, one layer for each file, under a tag that the
sender and the receiver agree on. Who receives one checks the files against what it wants.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modelfarm.digest import Digests
from modelfarm.errors import ArtifactError
from modelfarm.registry import transfer
from modelfarm.registry.oci import EMPTY, NOTHING, TITLE, Descriptor, describe, write_manifest
from modelfarm.registry.shelf import Shelf
from modelfarm.registry.transfer import Blob
from modelfarm.registry.uploads import Uploads

PARCEL = "application/vnd.modelfarm.parcel.v1"
_FILE = "application/octet-stream"
_EXECUTABLE = "modelfarm.executable"  # annotation of a file that is a program
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")

Tick = Callable[[], None]  # called now and then; what it raises ends the transfer


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """What a registry holds under a tag: its files by name."""

    name: str
    files: Mapping[str, Descriptor]
    executable: frozenset[str]


def send(shelf: Shelf, tag: str, files: Mapping[str, Path], digests: Digests, tick: Tick = lambda: None) -> None:
    """Put files under a tag, and see that it holds them; what the registry has already is not sent again.

    Raises RegistryError, also where a file changes meanwhile.
    """
    empty = Blob(descriptor=describe(NOTHING, EMPTY), source=NOTHING)
    blobs = [_blob(name, file, digests) for name, file in sorted(files.items())]
    sent, uploads = set[str](), Uploads(cache=digests.folder)
    for blob in (empty, *blobs):
        tick()
        if blob.descriptor.digest not in sent:
            transfer.upload(shelf.line, blob, lambda done: tick(), uploads=uploads)
        sent.add(blob.descriptor.digest)
    manifest = write_manifest(artifact_type=PARCEL, config=empty.descriptor,
                              layers=[blob.descriptor for blob in blobs])
    shelf.tag(manifest, tag)


def _blob(name: str, file: Path, digests: Digests) -> Blob:
    info = file.stat()
    marks = {TITLE: name, **({_EXECUTABLE: "yes"} if info.st_mode & 0o100 else {})}
    descriptor = Descriptor(media_type=_FILE, digest=f"sha256:{digests.file(file)}", size=info.st_size,
                            annotations=marks)
    return Blob(descriptor=descriptor, source=file)


def find(shelf: Shelf, tag: str) -> Parcel | None:
    """Return what is under a tag, None where there is nothing; raises ArtifactError where it is no parcel."""
    manifest = shelf.manifest(tag)
    if manifest is None:
        return None
    files = {layer.annotations.get(TITLE, ""): layer for layer in manifest.layers}
    if manifest.artifact_type != PARCEL or len(files) != len(manifest.layers) or not all(map(_is_inside, files)):
        raise ArtifactError(f"{shelf.name(tag)} is no parcel of a farm", remedy="see who writes into the registry")
    executable = frozenset(name for name, layer in files.items() if _EXECUTABLE in layer.annotations)
    return Parcel(name=shelf.name(tag), files=files, executable=executable)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and not _CONTROLS.search(name)


def unpack(shelf: Shelf, parcel: Parcel, folder: Path, tick: Tick = lambda: None) -> None:
    """Write the files of a parcel into a folder, each checked against its digest.

    Raises ArtifactError where one is damaged, RegistryError where it does not come.
    """
    for name, layer in parcel.files.items():
        tick()
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        transfer.download(shelf.line, layer, file, lambda done: tick())
        if name in parcel.executable:
            file.chmod(0o755)
