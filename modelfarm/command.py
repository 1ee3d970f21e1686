"""Commands: the one place that starts other programs.

A program gets a session of its own, so that it and all its children can be ended together; its
output is streamed line by line and kept in a log.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelfarm.errors import MachineError

_TICK = 0.05  # seconds between two looks at the clock
_GRACE = 3.0  # seconds that a program has to end by itself before it is killed
_PIPE = 1 << 20  # bytes, as much as a pipe can hold, see pipe(7)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a program ended, and when: its exit code (negative: the signal), and whether time ran out.

    `reason` is for what the code does not tell, such as a limit on memory.
    """

    code: int
    seconds: float
    timed_out: bool
    reason: str = ""

    @property
    def why(self) -> str:
        """Say in words how it ended."""
        if self.reason:
            return self.reason
        if self.timed_out:
            return f"was stopped after {self.seconds:.4g} s, its limit"
        if self.code < 0:
            return f"was ended by signal {-self.code} ({_signal_name(-self.code)})"
        return f"ended with code {self.code}"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a program that was asked something said, and its exit code."""

    code: int
    out: str
    err: str


def _signal_name(number: int) -> str:
    known = {signal.SIGKILL: "SIGKILL: killed, perhaps for want of memory", signal.SIGSEGV: "SIGSEGV: a crash",
             signal.SIGABRT: "SIGABRT: a crash"}
    with contextlib.suppress(ValueError):
        return known.get(signal.Signals(number), signal.Signals(number).name)
    return "unknown"


def printable(argv: Sequence[str | Path], environment: Mapping[str, str] | None = None,
              cwd: Path | None = None) -> str:
    """Return the command as one could paste it into a shell."""
    place = [f"cd {shlex.quote(str(cwd))} &&"] if cwd else []
    settings = [f"{name}={shlex.quote(value)}" for name, value in (environment or {}).items()]
    return " ".join([*place, *settings, shlex.join(str(word) for word in argv)])


def output(argv: Sequence[str | Path], *, seconds: float = 60.0, environment: Mapping[str, str] | None = None,
           cwd: Path | None = None, given: bytes | None = None) -> Answer:
    """Run a program that only answers something, and return what it said; `given` is what it reads.

    Raises MachineError where it cannot be started, or says nothing for `seconds`.
    """
    process = _start(argv, environment, cwd, stderr=subprocess.PIPE,
                     stdin=subprocess.DEVNULL if given is None else subprocess.PIPE)
    try:
        out, err = process.communicate(given, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise MachineError(f"{printable(argv)} did not answer within {seconds:.4g} s",
                           remedy="look whether the program hangs when it is called by hand") from None
    finally:
        _end_group(process)
    return Answer(code=process.returncode, out=out.decode("utf-8", "replace"), err=err.decode("utf-8", "replace"))


def run(argv: Sequence[str | Path], *, log: Path, environment: Mapping[str, str] | None = None,
        cwd: Path | None = None, seconds: float | None = None,
        on_line: Callable[[str], None] | None = None, on_tick: Callable[[], None] | None = None) -> Ended:
    """Run a program to its end and keep its output, standard error included, in `log`.

    `environment` is added to the farm's own. `on_line` gets each line, `on_tick` is called a few times
    a second. After `seconds` the program's whole group is ended. Raises MachineError where the
    program cannot be started; on any exception the group is ended before it goes on.
    """
    start = time.perf_counter()
    with log.open("ab", buffering=0) as kept:  # whoever reads the log reads along
        kept.write(f"$ {printable(argv, environment, cwd)}\n".encode())
        process = _start(argv, environment, cwd)
        try:
            timed_out = _follow(process, kept.write, on_line, on_tick, seconds)
            taken = time.perf_counter() - start
        finally:
            _end_group(process)
    return Ended(code=process.returncode, seconds=taken, timed_out=timed_out)


def _start(argv: Sequence[str | Path], environment: Mapping[str, str] | None, cwd: Path | None,
           stderr: int = subprocess.STDOUT, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen([str(word) for word in argv], stdin=stdin, stdout=subprocess.PIPE,
                                stderr=stderr, cwd=cwd, env={**os.environ, **(environment or {})},
                                start_new_session=True)
    except OSError as error:
        # The name is the program's, or that of the folder that it was to run in.
        raise MachineError(f"{error.filename or argv[0]} cannot be started: {error.strerror}") from error


def _follow(process: subprocess.Popen[bytes], keep: Callable[[bytes], object], on_line: Callable[[str], None] | None,
            on_tick: Callable[[], None] | None, seconds: float | None) -> bool:
    """Stream the output until the program ends; returns whether its time ran out."""
    assert process.stdout is not None
    deadline = time.monotonic() + seconds if seconds else float("inf")
    lines = _Lines(on_line)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        piped, ended, timed_out = True, False, False
        while not (ended or timed_out):
            # Asked before the pipe is read, so that the last words of a program that has ended are in it: a child
            # that it left behind may hold the pipe open, and write on.
            ended = process.poll() is not None
            if not piped:
                _wait(process, _TICK)
            elif selector.select(0 if ended else _TICK):
                data = os.read(process.stdout.fileno(), _PIPE)
                keep(data)
                lines.feed(data)
                piped = bool(data)
            timed_out = not ended and time.monotonic() > deadline
            if on_tick:
                on_tick()
    lines.feed(b"", last=True)
    return timed_out


class _Lines:
    """Cuts a stream of bytes into lines; a carriage return ends a line too, as progress bars use it."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self._on_line = on_line
        self._rest = b""

    def feed(self, data: bytes, *, last: bool = False) -> None:
        if self._on_line is None:
            return
        *whole, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        if last and self._rest:
            whole.append(self._rest)
        for line in whole:
            if line.strip():
                self._on_line(line.decode("utf-8", "replace").rstrip())


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the program and whatever it started: first ask, then kill."""
    try:
        if process.poll() is None:
            _signal_group(process, signal.SIGTERM)
            _wait(process, _GRACE)
    finally:  # also where a second Ctrl-C breaks the wait
        _signal_group(process, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
