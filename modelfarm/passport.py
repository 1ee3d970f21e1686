"""Passports: what an artifact that is code for one machine was made for, by its manifest, and whether that is here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from modelfarm.artifact import Artifact
from modelfarm.errors import ArtifactError, MachineError
from modelfarm.gpu import Gpu

PACKAGES = ("tensorrt", "tensorrt-cu12-bindings")  # whose version an engine is bound to


@dataclass(frozen=True, kw_only=True)
class Passport:
    """The version of TensorRT and the GPU that an engine was made with, and for."""

    tensorrt: str
    gpu: str
    capability: str

    def __str__(self) -> str:
        return f"TensorRT {self.tensorrt} on {self.gpu} (sm_{self.capability.replace('.', '')})"

    def differences(self, gpu: Gpu, tensorrt: str) -> Iterator[str]:
        """Yield what is other than here, in words."""
        if tensorrt and tensorrt != self.tensorrt:
            yield f"another version of TensorRT, {self.tensorrt}"
        if gpu.capability != self.capability:
            yield f"another architecture, sm_{self.capability.replace('.', '')}"
        elif gpu.name != self.gpu:
            yield f"another GPU, {self.gpu}"


def read_passport(artifact: Artifact) -> Passport | None:
    """Return what an artifact was made for, None where it runs anywhere; raises ArtifactError where that is garbled."""
    engine = artifact.facts.get("engine")
    if not isinstance(engine, Mapping) or "capability" not in engine:
        return None
    try:
        return Passport(**{name: _word(engine[name]) for name in ("tensorrt", "gpu", "capability")})
    except (LookupError, TypeError) as error:
        raise ArtifactError(f"the manifest of {artifact.folder} does not say what its engine was made for: {error}",
                            remedy="make the artifact anew") from error


def _word(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{value!r} is no name")
    return value


def inspect(passport: Passport, artifact: Artifact, gpu: Gpu, tensorrt: str, command: str) -> None:
    """Raise MachineError where an artifact was made for something else than what is here.

    `tensorrt` is the version of the toolchain that would load it, empty where it is not known; `command` builds the
    right one.
    """
    if found := list(passport.differences(gpu, tensorrt)):
        here = Passport(tensorrt=tensorrt or "of an unknown version", gpu=gpu.name, capability=gpu.capability)
        raise MachineError(f"{artifact.model}/{artifact.variant} is for {' and '.join(found)}: it was built for "
                           f"{passport}, and here is {here}", remedy=f"build the right one here: {command}")
