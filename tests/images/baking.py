"""Builds by docker-bake.hcl itself, from a copy of the toolchains, under names that are gone afterwards."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from modelfarm.console import Console
from modelfarm.containers import Client
from modelfarm.digest import Digests
from modelfarm.images.base import choose_base
from modelfarm.images.workshop import open_workshop
from modelfarm.settings import ROOT

GIVEN = ("EXTRA_CA", "WHEELHOUSE", "PIP_INDEX_URL", "APT_MIRROR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy",
         "https_proxy", "no_proxy", "TORCH_INDEX")  # what this machine needs to build anything


@dataclass(frozen=True, kw_only=True)
class Baked:
    """A build that ended: its exit code, what it printed, and the name of its image."""

    code: int
    said: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Kitchen:
    """A copy of docker/ in `folder`, which a test may change, and the base that the farm itself would take."""

    client: Client
    folder: Path
    base: Mapping[str, str]
    word: str = field(default_factory=lambda: secrets.token_hex(6))

    @property
    def toolchains(self) -> Path:
        return self.folder / "docker"

    def bake(self, *options: str, target: str = "onnx", loopback: bool = False, **environment: str) -> Baked:
        """Build a target with what the environment gives; an empty value takes a variable away.

        `loopback` lends the target, and not what it stands on, the loopback of this machine.
        """
        # Another name each time: an image that loses its name to another would stay.
        tag = f"{self.word}-{secrets.token_hex(3)}"
        name = f"modelfarm-test/{target}:{tag}"
        known = {variable: value for variable, value in os.environ.items() if variable in GIVEN} | environment
        tags = [f"--set={part}.tags=modelfarm-test/{part}:{tag}"
                for part in ("base-bookworm", "build-bookworm") if part != target]
        words = [self.client.program, "buildx", "bake", *(self._loopback(target) if loopback else ()),
                 "-f", "docker/docker-bake.hcl", "--progress", "plain", "--load", "--provenance=false", *tags,
                 f"--set={target}.tags={name}", *options, target]
        clean = {variable: value for variable, value in os.environ.items() if variable not in GIVEN}
        done = subprocess.run(
            words, cwd=self.folder, env={**clean, **self.base, **{k: v for k, v in known.items() if v}}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return Baked(code=done.returncode, said=done.stdout, name=name)

    def _loopback(self, target: str) -> list[str]:
        # Only newer versions of buildx know the network in files of its own kind; all know it in those of compose.
        file, folder = self.folder / "loopback.yaml", "base" if target.startswith("base-") else "onnx"
        file.write_text(f"services: {{{target}: {{build: {{context: docker/{folder}, network: host}}}}}}\n")
        allowed = "--allow" in self.client.ask("buildx", "bake", "--help")
        return ["-f", str(file), *(["--allow=network.host"] if allowed else [])]

    def discard(self) -> None:
        """Take the images out of the engine."""
        rows = self.client.ask("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
        for row in rows:
            if f":{self.word}-" in row:
                subprocess.run([self.client.program, "image", "rm", row], capture_output=True, check=False)


@contextmanager
def a_kitchen(folder: Path, client: Client) -> Iterator[Kitchen]:
    """Yield a kitchen, and leave nothing of what it built."""
    shutil.copytree(ROOT / "docker", folder / "docker", ignore=shutil.ignore_patterns("__pycache__"))
    workshop = open_workshop(folder / "cache", Digests(folder / "cache"), toolchains=folder / "docker")
    base = choose_base(workshop, "bookworm", Console())
    kitchen = Kitchen(client=client, folder=folder, base=base.environment)
    try:
        yield kitchen
    finally:
        kitchen.discard()
