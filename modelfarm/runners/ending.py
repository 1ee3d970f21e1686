"""Endings: how a container's job ended, from what the client returned and what the engine knows."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelfarm.command import Ended
from modelfarm.errors import MachineError
from modelfarm.target import Target

_REFUSED = (125, 126, 127)  # what the clients end with where they could not run a container
_NOT_BEGUN = ("created", "configured", "initialized")
_BY_SIGNAL = 128  # what a shell, and the containers' init, add to the number of the signal that ended a program
_CRASHES = {signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV}


def judged(engine: str, target: Target, ended: Ended, state: Mapping[str, Any], log: Path) -> Ended:
    """Return how a job ended, in words where its code does not tell.

    `state` is what the engine says of the container, nothing where that is gone. Raises MachineError where no job
    began, or the engine died under it.
    """
    if ended.code in _REFUSED and (state.get("ExitCode") != ended.code or state["Status"] in _NOT_BEGUN):
        raise _refusal(engine, target, _said(log))
    number = ended.code - _BY_SIGNAL
    code = -number if number in {signal.SIGKILL, *_CRASHES} else ended.code
    return replace(ended, code=code, reason=_reason(engine, target, ended.code, state))


def _reason(engine: str, target: Target, code: int, state: Mapping[str, Any]) -> str:
    limit = f"(its limit is {_binary(target.memory)}, memory in docker/{target.name}/target.yaml)"
    # Also where it was a child's end, which the job did not get over.
    if code and state.get("OOMKilled"):
        return f"ran out of memory {limit}"
    if code != _BY_SIGNAL + signal.SIGKILL:
        return ""
    if not state:
        return "was killed from outside: its container was removed"
    return f"was killed from outside, or ran out of memory unnoticed by {engine} {limit}"


def _said(log: Path) -> str:
    """Return what the client said after the line with its command."""
    lines = log.read_text(errors="replace").rpartition("\n$ ")[2].splitlines()[1:]
    return "\n    ".join(line for line in lines if line.strip() and "--help" not in line) or "nothing"


_REMEDIES = {
    "bind source path does not exist": "the engine does not see the files of this machine: use one that runs here",
    "statfs": "the engine does not see the files of this machine: use one that runs here",
    "mounts denied": "share the folder of the artifacts with the engine, or put it elsewhere with ARTIFACTS=",
    "catatonit": "install catatonit, the init of podman's containers",
    "no such image": "somebody removed it meanwhile: make images builds it",
    "image not known": "somebody removed it meanwhile: make images builds it",
    "cannot connect": "look whether the engine runs: make doctor",
}


def _refusal(engine: str, target: Target, said: str) -> MachineError:
    remedy = next((remedy for words, remedy in _REMEDIES.items() if words in said.lower()),
                  "make doctor looks at the engine; RUNNER=venv does without")
    return MachineError(f"{engine} could not run the {target.name} toolchain: {said}", remedy=remedy)


def _binary(count: int) -> str:
    """Return a number of bytes as target.yaml gives it."""
    for unit, step in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if count >= step:
            return f"{count / step:.4g} {unit}"
    return f"{count} B"
