"""Another program, run to its end: its lines go to the log and are kept, and a signal that ended it gets its name."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence, Tuple

# What a shell adds to the number of the signal that ended a program.
SHELL = 128

CRASHES = ("SIGABRT", "SIGSEGV")


@dataclass(frozen=True)
class Ended:
    """A program after its end: `code` is negative where a signal ended it."""

    code: int
    lines: Tuple[str, ...]

    @property
    def signal(self) -> str:
        """Give the name of the signal that ended it, empty where none did."""
        number = -self.code if self.code < 0 else self.code - SHELL
        return signal.Signals(number).name if number in {item.value for item in signal.Signals} else ""

    @property
    def crashed(self) -> bool:
        """Say whether it ended by a fault of its own: signals 6 and 11."""
        return self.signal in CRASHES

    @property
    def how(self) -> str:
        """Say how it ended, in words."""
        if self.signal == "SIGKILL":
            return "was killed, most likely for want of memory"
        if self.signal:
            return f"crashed with signal {signal.Signals[self.signal].value} ({self.signal})"
        return f"ended with code {self.code}"

    def tail(self, count: int = 3) -> str:
        """Give the last lines, in one."""
        return " | ".join([line.strip() for line in self.lines if line.strip()][-count:]) or "it said nothing"


def run(command: Sequence[str], folder: Path) -> Ended:
    """Run a program in `folder`; nothing that it started outlives this call."""
    print(f"$ {' '.join(command)}", flush=True)
    process = subprocess.Popen(
        command,
        cwd=str(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="backslashreplace",
        start_new_session=True,
    )
    lines = []
    try:
        assert process.stdout
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            print(lines[-1])
        return Ended(process.wait(), tuple(lines))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
