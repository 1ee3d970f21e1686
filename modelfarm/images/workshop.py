"""The workshop: the client, the folders and the settings that images are made with."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelfarm import toolchain
from modelfarm.command import output
from modelfarm.containers import Client, Image, find_client
from modelfarm.digest import Digests
from modelfarm.errors import MachineError
from modelfarm.images.inputs import Inputs, known_sources, read_inputs
from modelfarm.pins import LOCK, BasePin, ImagePin, published_lock, read_pins
from modelfarm.target import TOOLCHAINS, Target

BAKE = "docker-bake.hcl"  # below docker/


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What images are made with.

    `folder` keeps their descriptions and the logs of their builds; `lock` names the published ones.
    """

    client: Client
    digests: Digests
    folder: Path
    inputs: Inputs
    lock: Path
    toolchains: Path = TOOLCHAINS

    @property
    def bake_file(self) -> Path:
        """Return the file that names every image."""
        return self.toolchains / BAKE

    @property
    def bases_lock(self) -> Path:
        """Return the lock file of base images, which belongs to the toolchains."""
        return self.toolchains / LOCK

    @property
    def bases(self) -> Mapping[str, BasePin]:
        """Read the base images by release; raises RecipeError where the lock file has problems."""
        return read_pins(self.bases_lock).bases

    @property
    def published(self) -> Mapping[str, ImagePin]:
        """Read the published images by target; raises RecipeError where the lock file has problems."""
        return read_pins(self.lock).images

    def name(self, target: Target) -> str:
        """Return the image's name in the engine."""
        return toolchain.local_name(target, self.digests)

    def sources(self, target: Target) -> str:
        """Return the digest over the files that go into the image."""
        return toolchain.sources(target, self.digests)

    def image(self, target: Target) -> Image | None:
        """Return the image of this checkout; None where the engine holds none."""
        return self.client.image(self.name(target))

    def describe(self, image: Image) -> toolchain.Description:
        """Return what an image says of itself."""
        return toolchain.describe(self.client, image, self.folder)

    def log(self, name: str) -> Path:
        """Return a new and empty log; raises MachineError where none can be written."""
        file = self.folder / f"{name}.log"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"")
        except OSError as error:
            raise MachineError(f"{file} cannot be written: {error.strerror}",
                               remedy="MODELFARM_CACHE= names another folder for logs and downloads") from error
        return file


def open_workshop(folder: Path, digests: Digests, *, name: str = "docker", toolchains: Path = TOOLCHAINS,
                  environment: Mapping[str, str] = os.environ) -> Workshop:
    """Find the client and read what it is given; `folder` is for descriptions and logs.

    Raises UsageError for values that cannot be meant, MachineError where the engine does not answer.
    """
    inputs = read_inputs(known_sources(toolchains / BAKE), environment)
    client = find_client(name)
    if client is None:
        raise MachineError(f"images need {name}, which is not on the PATH",
                           remedy=f"install it, or name its client with {name.upper()}=; RUNNER=venv needs none")
    if problem := client.problem():
        raise MachineError(f"{name} does not answer: {problem}",
                           remedy="start its engine, and see that this user may use it; make doctor looks closer")
    return Workshop(client=client, digests=digests, folder=folder, inputs=inputs, toolchains=toolchains,
                    lock=published_lock(toolchains, environment))


def revision(toolchains: Path) -> str:
    """Return the commit of a folder; empty where git knows none, or where the folder was changed since."""
    if _git(toolchains, "status", "--porcelain", "--", "."):
        return ""
    return _git(toolchains, "rev-parse", "--verify", "HEAD")


def repository(toolchains: Path) -> str:
    """Return where a folder was cloned from, without any password; empty where that is no address."""
    address = _git(toolchains, "remote", "get-url", "origin")
    if re.match(r"[\w.-]+@[\w.-]+:", address):
        return address
    found = re.fullmatch(r"(https?|ssh)://([^/@]*@)?(.+)", address)
    return f"{found[1]}://{found[3]}" if found else ""


def _git(folder: Path, *words: str) -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    answer = output([git, "-C", folder, *words])
    return answer.out.strip() if answer.code == 0 else ""
