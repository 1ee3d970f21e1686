"""What the sandbox forbade, in words: found in the exceptions that a converter lets through."""

from __future__ import annotations

import errno
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional

from jobkit.errors import Refused, SandboxError, brief

# The runner sets both: whether there is a sandbox, and {"memory": bytes, "processes": number}.
VARIABLE = "MODELFARM_SANDBOX"
LIMITS_VARIABLE = "MODELFARM_LIMITS"

OUT = Path("/job/out")

NO_NETWORK = frozenset([errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL])

# How torch and others word it where the C library refuses memory.
MEMORY_WORDS = ("can't allocate memory", "cannot allocate memory", "bad_alloc", "failed to allocate memory")
THREAD_WORDS = ("can't start new thread", "resource temporarily unavailable")


@dataclass(frozen=True)
class Sandbox:
    """The limits of this sandbox; 0 where they are not known."""

    memory: int
    processes: int


def find_sandbox(environment: Mapping[str, str] = os.environ) -> Optional[Sandbox]:
    """Give the sandbox that this process runs in, None outside one."""
    if environment.get(VARIABLE) != "1":
        return None
    try:
        limits: Any = json.loads(environment.get(LIMITS_VARIABLE) or "{}")
        return Sandbox(memory=int(limits.get("memory", 0)), processes=int(limits.get("processes", 0)))
    except (ValueError, TypeError, AttributeError):
        return Sandbox(memory=0, processes=0)


def explain(error: BaseException, sandbox: Optional[Sandbox] = None) -> Optional[SandboxError]:
    """Say what `sandbox` (this process's own, left out) forbade, where `error` or what led to it comes from that."""
    sandbox = sandbox or find_sandbox()
    if sandbox is None:
        return None
    for cause in _chain(error):
        found = _cause(cause, sandbox)
        if found:
            outer = "" if cause is error else f" ({_said(error)})"
            return SandboxError(found.message + outer, found.remedy)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen = set()
    pending = [error]
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        # Also what `raise ... from None` hides: it still led here.
        pending += [other for other in (current.__cause__, current.__context__) if other is not None]


def _said(error: BaseException) -> str:
    message = error.message if isinstance(error, Refused) else str(error)
    return f"{type(error).__name__}: {brief(Exception(message))}"


def _cause(error: BaseException, sandbox: Sandbox) -> Optional[SandboxError]:
    if isinstance(error, MemoryError) or _is_memory(error):
        return _no_memory(sandbox)
    if isinstance(error, RuntimeError) and any(word in str(error).lower() for word in THREAD_WORDS):
        return _too_many(sandbox, error)
    if not isinstance(error, OSError):
        return None
    if isinstance(error, socket.gaierror) or error.errno in NO_NETWORK:
        return _no_network(error)
    if _is_refused(error):
        return _not_writable(error)
    if error.errno == errno.EAGAIN and _starts_processes(error):
        return _too_many(sandbox, error)
    if error.errno == errno.ENOSPC:
        return _no_space(error)
    return None


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in MEMORY_WORDS)


def _starts_processes(error: BaseException) -> bool:
    """Tell a failed fork from a read that would have to wait: the latter comes from files and sockets."""
    trace = error.__traceback__
    if trace is None:
        return True
    while trace.tb_next:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    # A built-in function has no frame of its own: the names that its caller uses tell which one it was.
    return any("fork" in name or "spawn" in name for name in (code.co_name, *code.co_names))


def _no_network(error: BaseException) -> SandboxError:
    return SandboxError(
        f"the job tried to use the network, and the sandbox has none: {brief(error)}",
        "everything that a job needs is fetched before it runs: name the files in the recipe, "
        "and let the model's code download nothing",
    )


def _is_refused(error: OSError) -> bool:
    """Say whether the sandbox closed a path: its rights alone are another matter, and so is what the job may write."""
    if error.errno == errno.EROFS:
        return True
    if error.errno not in (errno.EACCES, errno.EPERM) or error.filename is None:
        return False
    path = Path(os.fsdecode(error.filename)).absolute()
    return OUT not in (path, *path.parents) and (os.access(path, os.R_OK) or not os.path.exists(path))  # noqa: PTH110 - of Path it raises


def _not_writable(error: OSError) -> SandboxError:
    place = os.fsdecode(error.filename) if error.filename is not None else "a file"
    return SandboxError(
        f"the job tried to change {place}, and in the sandbox only /job/out is writable: {brief(error)}",
        "write below /job/out, the job's `out`, or into tempfile's folder; everything else is read-only",
    )


def _too_many(sandbox: Sandbox, error: BaseException) -> SandboxError:
    limit = f"{sandbox.processes} processes and threads" if sandbox.processes else "only so many processes and threads"
    return SandboxError(
        f"the job tried to start more processes than the sandbox allows, {limit}: {brief(error)}",
        "start fewer; a toolchain that does need more says so with `processes` in its target.yaml",
    )


def _no_memory(sandbox: Sandbox) -> SandboxError:
    limit = f", {sandbox.memory / 2**30:.4g} GiB" if sandbox.memory else ""
    return SandboxError(
        f"the job ran out of memory: it wanted more than the sandbox has{limit}",
        "make the model or its input smaller; a toolchain that does need more says so with `memory` in its target.yaml",
    )


def _no_space(error: BaseException) -> SandboxError:
    return SandboxError(
        f"a file system is full, and the sandbox's /tmp lies in memory: {brief(error)}",
        "write large files below /job/out, the job's `out`; where that is full, make room on the disk of the artifacts",
    )
