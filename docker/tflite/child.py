"""A process for what may take its process along: TensorFlow's interpreter ends by a signal on some files."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import threading
import traceback
from collections import deque
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import IO, Any, Deque, Optional, Type

from jobkit import GraphError, Refused, errors
from jobkit.process import PARENT_VARIABLE, die_with_parent

LOG_LINES = 12
WAIT = 10.0  # seconds for a child to end that was told to

# A glog prefix, what a converter always says, or the start of what a C++ runtime says of its own end.
NOISE = re.compile(
    r"^(\S+ \S+: )?[IW] |^[IW]\d{4} |^(INFO|WARNING|fully_quantize|Fatal Python error|Current thread|Thread 0x)"
    r"|^(Extension modules|  File )"
)


class ChildError(Refused):
    """The toolchain failed in its own process, with an exception that nobody expected."""


class Child:
    """One process that calls functions of modules by name, and keeps what they keep between the calls."""

    def __init__(self, name: str) -> None:
        """Give the process a `name` for messages; it starts with the first call."""
        self.name = name
        self._process: Any = None
        self._pipe: Any = None
        self._lines: Deque[str] = deque(maxlen=LOG_LINES)
        self._reader: Optional[threading.Thread] = None

    def call(
        self,
        function: str,
        *arguments: Any,
        doing: str,
        remedy: str = "see convert.log",
        crash: Type[Refused] = GraphError,
    ) -> Any:
        """Call ``module:function`` with `arguments` in the process; give what it returns.

        Raises what the function refuses with; `crash` where a signal ended the process, which says what it was
        `doing` and what it said last; ChildError for any other exception.
        """
        if self._process is None:
            self._start()
        self._lines.clear()
        try:
            self._pipe.send((function, arguments))
            kind, *rest = self._pipe.recv()
        except (EOFError, OSError):
            raise self._ended(doing, remedy, crash) from None
        if kind == "done":
            return rest[0]
        raise _error(*rest)

    def close(self) -> None:
        """End the process; a later call starts another one."""
        if self._process is not None:
            self._pipe.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(WAIT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Child:
        """Give the child itself."""
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """End the process."""
        self.close()

    def _start(self) -> None:
        # A program of its own: a fork would share the locks of what this process has imported.
        self._pipe, other = Pipe()
        paths = os.pathsep.join([path for path in sys.path if path] + [os.environ.get("PYTHONPATH", "")])
        self._lines.clear()
        self._process = subprocess.Popen(
            [sys.executable, "-u", __file__, str(other.fileno())],
            pass_fds=[other.fileno()],
            env={**os.environ, "PYTHONPATH": paths, PARENT_VARIABLE: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="backslashreplace",
        )
        other.close()
        self._reader = threading.Thread(target=self._pass_on, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def _pass_on(self, stream: IO[str]) -> None:
        """Write what the child says, native code too, into this process's log, and keep the last lines."""
        for line in stream:
            if line.strip() and not NOISE.match(line):
                self._lines.append(line.strip())
            sys.stderr.write(line)

    def _ended(self, doing: str, remedy: str, crash: Type[Refused]) -> Refused:
        assert self._reader
        code = self._process.wait(WAIT)
        self._reader.join(WAIT)
        self._process = None
        said = " | ".join(list(self._lines)[-3:]) or "it said nothing"
        if code == -signal.SIGKILL:
            return GraphError(f"{doing}: the process was killed, most likely for want of memory", "give it more memory")
        if code < 0:
            return crash(f"{doing}: ended by signal {-code} ({signal.Signals(-code).name}): {said}", remedy)
        return ChildError(f"{doing}: the process ended with code {code}: {said}", remedy)


def _error(name: str, message: str, remedy: str) -> Exception:
    if name == MemoryError.__name__:
        return MemoryError(message)
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, Refused):
        return kind(message, remedy)
    return ChildError(f"{name}: {message}", remedy)


def serve(pipe: Connection) -> None:
    """Answer calls until the parent closes its end; this is the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    with suppress(EOFError, OSError):
        while True:
            function, arguments = pipe.recv()
            pipe.send(_answer(function, arguments))
    # TensorFlow would take a second to put itself away.
    os._exit(0)


def _answer(function: str, arguments: Any) -> Any:
    module, _, name = function.partition(":")
    try:
        return "done", getattr(importlib.import_module(module), name)(*arguments)
    except Refused as error:
        return "refused", type(error).__name__, error.message, error.remedy
    except Exception as error:
        traceback.print_exc()
        return "refused", type(error).__name__, str(error), "read the end of convert.log"


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
