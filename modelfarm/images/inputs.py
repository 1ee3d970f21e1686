"""Inputs: what a build is given from outside, for networks as people have them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelfarm.errors import UsageError, nearest

BASES = ("registry", "debootstrap")
PASSED_ON = ("TRT_BASE", "TORCH_INDEX", "PIP_INDEX_URL", "PIP_TRUSTED_HOST", "APT_MIRROR", "NETWORK",
             *(name for word in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY") for name in (word, word.lower())))

_FOREIGN = {"SOURCE_DATE_EPOCH"}  # https://reproducible-builds.org/specs/source-date-epoch/
_NO = {"", "0", "false", "no"}
_YES = {"1", "true", "yes"}


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a build is given: certificates, wheels, mirrors, proxies, and where its base comes from.

    `sources` are the places, by name, of what images clone: an address, or a folder as an absolute path.
    """

    extra_ca: Path | None = None
    wheelhouse: Path | None = None
    tensorrt: Path | None = None
    sources: Mapping[str, str]
    passed_on: Mapping[str, str]
    base: str = ""
    force: bool = False

    @property
    def mirror(self) -> str:
        """Return the mirror of Debian; empty where none was named."""
        return self.passed_on.get("APT_MIRROR", "")

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables of docker-bake.hcl that have a value."""
        files = {"EXTRA_CA": self.extra_ca, "WHEELHOUSE": self.wheelhouse, "TENSORRT_ROOT": self.tensorrt}
        return {**self.passed_on, **{f"SOURCE_{name}": place for name, place in self.sources.items()},
                **{name: str(file) for name, file in files.items() if file}}


def read_inputs(known_sources: Iterable[str], environment: Mapping[str, str] = os.environ) -> Inputs:
    """Read what a build is given; raises UsageError for a value that cannot be meant."""
    return Inputs(
        extra_ca=_certificate(environment.get("EXTRA_CA", "")),
        wheelhouse=_wheelhouse(environment.get("WHEELHOUSE", "")),
        tensorrt=_tensorrt(environment.get("TENSORRT_ROOT", "")),
        sources=dict(_sources(environment, sorted(known_sources))), base=_base(environment.get("BASE", "")),
        passed_on={name: environment[name] for name in PASSED_ON if environment.get(name)},
        force=_switch(environment.get("FORCE", "")))


def known_sources(bake_file: Path) -> set[str]:
    """Return the names of the sources that docker-bake.hcl has a variable for."""
    text = bake_file.read_text(encoding="utf-8") if bake_file.is_file() else ""
    return set(re.findall(r'variable\s+"SOURCE_(\w+)"', text))


def _certificate(value: str) -> Path | None:
    if not value:
        return None
    file = _path("EXTRA_CA", value)
    try:
        text = file.read_bytes()
    except OSError as error:
        raise UsageError(f"EXTRA_CA={value}: {(error.strerror or 'unreadable').lower()}",
                         remedy="name a file of certificates that you can read") from error
    if b"-----BEGIN CERTIFICATE-----" not in text:
        raise UsageError(f"EXTRA_CA={value} holds no certificate in PEM form",
                         remedy="it has no line '-----BEGIN CERTIFICATE-----'; openssl x509 -inform der makes one")
    return file


def _wheelhouse(value: str) -> Path | None:
    if not value:
        return None
    folder = _path("WHEELHOUSE", value)
    if not folder.is_dir():
        raise UsageError(f"WHEELHOUSE={value} is no folder", remedy="name a folder with *.whl files")
    return folder


def _tensorrt(value: str) -> Path | None:
    if not value:
        return None
    folder = _path("TENSORRT_ROOT", value)
    if not (folder / "include" / "NvInferVersion.h").is_file():
        raise UsageError(f"TENSORRT_ROOT={value} has no include/NvInferVersion.h: it is no release of TensorRT",
                         remedy="name the folder TensorRT-8.2.x.y that the archive unpacks to")
    return folder


def _sources(environment: Mapping[str, str], known: list[str]) -> Iterable[tuple[str, str]]:
    for variable, value in environment.items():
        prefix, _, name = variable.partition("SOURCE_")
        if prefix or not name or not value or variable in _FOREIGN:
            continue
        if name not in known:
            hint = nearest(variable, [f"SOURCE_{other}" for other in known])
            raise UsageError(f"{variable}={value}: no image has a source of this name; {hint}")
        yield name, _place(variable, value)


def _place(variable: str, value: str) -> str:
    """Return an address as it is, a folder as an absolute path."""
    if re.match(r"[a-z][a-z+.-]*://|[^/]+@[^/]+:", value):  # as docker-bake.hcl tells them apart
        return value
    folder = _path(variable, value)
    if not folder.is_dir():
        raise UsageError(f"{variable}={value} is neither an address nor a folder that exists",
                         remedy="name a mirror such as https://host/path.git, or a checkout")
    return str(folder)


def _base(value: str) -> str:
    if value and value not in BASES:
        raise UsageError(f"BASE={value} is not known; {nearest(value, BASES)}")
    return value


def _switch(value: str) -> bool:
    if value.lower() not in _NO | _YES:
        raise UsageError(f"FORCE={value}: expected 1 or 0")
    return value.lower() in _YES


def _path(variable: str, value: str) -> Path:
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(f"{variable}={value}: there is no such user") from error
