"""What the job hands back: result.json, whole or not at all."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence, Union

from jobkit.errors import Interrupted, Refused
from jobkit.runtime import Device, Inspected, Latency, Runtime, Tensor
from jobkit.sandbox import explain

SCHEMA = 1
LOG_LINES = 30


@dataclass(frozen=True)
class Failure:
    """Why there is no artifact. `kind` is ``refused`` where the job said so, ``crash`` where it broke."""

    kind: str
    name: str
    message: str
    remedy: str
    log: Sequence[str]


@dataclass
class Result:
    """What is known so far; a failed job reports what it had."""

    files: List[str] = field(default_factory=list)
    inputs: Sequence[Tensor] = ()
    outputs: Sequence[Tensor] = ()
    device: Optional[Device] = None
    latency: Optional[Latency] = None
    timings: Dict[str, float] = field(default_factory=dict)
    facts: Dict[str, Any] = field(default_factory=dict)
    versions: Dict[str, str] = field(default_factory=dict)
    failure: Optional[Failure] = None

    def describe(self, loaded: Union[Runtime, Inspected]) -> None:
        """Take over the signature and the device that what was loaded reports."""
        self.inputs, self.outputs, self.device = loaded.inputs, loaded.outputs, loaded.device

    def write(self, path: Path) -> None:
        """Write result.json at `path`: under another name first, so that a reader never meets half of it."""
        partial = path.with_name(path.name + ".partial")
        text = json.dumps(self._document(), indent=1, ensure_ascii=False, sort_keys=True)
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)

    def _document(self) -> Dict[str, Any]:
        return {
            "schema": SCHEMA,
            "ok": self.failure is None,
            "files": self.files,
            "signature": {
                "inputs": [_tensor(tensor) for tensor in self.inputs],
                "outputs": [_tensor(tensor) for tensor in self.outputs],
            },
            "device": asdict(self.device) if self.device else None,
            "latency": asdict(self.latency) if self.latency else None,
            "timings": {name: round(seconds, 4) for name, seconds in self.timings.items()},
            "facts": self.facts,
            "versions": self.versions,
            "error": _error(self.failure),
        }


def _tensor(tensor: Tensor) -> Dict[str, Any]:
    return {name: value for name, value in asdict(tensor).items() if value is not None}


def _error(failure: Optional[Failure]) -> Optional[Dict[str, Any]]:
    if failure is None:
        return None
    return {
        "kind": failure.kind,
        "class": failure.name,
        "message": failure.message,
        "remedy": failure.remedy,
        "log": list(failure.log)[-LOG_LINES:],
    }


def failure_of(error: BaseException, log: Iterable[str]) -> Failure:
    """Put an exception into words: its class, its message, what to do, and the last lines of the log."""
    lines = list(log)[-LOG_LINES:]
    error = explain(error) or error
    if isinstance(error, Refused):
        return Failure("refused", type(error).__name__, error.message, error.remedy, lines)
    if isinstance(error, (Interrupted, KeyboardInterrupt)):
        return Failure("refused", "Interrupted", str(error) or "the job was interrupted", "run it again", lines)
    if isinstance(error, MemoryError):
        return Failure("crash", "MemoryError", "the job ran out of memory", "give it more memory", lines)
    message = str(error) or f"{type(error).__name__} without a message"
    return Failure("crash", type(error).__name__, message, "read the end of convert.log", lines)


def versions_of(packages: Iterable[str]) -> Dict[str, str]:
    """Look up the installed versions of `packages`, with Python's own; absent ones are left out."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
