"""Container clients: docker and podman, asked over their command lines."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from modelfarm.command import Answer, output, printable
from modelfarm.errors import MachineError

NAMES = ("docker", "podman")


class ClientError(MachineError):
    """The client refused what it was asked; `said` are its own words."""

    def __init__(self, message: str, *, remedy: str = "", said: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.said = said


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image as the engine knows it.

    `identity` is the digest of its configuration, the same on every machine; `size` is in bytes, uncompressed;
    `repositories` are the names with digests under which registries know it.
    """

    identity: str
    labels: Mapping[str, str]
    size: int
    architecture: str
    repositories: tuple[str, ...]


@dataclass(frozen=True)
class Client:
    """One client program, and through it an engine."""

    name: str
    program: str

    def ask(self, *words: str | Path, seconds: float = 60.0) -> str:
        """Return what the client prints; raises ClientError where it refuses."""
        answer = self._answer(words, seconds)
        if answer.code:
            said = answer.err.strip() or answer.out.strip()
            raise ClientError(f"{printable([self.program, *words])} ended with {answer.code}: {said}", said=said)
        return answer.out.strip()

    def problem(self) -> str:
        """Say why the engine does not answer; empty where it does."""
        # Podman has no server of its own: only its client can be asked.
        field = "{{.Server.Version}}" if self.name == "docker" else "{{.Client.Version}}"
        try:
            self.ask("version", "--format", field, seconds=20)
        except MachineError as error:
            return error.said if isinstance(error, ClientError) else error.message
        return ""

    def image(self, reference: str, seconds: float = 60.0) -> Image | None:
        """Return an image that the engine holds, None where it holds none of that name.

        Raises ClientError where the engine does not answer.
        """
        words = ("image", "inspect", reference)
        answer = self._answer(words, seconds)
        if answer.code == 0:
            return _image(json.loads(answer.out)[0])
        said = answer.err.strip()
        if "no such image" in said.lower() or "image not known" in said:
            return None
        raise ClientError(f"{printable([self.program, *words])} ended with {answer.code}: {said}", said=said)

    @cached_property
    def rootless(self) -> bool:
        """Say whether the engine runs as an ordinary user, so that root inside a container is that user outside."""
        if self.name == "podman":
            return self.ask("info", "--format", "{{.Host.Security.Rootless}}") == "true"
        return "rootless" in self.ask("info", "--format", "{{.SecurityOptions}}")

    def _answer(self, words: tuple[str | Path, ...], seconds: float) -> Answer:
        return output([self.program, *words], seconds=seconds)


def _image(entry: Mapping[str, Any]) -> Image:
    identity: str = entry["Id"]
    return Image(identity=identity if identity.startswith("sha256:") else f"sha256:{identity}",
                 labels=entry["Config"].get("Labels") or {}, size=entry["Size"], architecture=entry["Architecture"],
                 repositories=tuple(sorted(entry.get("RepoDigests") or ())))


def find_client(name: str) -> Client | None:
    """Return the client that DOCKER= or PODMAN= names, or the one on the PATH; None where there is none."""
    program = shutil.which(os.environ.get(name.upper()) or name)
    return Client(name, program) if program else None
