"""Passports: what an engine was made for, kept beside it and looked at before it is loaded.

An engine is code for one GPU by one version of TensorRT. Given another, TensorRT says little, and some versions crash.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Iterator, Mapping

from jobkit import EngineError

NAME = "engine.json"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Passport:
    """What an engine is made for, `size` and `sha256` of its file; `driver` and `cuda` are for knowing only."""

    tensorrt: str
    gpu: str
    capability: str
    driver: str
    cuda: str
    size: int
    sha256: str

    @property
    def holder(self) -> str:
        """Say in words what the engine was made for."""
        return f"TensorRT {self.tensorrt} on {self.gpu} ({architecture(self.capability)})"

    def write(self, folder: Path) -> None:
        """Write the passport of the engine in `folder`."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True)
        (folder / NAME).write_text(text + "\n", encoding="utf-8")


def architecture(capability: str) -> str:
    """Name an architecture as compilers do: sm_86 for 8.6."""
    return f"sm_{capability.replace('.', '')}"


def issue(engine: Path, *, tensorrt: str, gpu: str, capability: str, driver: str, cuda: str) -> Passport:
    """Make the passport of an engine that was made just now."""
    return Passport(tensorrt, gpu, capability, driver, cuda, engine.stat().st_size, _digest(engine))


def read_passport(file: Path) -> Passport:
    """Read a passport, or the one in a manifest; raises EngineError where there is none in the file."""
    try:
        document: Any = json.loads(file.read_text(encoding="utf-8"))
        if "predicate" in document:
            document = document["predicate"]["verification"]["facts"]["engine"]
        return _parse(document)
    except FileNotFoundError:
        raise EngineError(
            f"{file.parent} has no {file.name}: nothing says which GPU and which TensorRT its engine was made for",
            "take the whole folder of the artifact, or build it again: make trt MODEL=...",
        ) from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise EngineError(
            f"{file} does not say what the engine was made for: {type(error).__name__}: {error}",
            "it is damaged: make trt MODEL=... builds it again",
        ) from None


def _parse(document: Mapping[str, Any]) -> Passport:
    words = {name: str(document[name]) for name in ("tensorrt", "gpu", "capability", "driver", "cuda", "sha256")}
    return Passport(size=int(document["size"]), **words)


def inspect(passport: Passport, engine: Path, *, tensorrt: str, gpu: str, capability: str, command: str) -> None:
    """Raise EngineError where an engine is not whole, or was made for something else than what is here.

    `command` is what builds the right one.
    """
    for problem in (*_damages(passport, engine), *_differences(passport, tensorrt, gpu, capability)):
        here = f"TensorRT {tensorrt} on {gpu} ({architecture(capability)})"
        raise EngineError(f"{engine.name} {problem}; it was made for {passport.holder}, and here is {here}",
                          f"build the right one here: {command}")


def _damages(passport: Passport, engine: Path) -> Iterator[str]:
    if not engine.is_file():
        yield "is missing"
    elif engine.stat().st_size < passport.size:
        yield f"is truncated: it has {engine.stat().st_size:,} of {passport.size:,} bytes"
    elif engine.stat().st_size != passport.size or _digest(engine) != passport.sha256:
        yield "is not the engine that its passport was issued for"


def _differences(passport: Passport, tensorrt: str, gpu: str, capability: str) -> Iterator[str]:
    if passport.tensorrt != tensorrt:
        yield f"is of another version of TensorRT, {passport.tensorrt}"
    if passport.capability != capability:
        yield f"is for another architecture, {architecture(passport.capability)}"
    elif passport.gpu != gpu:
        yield f"is for another GPU, {passport.gpu}, whose kernels were timed there"


def _digest(file: Path) -> str:
    whole = hashlib.sha256()
    with file.open("rb") as stream:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            whole.update(block)
    return whole.hexdigest()
