"""Runners: where a job's process lives.

`venv` runs the toolchain in a cached virtual environment on this machine, `docker` and `podman` in its image.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from modelfarm import toolchain
from modelfarm.containers import NAMES, find_client
from modelfarm.digest import Digests
from modelfarm.errors import MachineError, UsageError, nearest
from modelfarm.gpu import Gpu, require
from modelfarm.runners.runner import Runner
from modelfarm.runners.venv import VenvRunner
from modelfarm.settings import Settings
from modelfarm.target import Target

if TYPE_CHECKING:
    from modelfarm.runners.container import ContainerRunner

__all__ = ["Runner", "Runners", "VenvRunner"]

_KNOWN = ("auto", *NAMES, "venv")
_PATIENCE = 5.0  # seconds that `auto` gives an engine to answer


@dataclass(frozen=True, kw_only=True)
class Runners:
    """The runners of this machine, one chosen for each target; its devices are looked for below `system`."""

    settings: Settings
    digests: Digests
    system: Path = Path("/")
    _chosen: dict[str, Runner] = field(default_factory=dict, repr=False)
    _gpus: list[Gpu] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if self.settings.runner not in _KNOWN:
            raise UsageError(f"RUNNER={self.settings.runner} is not known; {nearest(self.settings.runner, _KNOWN)}")

    @cached_property
    def venv(self) -> VenvRunner:
        """Return the runner of virtual environments."""
        return VenvRunner(environments=self.settings.environments, torch_index=self.settings.torch_index)

    def gpu(self, target: Target) -> Gpu | None:
        """Return the GPU that a target's jobs get, None where it wants none; raises MachineError where none works."""
        if target.device != "gpu":
            return None
        if not self._gpus:
            self._gpus.append(require(target.name, target.otherwise, system=self.system))
        return self._gpus[0]

    def container(self, name: str, gpu: Gpu | None = None) -> ContainerRunner:
        """Return the runner of docker or podman; raises MachineError where there is no such client."""
        from modelfarm.runners.container import ContainerRunner

        client = find_client(name)
        if client is None:
            raise MachineError(f"RUNNER={name}, but there is no {name} on the PATH",
                               remedy=f"install {name}, name its client with {name.upper()}=, or say RUNNER=venv")
        return ContainerRunner(client=client, memory=self.settings.images, digests=self.digests, gpu=gpu)

    def of(self, target: Target) -> Runner:
        """Return the runner of a target's jobs.

        `auto` means docker where it has the image of this checkout, else a virtual environment.
        """
        if target.name not in self._chosen:
            self._chosen[target.name] = self._choose(target)
        return self._chosen[target.name]

    def _choose(self, target: Target) -> Runner:
        wanted, gpu = self.settings.runner, self.gpu(target)
        if target.environment == "image":
            if wanted == "venv":
                raise MachineError(f"the {target.name} toolchain exists as an image only, not as an environment",
                                   remedy=f"make images TARGET={target.name}, then RUNNER=docker")
            return self._engine(target, "docker" if wanted == "auto" else wanted, gpu)
        if wanted in NAMES:
            return self.container(wanted, gpu)
        if wanted == "auto" and self._has_image(target):
            return self.container("docker", gpu)
        return replace(self.venv, gpu=gpu) if gpu else self.venv

    def _engine(self, target: Target, name: str, gpu: Gpu | None) -> Runner:
        if find_client(name) is None:
            raise MachineError(f"the {target.name} toolchain exists as an image only, and there is no {name} here",
                               remedy=f"install {name}, or name its client with {name.upper()}=, "
                                      f"then make images TARGET={target.name}")
        return self.container(name, gpu)

    def _has_image(self, target: Target) -> bool:
        """Say whether docker answers and holds the target's image; of an engine that is down, auto says nothing."""
        client = find_client("docker") if target.containerised else None
        if client is None:
            return False
        try:
            return client.image(toolchain.local_name(target, self.digests), _PATIENCE) is not None
        except MachineError:
            return False
