"""Digests: of files, of folders, and of plain values in canonical form."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from modelfarm.errors import MachineError, UsageError

_SCHEMA = 1
_LIMIT = 16384  # files: a night of 200 models in 10 variants looks at some 5000
_RACY_NS = 2_000_000_000
_DAY = 24 * 3600
_ATTEMPTS = 3


def canonical(value: object) -> bytes:
    """Write `value` as canonical JSON: sorted keys, no spaces, UTF-8.

    Tuples count as lists; 1 and 1.0 stay different. Raises TypeError on anything that is no JSON
    type (a Path, a dataclass, a key that is no string), and ValueError on NaN, infinity, text that
    is no valid Unicode, and a value that contains itself.
    """
    try:
        _check(value, "value")
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except RecursionError:
        raise ValueError("the value contains itself, or is nested too deep for JSON") from None
    except UnicodeEncodeError as error:
        raise ValueError(f"text that is no valid Unicode has no canonical form: {error.object!r}") from None


def key_of(value: object) -> str:
    """Return the SHA-256 of the canonical JSON of `value`, as 64 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def default_cache_folder() -> Path:
    """Return MODELFARM_CACHE, else `modelfarm` under XDG_CACHE_HOME or ~/.cache.

    Raises MachineError where no home folder is known, as for a user id without a name.
    """
    try:
        if own := os.environ.get("MODELFARM_CACHE"):
            return Path(own).expanduser().absolute()
        shared = os.environ.get("XDG_CACHE_HOME", "")
        # The XDG base directory specification has relative values ignored.
        return (Path(shared) if shared.startswith("/") else Path.home() / ".cache") / "modelfarm"
    except RuntimeError:
        raise MachineError(
            "this user has no home folder, so there is no place for the cache",
            remedy="set MODELFARM_CACHE to a folder that you can write",
        ) from None


class Digests:
    """Content digests of files, remembered by inode, size and time stamps.

    The memory is a JSON file in `folder`. It is only a cache: damaged, foreign or unwritable, it
    costs time and nothing else. A file touched less than two seconds before it is read is not
    remembered, because a later change could leave the same stamps (git calls such entries racy).
    Threads may share one object.
    """

    def __init__(self, folder: Path) -> None:
        """Remember in `folder`, which is made when there is something to save."""
        self.folder = folder
        self._path = folder / "digests.json"
        self._guard = threading.Lock()
        self._entries: dict[str, _Entry] | None = None
        self._unsaved: dict[str, _Entry] = {}

    def file(self, path: Path) -> str:
        """Return the SHA-256 of a file's bytes, as 64 hex digits.

        Raises OSError where it cannot be read, UsageError where it is no regular file, MachineError
        where it keeps changing.
        """
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise UsageError(f"{path} is not a file", remedy="name a regular file")
        return self._remembered(info) or self._read(path)

    def tree(self, folder: Path) -> str:
        """Return a digest over the relative names and bytes of all files under `folder`.

        Links are followed; `__pycache__` and `*.pyc` do not count, nor do empty folders.
        """
        whole = hashlib.sha256()
        for name, path in sorted(_files(folder)):
            whole.update(b"%s\0%s\n" % (os.fsencode(name), self.file(path).encode()))
        return whole.hexdigest()

    def save(self) -> None:
        """Write what is new to the cache file, beside what other processes wrote meanwhile."""
        with self._guard, suppress(OSError):
            if self._unsaved:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._merge()

    def _remembered(self, info: os.stat_result) -> str | None:
        now = int(time.time())
        with self._guard:
            if self._entries is None:
                self._entries = _load(self._path)
            entry = self._entries.get(_identity(info))
            if entry is None or entry[:3] != _stamps(info):
                return None
            if now - entry.used > _DAY:
                self._entries[_identity(info)] = self._unsaved[_identity(info)] = entry._replace(used=now)
            return entry.sha256

    def _read(self, path: Path) -> str:
        for _ in range(_ATTEMPTS):
            began = time.time_ns()
            with path.open("rb", buffering=0) as stream:
                before = os.fstat(stream.fileno())
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
                after = os.fstat(stream.fileno())
            if _stamps(before) == _stamps(after):
                self._remember(after, sha256, began)
                return sha256
        raise MachineError(
            f"{path} changes while it is read",
            remedy="wait until whatever writes it has finished, then run again",
        )

    def _remember(self, info: os.stat_result, sha256: str, began: int) -> None:
        if max(info.st_mtime_ns, info.st_ctime_ns) > began - _RACY_NS:
            return
        entry = _Entry(*_stamps(info), sha256, began // 1_000_000_000)
        with self._guard:
            self._unsaved[_identity(info)] = entry
            if self._entries is not None:
                self._entries[_identity(info)] = entry

    def _merge(self) -> None:
        with self._path.with_suffix(".lock").open("w") as lock:
            _lock(lock.fileno())
            entries = {**_load(self._path), **self._unsaved}
            newest = sorted(entries.items(), key=lambda item: item[1].used, reverse=True)
            # The name is fixed, so that a killed process leaves at most one file behind.
            fresh = self._path.with_suffix(".new")
            fresh.write_text(json.dumps({"schema": _SCHEMA, "files": dict(newest[:_LIMIT])}))
            fresh.replace(self._path)
        self._entries = entries
        self._unsaved = {}


class _Entry(NamedTuple):
    size: int
    mtime_ns: int
    ctime_ns: int
    sha256: str
    used: int


def _identity(info: os.stat_result) -> str:
    return f"{info.st_dev}:{info.st_ino}"


def _stamps(info: os.stat_result) -> tuple[int, int, int]:
    return info.st_size, info.st_mtime_ns, info.st_ctime_ns


def _load(path: Path) -> dict[str, _Entry]:
    """Read a cache file; anything but a cache of this schema is as good as none."""
    try:
        document = json.loads(path.read_bytes())
        if document["schema"] != _SCHEMA:
            return {}
        entries = {identity: _Entry(*values) for identity, values in document["files"].items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return {}
    return {identity: entry for identity, entry in entries.items() if _is_sound(entry)}


def _is_sound(entry: _Entry) -> bool:
    numbers = (entry.size, entry.mtime_ns, entry.ctime_ns, entry.used)
    return all(type(n) is int for n in numbers) and is_sha256(entry.sha256)


def is_sha256(value: object) -> bool:
    """Tell whether `value` is 64 lower-case hex digits."""
    return isinstance(value, str) and len(value) == 64 and not value.strip("0123456789abcdef")


def _lock(descriptor: int) -> None:
    """Lock a file within a fifth of a second, or raise BlockingIOError: a cache is not worth waiting for."""
    for _ in range(20):
        with suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(0.01)
    raise BlockingIOError("another process holds the cache")


def _files(folder: Path, prefix: str = "", above: tuple[str, ...] = ()) -> Iterator[tuple[str, Path]]:
    """Yield (relative name, path) of every file that counts, in no order."""
    here = _identity(folder.stat())
    if here in above:
        raise UsageError(f"{folder} links back to a folder that holds it", remedy="remove the link")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == "__pycache__" or entry.name.endswith(".pyc"):
                continue
            if entry.is_dir():
                yield from _files(Path(entry.path), f"{prefix}{entry.name}/", (*above, here))
            else:
                yield prefix + entry.name, Path(entry.path)


def _check(value: object, place: str) -> None:
    """Raise TypeError or ValueError, with its place, on the first thing that JSON cannot say."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place} is {value}, which JSON cannot say")
    if value is None or isinstance(value, (str, int, float)):
        return
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check(item, f"{place}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{place} has the key {key!r}; JSON keys are text")
            _check(item, f"{place}.{key}")
    else:
        raise TypeError(f"{place} is a {type(value).__name__}, which is no JSON type")
