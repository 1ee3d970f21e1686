"""Uploads: where those that were broken off go on, remembered from one run to the next.

    <cache>/uploads/<digest of repository and blob>.json

A registry keeps what has arrived of an upload under an address that only who began it knows, for some days. What is
remembered is a hint: the registry is asked how much it has, and a lost memory costs time and nothing else.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelfarm.digest import key_of

_KEPT = 7 * 24 * 3600  # seconds; the registries of distribution purge uploads after a week


@dataclass(frozen=True, kw_only=True)
class Uploads:
    """The memory in a cache folder."""

    cache: Path

    @property
    def folder(self) -> Path:
        """Return where it lies."""
        return self.cache / "uploads"

    def recall(self, repository: str, digest: str) -> str:
        """Return the address of an upload that was begun; empty where none is remembered."""
        file = self._file(repository, digest)
        with suppress(OSError, ValueError, TypeError, LookupError):
            if time.time() - file.stat().st_mtime < _KEPT:
                return str(json.loads(file.read_bytes())["place"])
        return ""

    def keep(self, repository: str, digest: str, place: str) -> None:
        """Remember the address of an upload; an address may hold a token, so it is for this user alone."""
        file = self._file(repository, digest)
        fresh = file.with_name(f"{file.name}.{os.getpid()}")
        with suppress(OSError):  # a cache that cannot be written is no reason to stop
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.touch(mode=0o600)
            fresh.write_text(json.dumps({"place": place, "repository": repository, "digest": digest}) + "\n")
            fresh.replace(file)

    def forget(self, repository: str, digest: str) -> None:
        """Forget an upload that has ended, and all that are too old to go on."""
        with suppress(OSError):
            self._file(repository, digest).unlink(missing_ok=True)
            for file in self.folder.iterdir():
                if time.time() - file.stat().st_mtime > _KEPT:
                    file.unlink(missing_ok=True)

    def _file(self, repository: str, digest: str) -> Path:
        return self.folder / f"{key_of([repository, digest])[:32]}.json"
