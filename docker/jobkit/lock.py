"""The lock file of a toolchain: which package it wants at which version."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Mapping

from jobkit.errors import ContractError

PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?==(?P<version>[^\s;\\]+)\s*(;(?P<marker>[^\\]*))?")
MARKER = re.compile(r"(\w+)\s*(==|!=)\s*([\"'])(.*)\3")


@dataclass(frozen=True)
class Pin:
    """A package at one version."""

    name: str
    version: str


def read_lock(path: Path) -> Iterator[Pin]:
    """Yield the pins of a requirements.txt that hold on this machine.

    Raises ContractError for a line that is no pin, or a marker that this cannot decide.
    """
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.partition(" #")[0].strip().rstrip("\\").strip()
        if not text or text.startswith(("#", "--")):
            continue
        found = PIN.fullmatch(text)
        if not found:
            raise ContractError(f"{path.name}: {text!r} is no pin", "a lock has lines such as numpy==2.0.0")
        if _holds(found["marker"], path):
            yield Pin(found["name"], found["version"])


def _holds(marker: str, path: Path) -> bool:
    if not marker:
        return True
    found = MARKER.fullmatch(marker.strip())
    known = _environment()
    if not found or found[1] not in known:
        raise ContractError(
            f"{path.name}: cannot decide {marker.strip()!r}", f"use one of {', '.join(known)}, == or !="
        )
    return (known[found[1]] == found[4]) == (found[2] == "==")


def _environment() -> Mapping[str, str]:
    # The names of PEP 508.
    return {
        "sys_platform": sys.platform,
        "platform_machine": platform.machine(),
        "platform_system": platform.system(),
        "python_version": "{}.{}".format(*sys.version_info),
    }
