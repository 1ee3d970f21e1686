"""The job's process: it ends with its parent, ends in order on a signal, and remembers its last log lines."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections import deque
from types import FrameType
from typing import Deque, Optional, TextIO

from jobkit.errors import Interrupted

# <linux/prctl.h>
PR_SET_PDEATHSIG = 1

PARENT_VARIABLE = "MODELFARM_PARENT"
LOG_LINES = 30


def die_with_parent() -> None:
    """Ask Linux to kill this process when the one named in MODELFARM_PARENT dies, and end now if it has.

    The kernel watches the *thread* that started this process: the farm has to keep that thread until the job ends.
    Without the variable, and on other systems, nothing happens.
    """
    parent = os.environ.get(PARENT_VARIABLE, "")
    if not parent.isdigit() or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(f"the process {parent} that asked for this job is gone")


def share_processors() -> None:
    """Let OpenMP's threads sleep while they wait, before anything loads OpenMP.

    By default they spin; with other jobs on the same processors a model of torch then takes up to fifty times longer.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def interrupt_on_signals() -> None:
    """Turn the first SIGTERM or SIGINT into Interrupted; later ones do not disturb the writing of the result."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: Optional[FrameType]) -> None:
    for other in (signal.SIGTERM, signal.SIGINT):
        signal.signal(other, signal.SIG_IGN)
    raise Interrupted(f"the job was interrupted by {signal.Signals(number).name}")


class Tail:
    """A text stream that passes everything on and keeps the last lines."""

    def __init__(self, stream: TextIO, lines: Deque[str]) -> None:
        """Wrap `stream`; its lines go to `lines` as well."""
        self.stream = stream
        self.lines = lines
        self.open_line = ""

    def write(self, text: str) -> int:
        """Pass `text` on."""
        *whole, self.open_line = (self.open_line + text).split("\n")
        self.lines.extend(line for line in whole if line.strip())
        return self.stream.write(text)

    def flush(self) -> None:
        """Flush the stream."""
        self.stream.flush()

    def __getattr__(self, name: str) -> object:
        """Be the wrapped stream in everything else."""
        return getattr(self.stream, name)


def keep_log() -> Deque[str]:
    """Let standard output and error keep their last lines; return where these are found.

    What native code writes goes past this, straight into the log file.
    """
    lines: Deque[str] = deque(maxlen=LOG_LINES)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        stream.reconfigure(line_buffering=True, errors="backslashreplace")
        setattr(sys, name, Tail(stream, lines))
    return lines
