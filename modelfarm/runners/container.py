"""The container runner: each job in a container of its own, through the command line of docker or podman."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from modelfarm import pins, toolchain
from modelfarm.command import Ended, run
from modelfarm.console import Console
from modelfarm.containers import Client, ClientError, Image
from modelfarm.digest import Digests
from modelfarm.errors import MachineError
from modelfarm.gpu import Gpu
from modelfarm.runners import sandbox
from modelfarm.runners.ending import judged
from modelfarm.runners.owner import Owner
from modelfarm.target import Target

JOB_LABEL = "modelfarm.job"
OWNER_LABEL = "modelfarm.owner"
KEEP = "KEEP_CONTAINER"

_MISSING = "no such container"  # how both say it, in small letters
_LATE = 3.0  # seconds that an engine may take to make a container whose client is gone
_PAUSE = 0.1


@dataclass(kw_only=True)
class _Container:
    """A container while its job runs; `settled` where the client has ended by itself."""

    name: str
    settled: bool = False


@dataclass(frozen=True, kw_only=True)
class ContainerRunner:
    """Runs jobs in the images of one engine; what images say of themselves is kept in the folder `memory`.

    Containers get `gpu`, and no other one.
    """

    client: Client
    digests: Digests
    memory: Path
    gpu: Gpu | None = None
    _images: dict[str, Image] = field(default_factory=dict, repr=False, compare=False)
    _swept: list[str] = field(default_factory=list, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Return docker or podman."""
        return self.client.name

    def image(self, target: Target) -> Image:
        """Return the image of a target, the same for as long as this runner lives; raises MachineError without one."""
        if target.name not in self._images:
            self._images[target.name] = self._find(target)
        return self._images[target.name]

    def _find(self, target: Target) -> Image:
        if not target.containerised:
            raise MachineError(f"the {target.name} toolchain has no Dockerfile, so {self.name} cannot run it",
                               remedy="RUNNER=venv runs it in a virtual environment")
        name = toolchain.local_name(target, self.digests)
        try:
            found = self.client.image(name)
        except ClientError as error:
            raise MachineError(f"{self.name} does not answer: {error.said}",
                               remedy=f"start it, see make doctor; RUNNER=venv does without {self.name}") from error
        if found is None:
            raise MachineError(f"{self.name} has no image {name}, which is the {target.name} toolchain of this "
                               "checkout", remedy=self._ways(target))
        return found

    def _ways(self, target: Target) -> str:
        published = pins.read_pins(pins.published_lock(target.folder.parent)).images.get(target.name)
        ways = [f"make images TARGET={target.name} builds it"]
        if published and published.sources == toolchain.sources(target, self.digests):
            ways.append("make pull fetches it")
        if target.environment != "image":
            ways.append("RUNNER=venv does without")
        return "; ".join(ways)

    def identity(self, target: Target, digests: Digests) -> dict[str, Any]:
        """Return the image by its content, which does not change where it is built again to the same."""
        return {"image": toolchain.describe(self.client, self.image(target), self.memory).content}

    def provenance(self, target: Target, digests: Digests) -> dict[str, Any]:
        """Return the image's names by digest, and what it was made from."""
        image = self.image(target)
        return {"runner": self.name, "image": image.identity, "repositories": _published(image, target),
                **{name: image.labels.get(f"modelfarm.{name}", "") for name in ("base", "lock", "sources")}}

    def packages(self, target: Target) -> Mapping[str, str]:
        """Return the packages that the image says it has."""
        return toolchain.describe(self.client, self.image(target), self.memory).packages

    def prepare(self, target: Target, console: Console, on_tick: Callable[[], None] = lambda: None) -> None:
        """Make sure of the image, and remove what killed farms left; raises MachineError with the ways to get it."""
        self.image(target)
        if not self._swept:  # once is enough: what this farm starts, it ends itself
            self._swept.append(self.name)
            self.sweep()
        if os.environ.get(KEEP):
            seen = f"{self.name} ps --all --filter label={JOB_LABEL}=kept"
            console.note(f"{KEEP}: the container stays, see {seen}; {self.name} logs, inspect and rm take its name")

    def run(self, target: Target, folder: Path, log: Path, on_tick: Callable[[], None], seconds: float) -> Ended:
        """Run jobkit on a job folder in a container, which is gone afterwards, however it ends.

        Raises MachineError where the engine cannot run it, or dies meanwhile.
        """
        image = self.image(target)
        keep = bool(os.environ.get(KEEP))
        with self._container(target, keep=keep) as container:
            user = f"{os.getuid()}:{os.getgid()}"
            options = chain(_naming(container.name, keep=keep),
                            sandbox.options(self.client, target, str(folder.absolute()), user, self.gpu))
            ended = run([self.client.program, "run", *chain.from_iterable(options), image.identity, sandbox.JOB],
                        log=log, seconds=seconds, on_tick=on_tick)
            container.settled = not ended.timed_out
            return ended if ended.timed_out else judged(self.name, target, ended, self._state(container.name), log)

    @contextmanager
    def _container(self, target: Target, *, keep: bool) -> Iterator[_Container]:
        """Give a name of its own to a container, and remove what has it in the end, or only stop it."""
        container = _Container(name=f"modelfarm-{target.name}-{os.getpid()}-{os.urandom(4).hex()}")
        try:
            yield container
        finally:
            with suppress(MachineError):  # if the engine is gone, the next start sweeps
                if keep:
                    self.client.ask("kill", container.name)
                else:
                    self._remove(container)

    def _remove(self, container: _Container) -> None:
        # A client that was ended while it asked for a container leaves the engine to make it, a moment later.
        deadline = time.monotonic() + (0 if container.settled else _LATE)
        while not self._removed(container.name) and time.monotonic() < deadline:
            time.sleep(_PAUSE)

    def _removed(self, name: str) -> bool:
        """Remove a container; return whether there was one, of which docker and podman print the name."""
        try:
            return bool(self.client.ask("rm", "--force", "--volumes", name))
        except ClientError as error:
            if _MISSING in error.said.lower():
                return False
            raise

    def _state(self, name: str) -> Mapping[str, Any]:
        """Return what the engine knows of the container's end; nothing where it knows no such container."""
        try:
            state: Mapping[str, Any] = json.loads(self.client.ask("inspect", "--type", "container", "--format",
                                                                  "{{json .State}}", name))
        except ClientError as error:
            if _MISSING in error.said.lower():
                return {}
            raise MachineError(f"{self.name} was there when the job began, and is no more: {error.said}",
                               remedy="look why the engine ended, start it and run the job again") from error
        return state

    def script(self, target: Target) -> str:
        """Return shell lines that run jobkit on the job folder "$JOB" in the same image with the same limits."""
        image = self.image(target)
        return sandbox.script(self.client, target, next(iter(_published(image, target)), image.identity), self.gpu)

    def sweep(self) -> list[str]:
        """Remove the containers that dead farms of this machine left; return their names, never raise."""
        removed = []
        with suppress(MachineError):
            listed = self.client.ask("ps", "--all", "--filter", f"label={JOB_LABEL}=1", "--format", "{{.Names}}")
            for name in listed.split():
                with suppress(MachineError):  # somebody else was first
                    if self._abandoned(name) and self._removed(name):
                        removed.append(name)
        return removed

    def _abandoned(self, name: str) -> bool:
        text = self.client.ask("inspect", "--type", "container", "--format",
                               f'{{{{.State.Running}}}} {{{{index .Config.Labels "{OWNER_LABEL}"}}}}', name)
        running, _, label = text.partition(" ")
        owner = Owner.parse(label)
        return owner is not None and owner.dead(running=running == "true")


def _naming(name: str, *, keep: bool) -> Iterator[tuple[str, ...]]:
    """Yield the options that give a container its name, and by which it is found where its farm died."""
    yield "--name", name
    yield "--label", f"{JOB_LABEL}={'kept' if keep else 1}"
    yield "--label", f"{OWNER_LABEL}={Owner.this()}"
    if not keep:
        yield "--log-driver", "none"  # the output is in the job's own log


def _published(image: Image, target: Target) -> list[str]:
    """Return the names by digest under which registries have an image; podman also gives one to what is only local."""
    local = {f"{prefix}modelfarm/{target.name}" for prefix in ("", "localhost/", "docker.io/")}
    return [name for name in image.repositories if name.partition("@")[0] not in local]
