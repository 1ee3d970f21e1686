"""Pins: docker/images.lock, which images everything starts from and which were published, by digest."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from modelfarm.document import Document
from modelfarm.errors import MachineError
from modelfarm.locks import exclusive
from modelfarm.repository import REPOSITORY
from modelfarm.schema import Field, Integer, Record, Table, Text

LOCK = "images.lock"  # below docker/
VARIABLE = "IMAGES_LOCK"  # names another file for `images`

_HEADER = """\
# Images by digest. `bases`: what the images are built from; ci/refresh-bases asks the registry anew.
# `images`: what `make pull` fetches; `make push REGISTRY=host:port/path` writes them.
"""


@dataclass(frozen=True, kw_only=True)
class BasePin:
    """A base image; `date` is the day on which `tag` was seen to point to `digest`."""

    image: str
    tag: str
    digest: str
    date: str

    @property
    def reference(self) -> str:
        """Return the name by digest, as a client pulls it."""
        return f"{self.image}@{self.digest}"


@dataclass(frozen=True, kw_only=True)
class ImagePin:
    """A published image of a target: `image` is its name by digest, `size` its bytes, uncompressed.

    `identity` is the digest of its configuration, `sources` that of the files it was made from, `content` that of
    its own files.
    """

    image: str
    identity: str
    sources: str
    content: str
    size: int
    architecture: str
    date: str

    @property
    def repository(self) -> str:
        """Return the name without the digest."""
        return self.image.partition("@")[0]

    @property
    def digest(self) -> str:
        """Return the digest of the manifest in the registry."""
        return self.image.partition("@")[2]

    @property
    def tagged(self) -> str:
        """Return the name that the image was pushed under."""
        return f"{self.repository}:{self.sources[:16]}"


@dataclass(frozen=True, kw_only=True)
class Pins:
    """The lock file: base images by release, published images by target."""

    bases: Mapping[str, BasePin]
    images: Mapping[str, ImagePin]


_DIGEST = Text(pattern="sha256:[0-9a-f]{64}", like="sha256: and 64 hex digits")
_HEX = Text(pattern="[0-9a-f]{64}", like="64 hex digits")
_DATE = Text(pattern=r"\d{4}-\d{2}(-\d{2})?", like="a date such as 2026-07-31")
_NAME = Text(pattern=REPOSITORY, like="the name of a repository")
_BY_DIGEST = Text(pattern=REPOSITORY + "@sha256:[0-9a-f]{64}", like="a name with its digest, host/path@sha256:...")

_BASE = Record(fields={
    "image": Field(shape=_NAME, required=True),
    "tag": Field(shape=Text(pattern=r"[\w][\w.-]*", like="a tag"), required=True),
    "digest": Field(shape=_DIGEST, required=True),
    "date": Field(shape=_DATE, required=True),
})
_IMAGE = Record(fields={
    "image": Field(shape=_BY_DIGEST, required=True),
    "identity": Field(shape=_DIGEST, required=True),
    "sources": Field(shape=_HEX, required=True),
    "content": Field(shape=_HEX, required=True),
    "size": Field(shape=Integer(minimum=0), required=True),
    "architecture": Field(shape=Text(pattern="[a-z0-9_]+", like="an architecture such as amd64"), required=True),
    "date": Field(shape=_DATE, required=True),
})
_PINS = Record(fields={
    "bases": Field(shape=Table(of=_BASE), required=True),
    "images": Field(shape=Table(of=_IMAGE), required=True),
})


def read_pins(file: Path) -> Pins:
    """Read a lock file; none is as good as an empty one. Raises RecipeError with every problem and its line."""
    if not file.exists():
        return Pins(bases={}, images={})
    document = Document.open(file)
    values = document.read(_PINS)
    document.raise_problems()
    return Pins(bases={release: BasePin(**entry) for release, entry in values["bases"].items()},
                images={target: ImagePin(**entry) for target, entry in values["images"].items()})


def published_lock(toolchains: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the lock file of published images: what IMAGES_LOCK= names, else the one below `toolchains`."""
    return Path(environment.get(VARIABLE) or toolchains / LOCK).expanduser().absolute()


def change_pins(file: Path, change: Callable[[Pins], Pins]) -> None:
    """Read, change and write a lock file, one process after the other; readers see the old file or the new.

    Raises RecipeError where the file has problems, MachineError where it cannot be written.
    """
    try:
        with exclusive(file.with_name(f".{file.name}.lock")):
            _write(file, change(read_pins(file)))
    except OSError as error:
        raise MachineError(f"{file} cannot be written: {error.strerror}",
                           remedy="make its folder writable, then run again") from error


def _write(file: Path, pins: Pins) -> None:
    document = {"bases": _plain(pins.bases), "images": _plain(pins.images)}
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        partial.write_text(_HEADER + yaml.safe_dump(document, width=200), encoding="utf-8")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _plain(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {name: asdict(entry) for name, entry in entries.items()}


def today() -> str:
    """Return the date that a new pin gets."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()
