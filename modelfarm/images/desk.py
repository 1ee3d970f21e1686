"""Desk: orders to build, fetch and publish the images of several targets; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from modelfarm.console import Console
from modelfarm.containers import NAMES
from modelfarm.digest import Digests
from modelfarm.door import complain
from modelfarm.errors import FarmError, MachineError, UsageError
from modelfarm.images.base import make_base, releases
from modelfarm.images.builds import build
from modelfarm.images.transfers import pull, push
from modelfarm.images.workshop import Workshop, open_workshop
from modelfarm.repository import checked_registry
from modelfarm.settings import Settings
from modelfarm.target import Target, choose_target


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What takes the orders; `targets` are all that there are. The name "" means each target that has an image."""

    settings: Settings
    digests: Digests
    targets: Mapping[str, Target]

    def build(self, name: str, console: Console) -> int:
        """Build images; returns the exit code: 0, or that of the first failure."""
        targets = self._containerised(name)  # wrong words are told before the engine is asked
        return _each(self.workshop(), targets, console, build)

    def make_bases(self, console: Console) -> None:
        """Make the Debian that images stand on with debootstrap, for each release that one is built from."""
        workshop = self.workshop()
        wanted = {release for target in self._containerised("") for release in releases(workshop, target)}
        for release in sorted(wanted):
            make_base(workshop, release, console)

    def pull(self, name: str, console: Console) -> int:
        """Fetch published images, those that the lock names; returns the exit code."""
        workshop = self.workshop()
        targets = [target for target in self._containerised(name) if name or target.name in workshop.published]
        if not targets:
            raise MachineError(f"{workshop.lock.name} names no published image yet",
                               remedy="make images builds them here; make push REGISTRY=host:port/path publishes them")
        return _each(workshop, targets, console, pull)

    def push(self, name: str, registry: str, console: Console) -> int:
        """Publish images and write the lock; returns the exit code."""
        checked_registry(registry)
        targets = self._containerised(name)
        return _each(self.workshop(), targets, console,
                     lambda workshop, target, console: push(workshop, target, registry, console))

    def workshop(self) -> Workshop:
        """Return what images are made with; raises MachineError where there is no engine."""
        client = self.settings.runner if self.settings.runner in NAMES else "docker"
        return open_workshop(self.settings.images, self.digests, name=client)

    def _containerised(self, name: str) -> list[Target]:
        if name and not choose_target(self.targets, name).containerised:
            raise UsageError(f"target {name} has no image", remedy=f"it has no Dockerfile in docker/{name}/")
        return [target for target in self.targets.values() if target.containerised and name in ("", target.name)]


def _each(workshop: Workshop, targets: Sequence[Target], console: Console,
          action: Callable[[Workshop, Target, Console], object]) -> int:
    code = 0
    for target in targets:
        with console.section(f"image {target.name}"):
            try:
                action(workshop, target, console)
            except FarmError as error:
                complain(error, f"image {target.name}")
                code = code or error.code
    return code
