"""The runner's interface, and what all runners do with a job's progress."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from modelfarm.command import Ended
from modelfarm.console import Console, Step
from modelfarm.digest import Digests
from modelfarm.target import Target


class Runner(Protocol):
    """Where the process of a job lives."""

    @property
    def name(self) -> str:
        """Return docker, podman or venv."""

    def identity(self, target: Target, digests: Digests) -> Mapping[str, Any]:
        """Return what about the toolchain can change an artifact's bytes; it goes into the key."""

    def provenance(self, target: Target, digests: Digests) -> Mapping[str, Any]:
        """Return what else is known of the toolchain, for the manifest; it is not in the key."""

    def packages(self, target: Target) -> Mapping[str, str]:
        """Return the versions of the toolchain's Python packages by name; raises MachineError where it is not here."""

    def prepare(self, target: Target, console: Console, on_tick: Callable[[], None] = ...) -> None:
        """Make the toolchain ready, calling `on_tick` meanwhile; raises MachineError where that fails."""

    def run(self, target: Target, folder: Path, log: Path, on_tick: Callable[[], None], seconds: float) -> Ended:
        """Run jobkit on a job folder, with its output in `log`, for `seconds` at most."""

    def script(self, target: Target) -> str:
        """Return shell lines that run jobkit on the job folder "$JOB", naming nothing of this machine."""


class Events:
    """Follows events.jsonl while the job runs and shows its steps on the console."""

    def __init__(self, file: Path, console: Console) -> None:
        self._file, self._console = file, console
        self._steps: dict[str, Step] = {}
        self._position = 0

    def poll(self) -> None:
        """Show what has come since the last look; half a line waits for its rest."""
        try:
            with self._file.open("rb") as stream:
                stream.seek(self._position)
                data = stream.read()
        except FileNotFoundError:
            return
        whole, _, _ = data.rpartition(b"\n")
        if whole:
            self._position += len(whole) + 1
            for line in whole.splitlines():
                self._show(json.loads(line))

    def close(self) -> None:
        """Show the rest; steps that never ended have failed."""
        self.poll()
        for step in self._steps.values():
            step.end(failed=True)
        self._steps.clear()

    def _show(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "start":
            self._steps[event["step"]] = self._console.begin(event["step"])
        elif event["event"] == "note":
            self._console.note(event["text"])
        elif step := self._steps.get(event["step"]):
            if event["event"] == "progress":
                step.progress(event["done"], event["of"])
            else:
                del self._steps[event["step"]]
                step.end(seconds=event["seconds"])
