"""The disk: writing that lasts, removing that does not complain, and what its refusals mean."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelfarm.errors import FarmError, MachineError, UsageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_NOT_A_FOLDER = {errno.ENOTDIR, errno.EEXIST}
# Two numbers on macOS, one on Linux.
_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOTSUP}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, *_UNSUPPORTED}
_ELSEWHERE = "put the store elsewhere: ARTIFACTS=/another/folder"


def sync(path: Path) -> None:
    """Push a file or a folder's list of names to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder; they order its changes themselves.
        if error.errno not in {errno.EINVAL, *_UNSUPPORTED}:
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Push everything under `folder` to the disk, each folder after what it holds."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                sync_tree(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                sync(Path(entry.path))
    sync(folder)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder as far as that is possible; never raise OSError."""
    with suppress(OSError):
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            return
        # A toolchain may leave folders that even their owner may not change.
        path.chmod(0o700)
        for entry in list(path.iterdir()):
            remove(entry)
        path.rmdir()


def names(folder: Path) -> list[str]:
    """Return the names in a folder; none where it is missing."""
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []


def folders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in `folder`, without links and hidden ones."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.name[0] != "." and e.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def exists(path: Path) -> bool:
    """Tell whether there is anything at `path`, be it a broken link; raise what stops from knowing."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def free(path: Path) -> int:
    """Return the bytes that may still be written where `path` is, or would be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    usage = os.statvfs(path)
    return usage.f_bavail * usage.f_frsize


@contextmanager
def explained(root: Path) -> Iterator[None]:
    """Raise what a disk refuses under `root` as a MachineError or UsageError with a remedy.

    Errors about files elsewhere, and those that are no refusal, pass unchanged.
    """
    try:
        yield
    except OSError as error:
        inside = error.filename is None or _is_about(error.filename, root)
        if inside and (reason := _explain(error, root)):
            raise reason from error
        raise


def _is_about(name: object, root: Path) -> bool:
    # mkdir reports the missing parents of the root as well.
    path = Path(os.fsdecode(name)) if isinstance(name, (str, bytes)) else Path()
    return path.is_relative_to(root) or root.is_relative_to(path)


def _explain(error: OSError, root: Path) -> FarmError | None:
    said = (error.strerror or "refused").lower()
    where = f": {os.fsdecode(error.filename)}" if error.filename else ""
    if error.errno in _FULL:
        return MachineError(
            f"the store {root} takes no more: {said} ({free(root) / 2**20:.1f} MiB free){where}",
            remedy=f"free some space (make gc KEEP=1 removes old versions) or a quota, or {_ELSEWHERE}",
        )
    if error.errno in _REFUSED:
        return MachineError(
            f"the store {root} refuses: {said} ({free(root) / 2**20:.1f} MiB free){where}",
            remedy=f"make it writable for user id {os.geteuid()}, or {_ELSEWHERE}",
        )
    if error.errno in _NO_LOCKS:
        return MachineError(f"the store {root} is where files cannot be locked: {said}", remedy=_ELSEWHERE)
    if error.errno in _NOT_A_FOLDER and (blocker := _blocker(error, root)):
        return UsageError(
            f"the store {root} needs a folder where there is something else: {blocker}",
            remedy=f"move it away, or {_ELSEWHERE}",
        )
    return None


def _blocker(error: OSError, root: Path) -> Path | None:
    """Return what stands where a folder is needed."""
    lowest = Path(os.fsdecode(error.filename)) if error.filename else root
    chain = (path for path in (lowest, *lowest.parents) if os.path.lexists(path) and not path.is_dir())
    return next(chain, None)
