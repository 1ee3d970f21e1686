"""What the job is doing, as JSON lines that the host follows while it runs."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator


class Events:
    """Append events to a file, each one whole line, flushed at once. Times are seconds since the first."""

    def __init__(self, path: Path) -> None:
        """Begin a new file at `path`."""
        self.start = time.perf_counter()
        self.stream = path.open("w", encoding="utf-8", buffering=1)
        self.current = ""

    def emit(self, event: str, **values: Any) -> None:
        """Write one event."""
        at = round(time.perf_counter() - self.start, 4)
        self.stream.write(json.dumps({"at": at, "event": event, **values}, ensure_ascii=False) + "\n")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Report a step at its start and, with its seconds, at its end; a failed step has no end."""
        outer, self.current = self.current, name
        began = time.perf_counter()
        self.emit("start", step=name)
        yield
        self.emit("end", step=name, seconds=round(time.perf_counter() - began, 4))
        self.current = outer

    def progress(self, done: int, of: int) -> None:
        """Report that `done` of `of` parts of the current step are done."""
        self.emit("progress", step=self.current, done=done, of=of)

    def note(self, text: str) -> None:
        """Say something that a person may want to know."""
        self.emit("note", text=text)

    def close(self) -> None:
        """Close the file."""
        self.stream.close()
