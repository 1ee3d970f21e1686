"""Owners: the process that a container was started for, told so that any later process can see whether it lives."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_ZOMBIE = "Z"  # ended, and its parent has not asked how


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process: the machine, its boot and the namespace that its number counts in, the number and its start."""

    host: str
    boot: str
    namespace: str
    process: int
    started: str

    @classmethod
    def this(cls) -> Owner:
        """Return the process that asks."""
        # Names such as "localhost" are shared by many machines, which may share an engine too.
        machine = "-".join(filter(None, [os.uname().nodename, _text(Path("/etc/machine-id"))[:12]]))
        namespace = ""
        with suppress(OSError):
            namespace = (_PROC / "self" / "ns" / "pid").readlink().name.strip("pid:[]")
        return cls(host=machine, boot=_text(_PROC / "sys" / "kernel" / "random" / "boot_id"), namespace=namespace,
                   process=os.getpid(), started="".join(_fields(os.getpid())[19:20]))

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """Read a label; None where it is not one of ours."""
        parts = text.split("/")
        if len(parts) != 5 or not parts[3].isdecimal():
            return None
        host, boot, namespace, process, started = parts
        return cls(host=host, boot=boot, namespace=namespace, process=int(process), started=started)

    def __str__(self) -> str:
        return "/".join([self.host, self.boot, self.namespace, str(self.process), self.started])

    def dead(self, *, running: bool) -> bool:
        """Say whether this process is gone for certain; `running` tells of its container.

        Of a process on another machine, or in a container of its own, nobody here can tell: it counts as alive.
        """
        here = Owner.this()
        if self.host != here.host:
            return False
        if self.boot != here.boot:
            # No container survives a boot: one that runs is that of another machine of the same name.
            return not running
        return self.namespace == here.namespace and not _lives(self.process, self.started)


def _lives(process: int, started: str) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is another user's
    fields = _fields(process)
    if not fields or not started:
        return True  # /proc is hidden: the number has to do
    return fields[0] != _ZOMBIE and fields[19] == started


def _fields(process: int) -> list[str]:
    """Return what /proc says of a process from its state on, the third field of proc(5); nothing where it is hidden."""
    # The second field is the program's name, which may hold anything.
    return _text(_PROC / str(process) / "stat").rpartition(")")[2].split()


def _text(file: Path) -> str:
    with suppress(OSError):
        return file.read_text().strip()
    return ""
