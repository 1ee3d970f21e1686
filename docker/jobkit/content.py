"""One digest over all files of a root file system: equal for equal content, whoever made it, reads it, and when."""

from __future__ import annotations

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Collection, Dict, Iterator, List

# What an engine makes or changes when it starts a container, and what differs from one to the next.
OUTSIDE = frozenset(
    [
        "/.dockerenv",
        "/dev",
        "/etc/group",
        "/etc/hostname",
        "/etc/hosts",
        "/etc/mtab",
        "/etc/passwd",
        "/etc/resolv.conf",
        "/job",
        "/proc",
        "/run",
        "/sys",
        "/tmp",
        "/var/tmp",
    ]
)

# Compiled from the modules beside it, and never twice with equal bytes.
BYTECODE = "__pycache__"

# So many bytes are hashed at once, and so many bytes or files make one piece of work for a thread.
BLOCK = 1 << 20
PIECE_BYTES = 8 << 20
PIECE_FILES = 256

Hashed = Dict[str, str]


@dataclass(frozen=True)
class Entry:
    """A file, folder or link; `path` begins at the root that was asked for, `content` is known without reading."""

    path: str
    kind: str
    mode: int
    size: int
    content: str

    @property
    def readable(self) -> bool:
        """Say whether it is a file that everybody may read.

        Others count by mode and size: the digest must not depend on who computes it.
        """
        return self.kind == "file" and bool(self.mode & stat.S_IROTH)


def digest_of(root: Path = Path("/"), outside: Collection[str] = OUTSIDE) -> str:
    """Digest path, kind, mode and bytes (or the link's target) of everything below `root`, except `outside`.

    Times, owners and the order of folders do not count, nor do mounted file systems. What not everybody may read
    counts by its mode and size, a folder that not everybody may enter by its mode.
    """
    base = str(root).rstrip("/")
    entries = sorted(_walk(base, "", {*outside, *_mounts(base)}), key=lambda entry: os.fsencode(entry.path))
    hashed = _hash_all(base, [entry for entry in entries if entry.readable])
    whole = hashlib.sha256()
    for entry in entries:
        content = hashed.get(entry.path, entry.content)
        whole.update(os.fsencode(f"{entry.kind} {entry.mode:o} {content} {entry.path}") + b"\0")
    return whole.hexdigest()


def _mounts(base: str) -> Iterator[str]:
    """Yield the places below `base` where something else is mounted; proc(5) writes odd characters as octal."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        place = line.split()[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
        if place.startswith(f"{base}/") and place != "/":
            yield place[len(base) :]


def _walk(base: str, folder: str, outside: Collection[str]) -> Iterator[Entry]:
    pending = [folder]
    while pending:
        folder = pending.pop()
        with os.scandir(f"{base}{folder}/") as found:
            for item in found:
                path = f"{folder}/{item.name}"
                if path in outside or item.name == BYTECODE:
                    continue
                entry = _entry(item, path)
                yield entry
                if entry.kind == "folder" and entry.mode & 0o005 == 0o005:
                    pending.append(path)


def _entry(item: os.DirEntry[str], path: str) -> Entry:
    status = item.stat(follow_symlinks=False)
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return Entry(path, "link", 0, 0, os.readlink(item.path))  # noqa: PTH115 - Path.readlink is of Python 3.9
    if stat.S_ISDIR(status.st_mode):
        return Entry(path, "folder", mode, 0, "")
    if stat.S_ISREG(status.st_mode):
        return Entry(path, "file", mode, status.st_size, str(status.st_size))
    return Entry(path, f"special {stat.S_IFMT(status.st_mode):o}", mode, 0, str(status.st_rdev))


def _hash_all(base: str, files: List[Entry]) -> Hashed:
    hashed: Hashed = {}
    # hashlib lets other threads run while it works on a block.
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for piece in threads.map(lambda entries: _hash(base, entries), list(_pieces(files))):
            hashed.update(piece)
    return hashed


def _pieces(files: List[Entry]) -> Iterator[List[Entry]]:
    piece: List[Entry] = []
    size = 0
    # The largest first, so that no thread is left with one at the end.
    for entry in sorted(files, key=lambda entry: -entry.size):
        piece.append(entry)
        size += entry.size
        if size >= PIECE_BYTES or len(piece) >= PIECE_FILES:
            yield piece
            piece, size = [], 0
    yield piece


def _hash(base: str, files: List[Entry]) -> Hashed:
    block = memoryview(bytearray(BLOCK))
    hashed: Hashed = {}
    for entry in files:
        digest = hashlib.sha256()
        with open(f"{base}{entry.path}", "rb", buffering=0) as stream:  # noqa: PTH123 - thirty thousand files
            while True:
                count = stream.readinto(block)
                if not count:
                    break
                digest.update(block[:count])
        hashed[entry.path] = digest.hexdigest()
    return hashed
