"""Locks between processes and threads, freed by the kernel when their holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelfarm.errors import Interrupted

Waiting = Callable[[str], None]
Cancelled = Callable[[], bool]

_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.25


@contextmanager
def exclusive(path: Path, *, waiting: Waiting | None = None, cancelled: Cancelled | None = None) -> Iterator[None]:
    """Hold the lock at `path`, a file that exists only as long as somebody holds it.

    While another holds it, `waiting` is called once with who that is. Ctrl-C ends the wait in the
    main thread; in other threads `cancelled` is asked a few times a second. Raises Interrupted.
    """
    descriptor = _obtain(path)
    pause = _FIRST_PAUSE
    while descriptor is None:
        if cancelled and cancelled():
            raise Interrupted(f"stopped while {holder(path)} held {path.name}", remedy="run it again")
        # Polling, because a blocked flock cannot be cancelled in a thread.
        time.sleep(pause)
        descriptor = _obtain(path)
        # The first refusal may be a sweep just passing by, which is not worth a word.
        if descriptor is None and waiting and pause == _FIRST_PAUSE:
            waiting(holder(path))
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    try:
        yield
    finally:
        _release(descriptor, path)


@contextmanager
def attempt(path: Path) -> Iterator[bool]:
    """Hold the lock at `path` where it is free; yield whether it was."""
    descriptor = _obtain(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            _release(descriptor, path)


def holder(path: Path) -> str:
    """Describe who holds the lock at `path`, as its holder wrote it."""
    with suppress(OSError):
        return path.read_text(errors="replace").strip() or "another process"
    return "another process"


def _obtain(path: Path) -> int | None:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The file may have been removed between open and flock: such a lock locks nothing.
            if _names(path, descriptor):
                _sign(descriptor)
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _release(descriptor: int, path: Path) -> None:
    try:
        if _names(path, descriptor):
            path.unlink()
    except OSError:
        pass  # a lock file left behind is swept later
    finally:
        os.close(descriptor)


def _names(path: Path, descriptor: int) -> bool:
    """Tell whether `path` still leads to the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    with suppress(OSError):  # a full disk: the lock holds, only its holder stays nameless
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
