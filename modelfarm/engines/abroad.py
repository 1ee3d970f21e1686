"""Abroad: toolchains of a cluster's workers, as the farm plans with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelfarm.command import Ended
from modelfarm.console import Console
from modelfarm.digest import Digests
from modelfarm.engines.offers import Tool
from modelfarm.errors import MachineError
from modelfarm.gpu import Gpu
from modelfarm.runners import Runner, Runners
from modelfarm.target import Target

_ORDER = ("docker", "podman", "venv")  # what is taken where this machine has no say, as with RUNNER=auto


@dataclass(frozen=True, kw_only=True)
class FarRunner:
    """The runner of a worker, known by what it said of a toolchain; it runs nothing here."""

    tool: Tool

    @property
    def name(self) -> str:
        """Return docker, podman or venv."""
        return self.tool.runner

    def identity(self, target: Target, digests: Digests) -> Mapping[str, Any]:
        """Return what goes into the key, as the worker says."""
        return self.tool.identity

    def provenance(self, target: Target, digests: Digests) -> Mapping[str, Any]:
        """Return what else the worker knows of the toolchain."""
        return self.tool.provenance

    def packages(self, target: Target) -> Mapping[str, str]:
        """Refuse: the toolchain is the worker's."""
        raise self._elsewhere(target)

    def prepare(self, target: Target, console: Console, on_tick: Callable[[], None] = lambda: None) -> None:
        """Refuse: the toolchain is the worker's."""
        raise self._elsewhere(target)

    def run(self, target: Target, folder: Path, log: Path, on_tick: Callable[[], None], seconds: float) -> Ended:
        """Refuse: the toolchain is the worker's."""
        raise self._elsewhere(target)

    def script(self, target: Target) -> str:
        """Refuse: the toolchain is the worker's."""
        raise self._elsewhere(target)

    def _elsewhere(self, target: Target) -> MachineError:
        return MachineError(f"the {target.name} toolchain is on the workers, not here")


@dataclass(frozen=True, kw_only=True)
class Abroad(Runners):
    """The runners of a cluster: what this machine, `here`, would choose where a worker offers it, else what one offers.

    So the keys are those of a run on this machine, and a farm without toolchains or GPU can plan for workers with them.
    """

    here: Runners
    tools: Sequence[Tool]
    _taken: dict[str, Tool | None] = field(default_factory=dict, repr=False)

    def of(self, target: Target) -> Runner:
        """Return the runner of a target's jobs, for planning; raises MachineError where neither side has one."""
        if tool := self._tool(target):
            return FarRunner(tool=tool)
        try:
            return self.here.of(target)
        except MachineError as error:
            raise self._nowhere(target, error) from error

    def gpu(self, target: Target) -> Gpu | None:
        """Return the GPU that a target's jobs get; raises MachineError where neither side has one."""
        tool = self._tool(target)
        return tool.gpu if tool else self.here.gpu(target)

    def _nowhere(self, target: Target, error: MachineError) -> MachineError:
        """Return that neither the workers nor this machine have a toolchain, and what the workers offer."""
        wanted = "" if self.settings.runner == "auto" else f" in {self.settings.runner}"
        offered = ", ".join(sorted({f"{tool.target} ({tool.runner})" for tool in self.tools})) or "no toolchain"
        return MachineError(f"no connected worker offers the {target.name} toolchain{wanted}: they offer {offered}; "
                            f"here, {error.message}",
                            remedy="start a worker that does with make worker, see docs/cluster.md")

    def _tool(self, target: Target) -> Tool | None:
        if target.name not in self._taken:
            self._taken[target.name] = self._choose_tool(target)
        return self._taken[target.name]

    def _choose_tool(self, target: Target) -> Tool | None:
        """Return the offered toolchain that is like this machine's, else that which most workers offer."""
        wanted = self.settings.runner
        offered = [tool for tool in self.tools
                   if tool.target == target.folder.name and wanted in ("auto", tool.runner)]
        own = self._own(target)
        same = next((tool for tool in offered if own and tool.label == own), None)
        counts = {tool.label: sum(1 for other in offered if other.label == tool.label) for tool in offered}
        return same or min(offered, key=lambda tool: (_ORDER.index(tool.runner), -counts[tool.label], tool.label),
                           default=None)

    def _own(self, target: Target) -> str:
        """Return the label of this machine's own toolchain; empty where it has none."""
        try:
            runner, gpu = self.here.of(target), self.here.gpu(target)
            return Tool(target=target.folder.name, runner=runner.name, provenance={}, gpu=gpu,
                        identity=runner.identity(target, self.digests)).label
        except MachineError:
            return ""
