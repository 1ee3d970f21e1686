"""Toy toolchains as images: a shell of this machine for a base, and a script that describes and tests itself."""

from __future__ import annotations

import io
import json
import re
import secrets
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from modelfarm.containers import Client
from modelfarm.digest import Digests, key_of
from modelfarm.images.workshop import Workshop, open_workshop
from modelfarm.pins import BasePin, ImagePin, Pins, change_pins, today
from modelfarm.target import Target, read_target
from tests.images.registry import Published, Registry, packed
from tests.runners.toolchains import TARGET

TOY = """\
#!/bin/sh
case "$1" in
--describe) while read -r line; do echo "$line"; done < /toy/description.json ;;
--self-test) . /toy/self_test.sh ;;
*) echo "a toy does nothing with $*"; exit 64 ;;
esac
"""

DOCKERFILE = """\
FROM debian
COPY toy.sh description.json self_test.sh /toy/
{steps}
ENTRYPOINT ["/toy/toy.sh"]
"""

# The variables of docker/docker-bake.hcl, with a release and a source of the toy's own.
BAKE = """\
variable "DEBIAN_{RELEASE}" {{ default = "" }}
variable "BASE_{RELEASE}" {{ default = "" }}
variable "REVISION" {{ default = "" }}
variable "REPOSITORY" {{ default = "" }}
variable "DIGESTS" {{ default = "{{}}" }}
variable "EXTRA_CA" {{ default = "" }}
variable "WHEELHOUSE" {{ default = "" }}
variable "NETWORK" {{ default = "" }}
variable "APT_MIRROR" {{ default = "" }}
variable "SOURCE_WIDGET" {{ default = "" }}

function "given" {{
  params = [value]
  result = notequal(value, "") ? value : null
}}

target "{name}" {{
  context  = "docker/{name}"
  network  = given(NETWORK)
  contexts = {{debian = DEBIAN_{RELEASE}, wheels = notequal(WHEELHOUSE, "") ? WHEELHOUSE : "docker/{name}"}}
  secret   = notequal(EXTRA_CA, "") ? ["id=extra_ca,src=${{EXTRA_CA}}"] : []
  args     = {{SOURCE_WIDGET = given(SOURCE_WIDGET), APT_MIRROR = given(APT_MIRROR)}}
  labels   = {{
    "modelfarm.target"  = "{name}"
    "modelfarm.sources" = try(jsondecode(DIGESTS)["{name}"].sources, "")
    "modelfarm.lock"    = try(jsondecode(DIGESTS)["{name}"].lock, "")
    "modelfarm.base"    = BASE_{RELEASE}
    "org.opencontainers.image.revision" = REVISION
    "org.opencontainers.image.source"   = REPOSITORY
  }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A toolchains folder with one target, whose name no other test has."""

    folder: Path
    client: Client
    name: str = field(default_factory=lambda: f"toy{secrets.token_hex(4)}")

    @property
    def release(self) -> str:
        return f"{self.name}base"

    @property
    def toolchains(self) -> Path:
        return self.folder / "docker"

    @property
    def target(self) -> Target:
        return read_target(self.toolchains / self.name / "target.yaml")

    def workshop(self, **environment: str) -> Workshop:
        return open_workshop(self.folder / "cache", Digests(self.folder / "cache"), toolchains=self.toolchains,
                             environment=environment)

    def write(self, *, steps: str = "", self_test: str = "echo all is well", content: str = "") -> None:
        """Write the toolchain: the steps of its Dockerfile, its self-test, and what it says of its content."""
        place = self.toolchains / self.name
        place.mkdir(parents=True, exist_ok=True)
        description = {"content": content or key_of(self.name), "python": "3.11.2",
                       "packages": {"toy": {"version": "1"}}}
        for name, text in {
                "Dockerfile": DOCKERFILE.format(steps=steps), "toy.sh": TOY, "self_test.sh": f"{self_test}\n",
                "description.json": f"{json.dumps(description)}\n", "requirements.txt": "toy==1\n",
                "converter.py": "", "target.yaml": TARGET.format(python="3.11")}.items():
            (place / name).write_text(text)
        (place / "toy.sh").chmod(0o755)
        (self.toolchains / "docker-bake.hcl").write_text(BAKE.format(name=self.name, RELEASE=self.release.upper()))
        pin = BasePin(image="base.invalid/debian", tag="slim", digest=f"sha256:{'0' * 64}", date="2026-01")
        change_pins(self.toolchains / "images.lock", lambda pins: Pins(bases={self.release: pin}, images=pins.images))

    def image_in(self, registry: Registry, *, layer: Mapping[str, tuple[int, bytes]], architecture: str = "amd64",
                 labels: Mapping[str, str] | None = None) -> Published:
        """Publish an image of this toy that no engine has seen, and return what it is known by."""
        place = self.toolchains / self.name
        files = {f"toy/{name}": (0o755, (place / name).read_bytes())
                 for name in ("toy.sh", "description.json", "self_test.sh")}
        sources = self.workshop().sources(self.target)
        config = {"Entrypoint": ["/toy/toy.sh"],
                  "Labels": labels or {"modelfarm.target": self.name, "modelfarm.sources": sources}}
        return registry.publish(f"farm/{self.name}", sources[:16], packed({**layer, **files}), config, architecture)

    def pin(self, published: Published, *, host: str = "", **changed: str) -> ImagePin:
        """Name a published image in images.lock."""
        _, _, path = published.image.partition("/")
        values = {"image": f"{host}/{path}" if host else published.image, "identity": published.identity,
                  "sources": self.workshop().sources(self.target), "content": key_of(self.name),
                  "architecture": "amd64", "date": today(), **changed}
        pin = ImagePin(size=1000, **values)
        change_pins(self.toolchains / "images.lock", lambda pins: Pins(bases=pins.bases, images={self.name: pin}))
        return pin

    def images(self) -> list[str]:
        """Return all names that the engine has for images of this toy."""
        rows = self.client.ask("image", "ls", "--all", "--digests", "--format", "{{.Repository}}:{{.Tag}}@{{.Digest}}")
        return sorted(row for row in rows.splitlines() if self.name in row)

    def discard(self) -> None:
        """Take all of this toy's images out of the engine."""
        for row in self.images():
            name, _, digest = row.partition("@")
            repository = name.rpartition(":")[0]
            for reference in (name, f"{repository}@{digest}"):
                if "<none>" not in reference:
                    subprocess.run([self.client.program, "image", "rm", "--force", reference], capture_output=True,
                                   check=False)


@contextmanager
def a_toy(folder: Path, client: Client, root: Path | None = None) -> Iterator[Toy]:
    """Yield a toy whose base is a tar file as `make base` would name it; its images are gone afterwards."""
    toy = Toy(folder=folder, client=client)
    try:
        if root:
            client.ask("import", "--change", "LABEL modelfarm.base=toys", root, f"modelfarm/debian:{toy.release}")
        toy.write()
        yield toy
    finally:
        toy.discard()


def files_of(*programs: str | Path) -> dict[str, tuple[int, bytes]]:
    """Return programs of this machine and the libraries that they load, by their places."""
    found: dict[str, tuple[int, bytes]] = {}
    for program in programs:
        listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
        for file in (str(program), *re.findall(r"(/\S+) \(0x", listed)):
            path = Path(file)
            found[file.lstrip("/")] = (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
    return found


def shell() -> dict[str, tuple[int, bytes]]:
    """Return the smallest system that runs a script."""
    files = files_of(Path("/bin/sh").resolve())
    files["bin/sh"] = files.pop(str(Path("/bin/sh").resolve()).lstrip("/"))
    return files


def write_root(file: Path, files: Mapping[str, tuple[int, bytes]]) -> Path:
    file.write_bytes(packed({"tmp/.keep": (0o644, b""), **files}))
    return file


def write_workplace(file: Path) -> Path:
    """Write a root with a shell, git and this Python with pip: what builds fail with."""
    git = shutil.which("git")
    helpers = [Path(_said("git", "--exec-path")) / f"git-remote-{name}" for name in ("http", "https")] if git else []
    prefix = Path(sys.base_prefix)
    python = prefix / "bin" / f"python3.{sys.version_info[1]}"
    programs = [python, *([git] if git else []), *(file for file in helpers if file.exists())]
    libraries = [file for file in (prefix / "lib").rglob("*.so") if "lib-dynload" in file.parts]
    files = {**shell(), **files_of(*programs, *libraries)}
    files["usr/bin/python3"] = (0o755, f'#!/bin/sh\nexec {python} "$@"\n'.encode())
    if helpers:
        files["usr/bin/git"] = files.pop(str(git).lstrip("/"))
    with tarfile.open(write_root(file, files), "a") as archive:
        standard = prefix / "lib" / f"python3.{sys.version_info[1]}"
        for path in sorted(standard.rglob("*")):
            if _wanted(path.relative_to(standard).parts) and path.is_file():
                archive.add(path, arcname=str(path).lstrip("/"), recursive=False)
    return file


def _wanted(parts: Iterable[str]) -> bool:
    *folders, _ = parts
    if folders[:1] == ["site-packages"]:
        return folders[1:2] == ["pip"] and "__pycache__" not in folders
    return not {"__pycache__", "test", "tests", "idlelib", "tkinter", "ensurepip", "lib-dynload"} & set(folders)


def _said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def words_of(stream: io.StringIO) -> list[str]:
    return [" ".join(line.split()) for line in stream.getvalue().splitlines()]
