"""The console: steps with times, live on a terminal and as plain lines elsewhere.

Everything here is light until a terminal is there to draw on: a cached job prints its table and ends.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_DONE, _FAILED, _NOTE = "+", "x", "."


class Bar(Protocol):
    """What shows a running step; the plain console shows nothing until the step ends."""

    def progress(self, done: float, total: float) -> None:
        """Move the bar; a total of 0 means that the end is unknown."""

    def say(self, text: str) -> None:
        """Write something else beside the bar."""

    def close(self) -> None:
        """Take the bar away."""


class _NoBar:
    def progress(self, done: float, total: float) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


class _LiveBar:
    """A line with a spinner, the elapsed time and, where progress is known, a bar."""

    def __init__(self, live: Progress, text: str) -> None:
        self._live = live
        self._task: TaskID = live.add_task(text, total=None)

    def progress(self, done: float, total: float) -> None:
        self._live.update(self._task, completed=done, total=total or None)

    def say(self, text: str) -> None:
        self._live.update(self._task, description=text)

    def close(self) -> None:
        self._live.remove_task(self._task)
        self._live.refresh()  # or the bar would stand until something else is drawn


class Step:
    """One running step: `progress` moves its bar, `end` prints its line."""

    def __init__(self, console: Console, text: str, bar: Bar) -> None:
        self._console, self._text, self._bar = console, text, bar
        self._start = time.perf_counter()

    def progress(self, done: float, total: float) -> None:
        """Say how far the step is."""
        self._bar.progress(done, total)

    def say(self, text: str) -> None:
        """Show another text while the step runs."""
        self._bar.say(text)

    def drop(self) -> None:
        """End the step without a line of its own."""
        self._bar.close()

    def end(self, *, seconds: float | None = None, failed: bool = False, detail: str = "") -> None:
        """Print the step's line, with the time it took unless `seconds` gives another."""
        taken = time.perf_counter() - self._start if seconds is None else seconds
        self._bar.close()
        text = f"{self._text}: {detail}" if detail else self._text
        self._console.line(f"  {_FAILED if failed else _DONE} {text:<60} {taken:7.2f} s")


class Console:
    """Where the farm talks to people: standard output, or any text stream.

    On GitHub and GitLab each section folds. With `live` false, or no terminal, nothing is redrawn.
    """

    def __init__(self, stream: TextIO | None = None, *, live: bool | None = None) -> None:
        self._stream = stream or sys.stdout
        ci = bool(os.environ.get("CI"))
        self._live_wanted = (self._stream.isatty() and not ci) if live is None else live
        self._live: Progress | None = None
        self._lock = threading.Lock()
        self._service = _ci_service()

    @property
    def redraws(self) -> bool:
        """Return whether running steps are shown as they go."""
        return self._live_wanted

    def line(self, text: str = "") -> None:
        """Print one line, above whatever is being redrawn."""
        if self._live is not None:
            self._live.console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
            return
        with self._lock:
            self._stream.write(text + "\n")
            self._stream.flush()

    def lines(self, texts: Sequence[str]) -> None:
        """Print lines that belong together, with nothing of another job between them."""
        if texts:
            self.line("\n".join(texts))

    def note(self, text: str) -> None:
        """Print a remark inside a section."""
        self.line(f"  {_NOTE} {text}")

    @contextmanager
    def section(self, title: str) -> Iterator[None]:
        """Print a heading, and fold what follows where the CI service can."""
        self.line(_opening(self._service, title))
        try:
            yield
        finally:
            if closing := _closing(self._service, title):
                self.line(closing)

    def begin(self, text: str) -> Step:
        """Start a step that is ended by hand."""
        return Step(self, text, self._bar(text))

    def meter(self, text: str) -> Callable[[float, float], None]:
        """Return what takes the progress of work that may never start: its step begins with the first figures.

        The step ends when all is done.
        """
        running: list[Step] = []

        def show(done: float, total: float) -> None:
            if not running:
                running.append(self.begin(text))
            running[0].progress(done, total)
            if total and done >= total:
                running.pop().end()

        return show

    @contextmanager
    def step(self, text: str) -> Iterator[Step]:
        """Run a block as a step; an exception marks it as failed and goes on."""
        step = self.begin(text)
        try:
            yield step
        except BaseException:
            step.end(failed=True)
            raise
        step.end()

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Print rows under a heading row, each column as wide as it needs."""
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        self.lines(["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                    for row in rows])

    def _bar(self, text: str) -> Bar:
        if not self._live_wanted:
            return _NoBar()
        with self._lock:
            self._live = self._live or _start_live(self._stream)
        return _LiveBar(self._live, text)

    def close(self) -> None:
        """Stop redrawing."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __enter__(self) -> Console:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def _ci_service() -> str:
    return next((name for name in ("GITHUB_ACTIONS", "GITLAB_CI") if os.environ.get(name)), "")


def _opening(service: str, title: str) -> str:
    if service == "GITHUB_ACTIONS":
        return f"::group::{title}"
    return _mark("start", title) + title if service == "GITLAB_CI" else title


def _closing(service: str, title: str) -> str:
    if service == "GITHUB_ACTIONS":
        return "::endgroup::"
    return _mark("end", title) if service == "GITLAB_CI" else ""


def _mark(side: str, title: str) -> str:
    """Return GitLab's mark of a section: https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections."""
    name = re.sub("[^A-Za-z0-9_.-]+", "_", title)
    return f"\x1b[0Ksection_{side}:{int(time.time())}:{name}\r\x1b[0K"


class Recorder(Console):
    """A console that keeps its lines until the job is over, so that parallel jobs do not mingle."""

    def __init__(self) -> None:
        super().__init__(live=False)
        self.kept: list[str] = []

    def line(self, text: str = "") -> None:
        """Keep the line."""
        self.kept.append(text)


def _start_live(stream: TextIO) -> Progress:
    # rich takes a noticeable part of a second to import, and only a terminal needs it.
    from rich.console import Console as Screen
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns: list[Any] = [SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24),
                          TimeElapsedColumn()]
    live = Progress(*columns, console=Screen(file=stream), transient=True)
    live.start()
    return live
