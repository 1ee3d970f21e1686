"""The file of a TensorRT-RTX engine: its header, which can be read without a GPU.

Seen in files of 1.7.1: 64 bytes that begin with ``vtrt``; at byte 16 the size of the whole file as 64 bits, at byte 24
the version, four bytes; then a table of sections, each a tag of 8 bytes, its place and its size as 64 bits. The section
``NGNE`` is the engine, and it has the names of inputs and outputs.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence, Tuple

from jobkit import GraphError

MAGIC = b"vtrt"
HEADER = 64
ENTRY = struct.Struct("<8sQQ")
MOST_SECTIONS = 64
ENGINE = b"NGNE"
REMEDY = "make the artifact anew"


@dataclass(frozen=True)
class EngineFile:
    """What the file says of itself; `engine` is the section with the engine itself."""

    version: str
    size: int
    engine: bytes


def read(file: Path) -> EngineFile:
    """Read an engine's file. Raises GraphError where it is none, or not whole."""
    content = file.read_bytes()
    if len(content) < HEADER or not content.startswith(MAGIC):
        raise GraphError(f"{file.name} is no engine of TensorRT-RTX", REMEDY)
    (count,), (size,) = struct.unpack_from("<I", content, 8), struct.unpack_from("<Q", content, 16)
    if size != len(content):
        raise GraphError(f"{file.name} has {len(content)} bytes, and its header says {size}: it is truncated", REMEDY)
    sections = list(_sections(content, count))
    engine = next((part for tag, part in sections if tag == ENGINE), b"")
    if not engine:
        raise GraphError(f"{file.name} has no section with an engine", REMEDY)
    return EngineFile(".".join(str(byte) for byte in content[24:28]), size, engine)


def _sections(content: bytes, count: int) -> Iterator[Tuple[bytes, bytes]]:
    for index in range(min(count, MOST_SECTIONS)):
        start = HEADER + index * ENTRY.size
        if start + ENTRY.size > len(content):
            return
        tag, place, size = ENTRY.unpack_from(content, start)
        if place + size <= len(content):
            yield tag.rstrip(b"\0"), content[place : place + size]


def check(found: EngineFile, version: str, names: Sequence[str]) -> None:
    """Raise GraphError where the engine is of another version, or lacks one of the tensors `names`."""
    if found.version != version:
        raise GraphError(f"the engine is of TensorRT-RTX {found.version}, and this is {version}", REMEDY)
    missing = [name for name in names if name.encode() not in found.engine]
    if missing:
        raise GraphError(f"the engine has no tensor {', '.join(map(repr, missing))}", "it is of another model")
