"""The door: how a task meets its user, and with which code it ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from modelfarm.console import Console
from modelfarm.errors import FarmError, Interrupted


@contextmanager
def door() -> Iterator[Console]:
    """Give a console; a failure leaves as its message on standard error and its exit code.

    SIGTERM counts as an interruption, so that a CI service's stop cleans up as Ctrl-C does.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Console() as console:
            yield console
    except FarmError as error:
        complain(error)
        raise SystemExit(error.code) from None
    except KeyboardInterrupt:
        complain(Interrupted("interrupted", remedy="nothing half-made is left; the next run starts anew"))
        raise SystemExit(Interrupted.code) from None
    except BrokenPipeError:
        # The reader went away, as in `make status | head`. What is left to write goes nowhere, or Python complains:
        # https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def complain(error: FarmError, subject: str = "") -> None:
    """Print a failure and the exit code that it leads to."""
    sys.stdout.flush()
    about = f"{subject}: " if subject else ""
    print(f"modelfarm: {about}{error}\n  (exit code {error.code}: {error.meaning})", file=sys.stderr)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
