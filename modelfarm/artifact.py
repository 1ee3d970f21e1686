"""Artifacts: folders whose manifest says, by digest, what belongs to them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from modelfarm.digest import Digests, is_sha256
from modelfarm.errors import ArtifactError, UsageError

MANIFEST = "manifest.json"
SMOKE = "smoke.json"
FAILED = "failed"
LATEST = "latest"
REPORT = "report"
# What lies in the store beside the models' folders, and would be mixed up with a model or a version of that name.
RESERVED = (FAILED, LATEST, "nights", REPORT)
# How far an artifact was checked: it passed every gate, or its toolchain cannot run here what it makes.
VERIFIED, BUILT = "verified", "built, not run"
VERSION_DIGITS = 16
_LONGEST_NAME = 200
REBUILD = "run the job again: the damaged folder moves to failed/ and the artifact is built anew"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A file that an artifact vouches for; `size` in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A version in the store, as its manifest describes it.

    `published` is in seconds since the epoch: the modification time of the manifest, which the
    store sets when it publishes and which renaming, `cp -p`, tar and rsync keep.
    """

    folder: Path
    model: str
    variant: str
    key: str
    files: tuple[Subject, ...]
    published: float
    manifest: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def version(self) -> str:
        """Return the first 16 digits of the key."""
        return self.key[:VERSION_DIGITS]

    @property
    def subjects(self) -> dict[str, str]:
        """Return the SHA-256 of each file by its name."""
        return {file.name: file.sha256 for file in self.files}

    @property
    def size(self) -> int:
        """Return the bytes of all subjects together."""
        return sum(file.size for file in self.files)

    @property
    def verified(self) -> str:
        """Return how far the artifact was checked before it was published: VERIFIED or BUILT."""
        return str(self.manifest["predicate"].get("verification", {}).get("verified", VERIFIED))

    def path(self, name: str) -> Path:
        """Return where the file `name` of this artifact lies."""
        return self.folder / name

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what the toolchain told; nothing where the manifest does not say it."""
        facts = self.manifest.get("predicate", {}).get("verification", {}).get("facts")
        return facts if isinstance(facts, Mapping) else {}

    @cached_property
    def smoke(self) -> Mapping[str, Any]:
        """Return the figures in smoke.json, empty where there is none; raise ArtifactError where damaged."""
        try:
            document = json.loads(self.path(SMOKE).read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise _damaged(self.folder, f"{SMOKE} is no JSON: {error}") from error
        if not isinstance(document, dict):
            raise _damaged(self.folder, f"{SMOKE} holds no JSON object")
        return document

    @classmethod
    def read(cls, folder: Path, *, model: str, variant: str, version: str) -> Artifact:
        """Read an artifact's manifest, and nothing else.

        Raises ArtifactError where the manifest is missing, is no statement as the store needs it,
        or belongs to another version.
        """
        try:
            with (folder / MANIFEST).open("rb") as stream:
                published = os.fstat(stream.fileno()).st_mtime
                document = json.load(stream)
            key, files = _key(document), tuple(map(_subject, _subjects(document)))
        except FileNotFoundError as error:
            raise _damaged(folder, f"{MANIFEST} is missing") from error
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise _damaged(folder, f"{MANIFEST} is no manifest: {_words(error)}") from error
        if key[:VERSION_DIGITS] != version:
            raise _damaged(folder, f"{MANIFEST} belongs to version {key[:VERSION_DIGITS]}, not {version}")
        return cls(
            folder=folder,
            model=model,
            variant=variant,
            key=key,
            files=files,
            published=published,
            manifest=document,
        )

    def problems(self, digests: Digests) -> Iterator[str]:
        """Yield, for each subject that is not as the manifest says, its name and what is wrong."""
        for file in self.files:
            if problem := _problem(self.path(file.name), file, digests):
                yield f"{file.name} {problem}"

    def check(self, digests: Digests) -> Artifact:
        """Return the artifact itself; raise ArtifactError with all problems where it is not whole."""
        if problems := list(self.problems(digests)):
            raise _damaged(self.folder, "; ".join(problems))
        return self


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What an unpublished job, or a damaged artifact, left behind; `failed` in seconds since the epoch."""

    folder: Path
    model: str
    variant: str
    version: str
    failed: float

    @property
    def reason(self) -> str:
        """Return why it is here, in words; empty where nobody said."""
        try:
            return (self.folder / "reason.txt").read_text(errors="replace").strip()
        except OSError:
            return ""


def version_of(key: str) -> str:
    """Return the version that a key names; raise ValueError where it is no key."""
    if not is_sha256(key):
        raise ValueError(f"a key is 64 lower-case hex digits, not {key!r}")
    return key[:VERSION_DIGITS]


def check_names(*, model: str, variant: str) -> None:
    """Raise UsageError where a name could lead out of its place in the store."""
    for kind, name in (("model", model), ("variant", variant)):
        # Folders that ignore case would let "Failed" shadow failed/.
        reserved = name.startswith(".") or name.casefold() in RESERVED
        # Lone surrogates are not printable, so what is encoded here can be.
        plain = name.isprintable() and len(name.encode()) <= _LONGEST_NAME
        if not name or reserved or not plain or "/" in name or "\\" in name:
            raise UsageError(
                f"{name!r} cannot name a {kind} in the store",
                remedy=f"use a name without slashes and leading dots that is none of {', '.join(RESERVED)}",
            )


def _problem(path: Path, file: Subject, digests: Digests) -> str | None:
    try:
        info = path.lstat()
        if not stat.S_ISREG(info.st_mode):
            return "is not a regular file"
        if info.st_size != file.size:
            return f"has {info.st_size} bytes where the manifest says {file.size}"
        found = digests.file(path)
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    if found != file.sha256:
        return f"has other content (SHA-256 {found[:12]}...) than the manifest says ({file.sha256[:12]}...)"
    return None


def _key(document: Any) -> str:
    key: str = document["predicate"]["buildDefinition"]["internalParameters"]["key"]
    if not is_sha256(key):
        raise ValueError(f"its key {key!r} is not 64 hex digits")
    return key


def _subjects(document: Any) -> list[Any]:
    subjects = document["subject"]
    if not isinstance(subjects, list) or not subjects:
        raise ValueError("it names no subject")
    return subjects


def _subject(entry: Any) -> Subject:
    name, sha256, size = entry["name"], entry["digest"]["sha256"], entry["annotations"]["size"]
    if not isinstance(name, str) or not _is_inside(name):
        raise ValueError(f"the subject {name!r} is no file of this folder")
    if not is_sha256(sha256):
        raise ValueError(f"the SHA-256 of {name} is not 64 hex digits")
    if type(size) is not int or size < 0:
        raise ValueError(f"the size of {name} is {size!r}")
    return Subject(name=name, sha256=sha256, size=size)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _words(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _damaged(folder: Path, problem: str) -> ArtifactError:
    return ArtifactError(f"the artifact {folder} is damaged: {problem}", remedy=REBUILD)
