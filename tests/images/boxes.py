"""Boxes: a farm of one toy model whose toolchain runs in real containers and does there what a test asks for."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from modelfarm import toolchain
from modelfarm.build import Builder, Built
from modelfarm.command import Ended
from modelfarm.console import Console
from modelfarm.containers import Client, ClientError, Image
from modelfarm.digest import Digests
from modelfarm.job import Job
from modelfarm.runners.container import ContainerRunner
from modelfarm.settings import ROOT
from modelfarm.target import Target, read_target
from modelfarm.trial import Trial
from tests.toys import Toys

HERE = Path(__file__).parent / "toys"
RECIPE = """\
name: toy
description: a toy in a box
source: {torch: {module: toy.py, factory: toy, weights: {file: toy.pt}}}
inputs: {x: {shape: [1, 3]}}
outputs: [y]
targets: {boxed: {}}
"""


@dataclass(frozen=True, kw_only=True)
class Boxes(Toys):
    """A farm whose one runner is of containers."""

    client: Client

    @property
    def target(self) -> Target:
        return read_target(self.folder / "docker" / "boxed" / "target.yaml")

    @cached_property
    def runner(self) -> ContainerRunner:
        """Return a runner as a farm that starts now has it."""
        return ContainerRunner(client=self.client, digests=Digests(self.cache), memory=self.cache / "images")

    def job(self, **changes: Any) -> Job:
        """Plan the model's job; `changes` are those of its target, such as its limits."""
        from modelfarm.plan import Planner, Request

        farm = self.farm
        target = replace(self.target, **changes)
        planner = Planner(target=target, runner=self.runner, lookup=farm.lookup, digests=farm.digests,
                          request=Request())
        (job,) = planner.jobs(farm.recipe("toy"))
        return job

    def wish(self, **wish: Any) -> None:
        """Write the model; `wish` is what its converter is to do."""
        folder = self.model()
        (folder / "model.yaml").write_text(RECIPE)
        (folder / "toy.pt").write_text(json.dumps(wish))

    def build(self, job: Job | None = None) -> tuple[Built, str]:
        """Build a job; return it and what the console said."""
        stream = io.StringIO()
        builder = Builder(store=self.farm.store, runners=lambda target: self.runner)
        built = builder.build(job or self.job(), Console(stream, live=False))
        return built, stream.getvalue()

    def run(self, job: Job | None = None, *, folder: Path | None = None, runner: ContainerRunner | None = None,
            on_tick: Any = lambda: None) -> tuple[Ended, str]:
        """Run a job's converter without the gates; return how it ended, and its log."""
        job, scratch, log = job or self.job(), folder or self.folder / "scratch", self.folder / "run.log"
        scratch.mkdir(parents=True, exist_ok=True)
        Trial(job=job, folder=self.folder, scratch=scratch, digests=self.farm.digests).prepare()
        ended = (runner or self.runner).run(job.target, scratch, log, on_tick, job.seconds)
        return ended, log.read_text()

    def result(self) -> Mapping[str, Any]:
        """Return what the job of `run` handed back."""
        document: Mapping[str, Any] = json.loads((self.folder / "scratch" / "out" / "result.json").read_text())
        return document

    def containers(self) -> list[str]:
        """List the containers of these boxes, running or not."""
        listed = self.client.ask("ps", "--all", "--filter", "name=modelfarm-boxed-", "--format", "{{.Names}}")
        return [name for name in listed.split() if self._is_ours(name)]

    def _is_ours(self, name: str) -> bool:
        try:
            mounts = self.client.ask("inspect", "--type", "container", "--format",
                                     "{{range .Mounts}}{{.Source}} {{end}}", name)
        except ClientError:
            return False  # somebody else's, gone meanwhile
        return str(self.folder) in mounts

    def kept(self) -> str:
        """Return the log of the job that failed."""
        (log,) = self.settings.artifacts.glob("failed/toy/*/*/convert.log")
        return log.read_text(errors="replace")


def make_toolchains(folder: Path) -> Path:
    """Write a folder of toolchains, `docker`, with that of the boxes; return it."""
    for name, source in (("boxed", HERE), ("jobkit", ROOT / "docker" / "jobkit")):
        shutil.copytree(source, folder / "docker" / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "docker"


def make_boxes(folder: Path, toolchains: Path, client: Client) -> Boxes:
    """Make a farm with these toolchains, and a cache beside them; its model does nothing odd yet."""
    folder.mkdir(exist_ok=True)
    (folder / "docker").symlink_to(toolchains)
    boxes = Boxes(folder=folder, cache=toolchains.parent / "cache", client=client)
    boxes.wish()
    return boxes


def build_image(boxes: Boxes, builder: Client, toolchain_image: Image) -> str:
    """Build the boxes' image on top of a whole toolchain, under the name that the farm gives it; return the name."""
    name = toolchain.local_name(boxes.target, Digests(boxes.cache))
    # By a name and not by its digest, which buildkit would seek in a registry.
    builder.ask("tag", toolchain_image.identity, "modelfarm-test/whole")
    builder.ask("build", "--quiet", "--network", "none", "--build-arg", "TOOLCHAIN=modelfarm-test/whole", "--tag", name,
                boxes.target.folder, seconds=300)
    builder.ask("rmi", "modelfarm-test/whole")  # the name alone
    return name


def carry(name: str, builder: Client, client: Client) -> None:
    """Bring an image from the engine that built it into another."""
    with subprocess.Popen([builder.program, "save", name], stdout=subprocess.PIPE) as saved:
        subprocess.run([client.program, "load"], stdin=saved.stdout, check=True, capture_output=True)


def processes_with(word: str) -> Sequence[int]:
    """List the processes of this machine that have a word among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                if word.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
