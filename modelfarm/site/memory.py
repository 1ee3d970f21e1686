"""Memory: what the last report was made from, so that the next one writes only what has changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelfarm.site.cell import Cell, read_cell

FILE = ".memory.json"


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """One variant as the last report showed it: the stamp of its folders, its cell, and the files written for it."""

    stamp: str
    cell: Cell
    files: tuple[str, ...]


@dataclass(kw_only=True)
class Memory:
    """What is remembered by `model/variant`; `program` is the digest of what made the pages."""

    program: str
    variants: dict[str, Remembered] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write it into the report's folder."""
        document = {"program": self.program, "variants": {
            name: {"stamp": known.stamp, "cell": known.cell.document(), "files": known.files}
            for name, known in self.variants.items()}}
        fresh = folder / f"{FILE}.new"
        fresh.write_text(json.dumps(document), encoding="utf-8")
        fresh.replace(folder / FILE)


def read_memory(folder: Path, program: str) -> tuple[Memory, list[str]]:
    """Return what the last report remembered, and the files that it wrote.

    Nothing is remembered where another program made it: its pages may look otherwise. Nor where the memory is damaged.
    """
    try:
        document = json.loads((folder / FILE).read_bytes())
        variants = {name: _remembered(entry) for name, entry in document["variants"].items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return Memory(program=program), []
    files = [file for known in variants.values() for file in known.files]
    return Memory(program=program, variants=variants if document.get("program") == program else {}), files


def _remembered(entry: Mapping[str, Any]) -> Remembered:
    return Remembered(stamp=entry["stamp"], cell=read_cell(entry["cell"]), files=tuple(entry["files"]))


def stamp(folders: Iterable[Path], latest: str) -> str:
    """Return a digest over names, sizes and times of everything in folders, and over the version that is latest."""
    whole = hashlib.sha256(latest.encode())
    for folder in sorted(folders):
        try:
            with os.scandir(folder) as entries:
                found = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
            about = folder.stat()
        except OSError:
            found = []
            about = None
        whole.update(f"{folder}\0{about.st_mtime_ns if about else 0}\n".encode(errors="surrogateescape"))
        for name, info in found:
            whole.update(f"{name}\0{info.st_size}\0{info.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()
