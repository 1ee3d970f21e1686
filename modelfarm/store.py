"""The store: whole artifacts or none, whatever is killed and whenever.

    <root>/<model>/<variant>/<version>/      an artifact; version: the first 16 digits of its key
    <root>/<model>/<variant>/latest          relative symbolic link
    <root>/failed/<model>/<variant>/<version>/
    <root>/nights/, <root>/report/           records of runs, and the pages about all of it
    <root>/.staging/<name>/, <name>.lock     what is being made or thrown away, and its owner's lock
    <root>/.locks/                           locks that somebody holds

Whoever takes two locks takes a key's first, then a `latest` one: no two can wait for each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TypeVar

from modelfarm import disk, locks
from modelfarm.artifact import FAILED, LATEST, MANIFEST, REBUILD, RESERVED, Artifact, Failure, check_names, version_of
from modelfarm.digest import Digests, key_of
from modelfarm.errors import ArtifactError, UsageError

_Entry = TypeVar("_Entry", Artifact, Failure)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A temporary place on the store's file system: `folder` becomes the artifact, `scratch` never does."""

    root: Path

    @property
    def folder(self) -> Path:
        """Return the folder that `publish` or `fail` moves away."""
        return self.root / "artifact"

    @property
    def scratch(self) -> Path:
        """Return the folder for what nobody needs afterwards."""
        return self.root / "scratch"


class Store:
    """The artifacts under one root folder, shared by any number of processes and threads.

    Reading needs no lock and writes nothing. Every method raises MachineError where the disk is
    full, unwritable or unreadable, and UsageError where `root` is no folder or a name is not allowed.
    """

    def __init__(self, root: Path, digests: Digests) -> None:
        """Keep artifacts in `root`, which is made when there is something to keep."""
        self.root = root.absolute()
        self.digests = digests
        self._staging = self.root / ".staging"
        self._locks = self.root / ".locks"

    # Reading

    def find(self, model: str, variant: str, key: str) -> Artifact | None:
        """Return the artifact of that key, whole to the last byte, or None.

        Raises ArtifactError where there is one that is damaged, with the file and what is wrong.
        """
        folder = self._place(model, variant, key)
        with disk.explained(self.root):
            try:
                if not disk.exists(folder):
                    return None
                return self._whole(folder, model, variant, key)
            except ArtifactError:
                # A collector may have taken it away in the middle of the check.
                if not disk.exists(folder):
                    return None
                raise

    def latest(self, model: str, variant: str) -> Artifact | None:
        """Return the artifact that `latest` points to, its content unchecked; None where there is none."""
        check_names(model=model, variant=variant)
        version = self._pointed(model, variant)
        return self._read(model, variant, version) if version else None

    def is_latest(self, artifact: Artifact) -> bool:
        """Return whether `latest` points to this artifact."""
        return self._pointed(artifact.model, artifact.variant) == artifact.version

    def versions(self, model: str, variant: str) -> list[Artifact]:
        """Return the readable artifacts of one variant, newest first, their content unchecked."""
        check_names(model=model, variant=variant)
        with disk.explained(self.root):
            names = disk.folders(self.root / model / variant)
            found = (self._read(model, variant, name) for name in names)
            return sorted(filter(None, found), key=lambda a: (a.published, a.version), reverse=True)

    def of_model(self, model: str) -> Iterator[Artifact]:
        """Yield what `latest` points to for each variant of a model, its content unchecked."""
        check_names(model=model, variant=model)
        with disk.explained(self.root):
            for variant in disk.folders(self.root / model):
                if artifact := self.latest(model, variant):
                    yield artifact

    def artifacts(self) -> Iterator[Artifact]:
        """Yield every readable artifact by model, variant and age, its content unchecked."""
        for model, variant in self._variants(self.root):
            yield from self.versions(model, variant)

    def failures(self) -> Iterator[Failure]:
        """Yield what failed, by model, variant and age, newest first."""
        for model, variant in self._variants(self.root / FAILED):
            yield from self.failures_of(model, variant)

    def failures_of(self, model: str, variant: str) -> list[Failure]:
        """Return what failed of one variant, newest first."""
        folder = self.root / FAILED / model / variant
        with disk.explained(self.root):
            found = [_failure(folder / name, model, variant) for name in disk.folders(folder)]
            return sorted(filter(None, found), key=lambda f: f.failed, reverse=True)

    def variants(self) -> list[tuple[str, str]]:
        """Return, sorted, every model and variant of which anything is kept, be it damaged or a failure."""
        return sorted({*self._variants(self.root), *self._variants(self.root / FAILED)})

    def folders(self, model: str, variant: str) -> list[Path]:
        """Return the folders of one variant's versions, whatever is in them."""
        with disk.explained(self.root):
            return [self.root / model / variant / name for name in disk.folders(self.root / model / variant)]

    def damages(self) -> Iterator[ArtifactError]:
        """Yield one error for each artifact that is not whole, reading all of them."""
        with disk.explained(self.root):
            for model, variant in self._variants(self.root):
                for name in disk.folders(self.root / model / variant):
                    folder = self.root / model / variant / name
                    try:
                        Artifact.read(folder, model=model, variant=variant, version=name).check(self.digests)
                    except ArtifactError as error:
                        yield error

    # Writing

    @contextmanager
    def lock(
        self, key: str, *, waiting: locks.Waiting | None = None, cancelled: locks.Cancelled | None = None
    ) -> Iterator[None]:
        """Hold the only right to make the artifact of `key`, against all processes and threads.

        While another holds it, `waiting` is called once with a description of the holder. Ctrl-C
        ends the wait; where that reaches only the main thread, `cancelled` is asked, and Interrupted
        raised. A killed holder frees the lock.
        """
        path = self._locks / version_of(key)
        with ExitStack() as held:
            with disk.explained(self.root):
                self._locks.mkdir(parents=True, exist_ok=True)
                held.enter_context(locks.exclusive(path, waiting=waiting, cancelled=cancelled))
            yield

    @contextmanager
    def stage(self) -> Iterator[Stage]:
        """Give a place to make an artifact in; what is left of it is removed on every path.

        A disk that is full or refuses is explained here for whatever the caller writes, too.
        """
        stage = Stage(root=self._staging / f"{os.getpid()}-{os.urandom(6).hex()}")
        with disk.explained(self.root):
            self._staging.mkdir(parents=True, exist_ok=True)
            with locks.exclusive(stage.root.with_suffix(".lock")):
                try:
                    stage.folder.mkdir(parents=True)
                    stage.scratch.mkdir()
                    yield stage
                finally:
                    disk.remove(stage.root)

    def publish(self, stage: Stage, model: str, variant: str, key: str) -> Artifact:
        """Move a staged folder into its place and `latest` with it; needs the lock of `key`.

        Raises ArtifactError where the stage is not as its manifest says.
        """
        place = self._place(model, variant, key)
        with disk.explained(self.root):
            self._whole(stage.folder, model, variant, key)
            # The age of an artifact counts from here, however long ago its manifest was written.
            os.utime(stage.folder / MANIFEST)
            disk.sync_tree(stage.folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            if disk.exists(place):
                self._to_failed(place, model, variant, key, "it stood where a new artifact had to go")
            stage.folder.rename(place)
            for changed in (place.parent, place.parent.parent, self.root):
                disk.sync(changed)
        artifact = Artifact.read(place, model=model, variant=variant, version=place.name)
        self._point(artifact, stage)
        return artifact

    def fail(self, stage: Stage, model: str, variant: str, key: str, reason: str = "") -> Path:
        """Keep a staged folder for reading, in place of an earlier failure of that version; return where."""
        check_names(model=model, variant=variant)
        with disk.explained(self.root):
            return self._to_failed(stage.folder, model, variant, key, reason)

    def discard_damaged(self, model: str, variant: str, key: str, reason: str) -> Path | None:
        """Move a damaged artifact to failed/, so that it is built anew; needs the lock of `key`.

        Returns where it is now, or None where nothing is damaged any more.
        """
        try:
            self.find(model, variant, key)
        except ArtifactError:
            with disk.explained(self.root):
                return self._to_failed(self._place(model, variant, key), model, variant, key, reason)
        return None

    def point_latest(self, artifact: Artifact) -> None:
        """Let `latest` point to `artifact`, atomically; nothing is written where it does already.

        Raises ArtifactError where the artifact has been removed, or `latest` is no link.
        """
        if self._pointed(artifact.model, artifact.variant) == artifact.version:
            return
        with self.stage() as stage:
            self._point(artifact, stage)

    # Tidying

    def sweep(self) -> None:
        """Remove what killed processes left in .staging and .locks; never raise for it."""
        with suppress(OSError):
            for name in {name.removesuffix(".lock") for name in disk.names(self._staging)}:
                self._sweep(self._staging / f"{name}.lock", self._staging / name)
            for name in disk.names(self._locks):
                self._sweep(self._locks / name, None)

    def gc(self, keep: int) -> list[Artifact | Failure]:
        """Remove all but the newest `keep` versions, and failures, of each variant; return the removed.

        What `latest` points to stays, and what a running job has locked.
        """
        if keep < 0:
            raise UsageError(f"KEEP={keep} is less than nothing", remedy="say how many to keep: KEEP=3")
        self.sweep()
        old: list[Artifact | Failure] = [*_beyond(keep, self.artifacts())]
        old += _beyond(keep, self.failures())
        if not old:
            return []
        with self.stage() as trash:
            return [entry for entry in old if self._removed(entry, trash)]

    # The parts

    def _place(self, model: str, variant: str, key: str) -> Path:
        check_names(model=model, variant=variant)
        return self.root / model / variant / version_of(key)

    def _whole(self, folder: Path, model: str, variant: str, key: str) -> Artifact:
        artifact = Artifact.read(folder, model=model, variant=variant, version=version_of(key))
        if artifact.key != key:
            raise ArtifactError(f"{folder} holds the key {artifact.key}, not {key}", remedy=REBUILD)
        return artifact.check(self.digests)

    def _read(self, model: str, variant: str, version: str) -> Artifact | None:
        with suppress(ArtifactError), disk.explained(self.root):
            folder = self.root / model / variant / version
            return Artifact.read(folder, model=model, variant=variant, version=version)
        return None

    def _variants(self, root: Path) -> Iterator[tuple[str, str]]:
        with disk.explained(self.root):
            for model in disk.folders(root):
                if root != self.root or model not in RESERVED:
                    yield from ((model, variant) for variant in disk.folders(root / model))

    def _pointed(self, model: str, variant: str) -> str | None:
        with suppress(OSError):
            return (self.root / model / variant / LATEST).readlink().name
        return None

    def _point(self, artifact: Artifact, stage: Stage) -> None:
        link = self.root / artifact.model / artifact.variant / LATEST
        with self._pointing(artifact.model, artifact.variant):
            if not disk.exists(artifact.folder):
                raise ArtifactError(f"{artifact.folder} has been removed", remedy="run the job again")
            if link.is_dir() and not link.is_symlink():
                raise ArtifactError(f"{link} is a folder, not the link of the store", remedy="move it away")
            fresh = stage.scratch / LATEST
            fresh.symlink_to(artifact.version)
            fresh.replace(link)
            disk.sync(link.parent)

    @contextmanager
    def _pointing(self, model: str, variant: str) -> Iterator[None]:
        """Keep `latest` of one variant, and the version that it points to, from changing."""
        with disk.explained(self.root):
            self._locks.mkdir(parents=True, exist_ok=True)
            with locks.exclusive(self._locks / f"{LATEST}-{version_of(key_of([model, variant]))}"):
                yield

    def _to_failed(self, folder: Path, model: str, variant: str, key: str, reason: str) -> Path:
        goal = self.root / FAILED / model / variant / version_of(key)
        goal.parent.mkdir(parents=True, exist_ok=True)
        if reason and not folder.is_symlink():
            with suppress(OSError):
                (folder / "reason.txt").write_text(f"{reason}\n")
        with self.stage() as trash:
            with suppress(FileNotFoundError):
                goal.rename(trash.root / "earlier")
            folder.rename(goal)
        os.utime(goal, follow_symlinks=False)
        return goal

    def _sweep(self, lock: Path, folder: Path | None) -> None:
        # Another user's leftovers may be out of reach; they harm nobody.
        with suppress(OSError), locks.attempt(lock) as dead:
            if dead and folder:
                disk.remove(folder)

    def _removed(self, entry: Artifact | Failure, trash: Stage) -> bool:
        model, variant = entry.model, entry.variant
        with self._pointing(model, variant), locks.attempt(self._locks / entry.version) as idle:
            if not idle or (isinstance(entry, Artifact) and self._pointed(model, variant) == entry.version):
                return False
            with suppress(FileNotFoundError):  # another collector was first
                entry.folder.rename(trash.scratch / os.urandom(8).hex())
                return True
            return False


def _failure(folder: Path, model: str, variant: str) -> Failure | None:
    with suppress(FileNotFoundError):
        failed = folder.stat().st_mtime
        return Failure(folder=folder, model=model, variant=variant, version=folder.name, failed=failed)
    return None


def _beyond(keep: int, entries: Iterator[_Entry]) -> Iterator[_Entry]:
    """Yield what comes after the first `keep` of each variant."""
    for _, variant in groupby(entries, key=lambda entry: (entry.model, entry.variant)):
        yield from islice(variant, keep, None)
