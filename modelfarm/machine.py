"""The machine: what it has of processors and memory."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

_UNLIMITED = 1 << 60  # cgroup v1 writes such a number where there is no limit


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def memory(system: Path = Path("/")) -> int:
    """Return the bytes of memory that this process may use: the machine's, or what its cgroup is limited to."""
    limits = [_number(system / "sys/fs/cgroup" / name) for name in ("memory.max", "memory/memory.limit_in_bytes")]
    known = [limit for limit in (_total(system), *limits) if 0 < limit < _UNLIMITED]
    return min(known, default=0)


def _total(system: Path) -> int:
    return next((int(line.split()[1]) * 1024 for line in _lines(system / "proc/meminfo")
                 if line.startswith("MemTotal:")), 0)


def _number(file: Path) -> int:
    text = "".join(_lines(file)).strip()
    return int(text) if text.isdecimal() else 0


@cache
def processor() -> str:
    """Return the processor's name, by which timings are comparable."""
    return processor_of(Path("/")) or platform.processor() or platform.machine()


def processor_of(system: Path) -> str:
    """Return the name that a system gives its processor; empty where it gives none."""
    names = (line.partition(":")[2].strip() for line in _lines(system / "proc/cpuinfo")
             if line.startswith("model name"))
    return next(names, "")


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []
