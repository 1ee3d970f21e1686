"""Toolchains as images: named after the sources that they are made from, and described by themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelfarm.containers import Client, ClientError, Image
from modelfarm.digest import Digests, key_of
from modelfarm.errors import MachineError
from modelfarm.target import Target, modules

_OUTSIDE = {"target.yaml", "requirements.in"}  # what only the host reads
_SECONDS = 300.0  # an image of gigabytes is read to its last byte


@dataclass(frozen=True, kw_only=True)
class Description:
    """What an image says of itself.

    `content` is a digest over all its files, without their times; `packages` are the versions of its Python packages.
    """

    content: str
    python: str
    packages: Mapping[str, str]


def sources(target: Target, digests: Digests) -> str:
    """Return one digest over all files that go into a target's image."""
    return key_of({name: digests.file(file) for name, file in _files(target)})


def local_name(target: Target, digests: Digests) -> str:
    """Return the image's name in the engine: another checkout has another tag, so no image is ever stale."""
    return f"modelfarm/{target.name}:{sources(target, digests)[:16]}"


def _files(target: Target) -> Iterator[tuple[str, Path]]:
    toolchains = target.folder.parent
    for folder in (target.folder, *target.stands_on, toolchains / "jobkit", toolchains / "base"):
        for file in sorted(folder.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts and file.name not in _OUTSIDE:
                yield str(file.relative_to(toolchains)), file
    for folder in target.shares:
        yield from ((str(file.relative_to(toolchains)), file) for file in modules(folder))


def describe(client: Client, image: Image, folder: Path) -> Description:
    """Return what an image says of itself; asked once for each image, the answer is kept in `folder`.

    Raises MachineError where the image gives no description.
    """
    kept = folder / f"{image.identity.removeprefix('sha256:')}.json"
    try:
        return _description(json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass  # not asked yet, or a damaged memory
    try:
        text = client.ask("run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", image.identity,
                          "--describe", seconds=_SECONDS)
        description = _description(json.loads(text))
    except (ClientError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise MachineError(f"image {image.identity[:19]} cannot describe itself: {error}",
                           remedy="it is no toolchain image of this farm, or a damaged one: make images") from error
    _keep(kept, text)
    return description


def _keep(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)


def _description(document: Mapping[str, Any]) -> Description:
    return Description(content=str(document["content"]), python=str(document["python"]),
                       packages={name: str(entry["version"]) for name, entry in document["packages"].items()})
