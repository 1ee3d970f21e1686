"""Repositories: names of places in a registry, a host with its port and a path below it."""

from __future__ import annotations

import re

from modelfarm.errors import UsageError

REPOSITORY = r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*"
# A path's parts, as the registries' own specification wants them:
# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
_PART = "[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"


def is_repository(name: str) -> bool:
    """Say whether a name is one that registries take: a host, perhaps a port, and a path in small letters."""
    return bool(re.fullmatch(REPOSITORY, name))


def is_part(name: str) -> bool:
    """Say whether a name can be one part of a repository's path."""
    return bool(re.fullmatch(_PART, name))


def is_tag(name: str) -> bool:
    """Say whether a name can be a tag."""
    return bool(re.fullmatch(_TAG, name))


def host(reference: str) -> str:
    """Return the host, with its port, of a name; empty where it names none."""
    first, slash, _ = reference.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else ""


def checked_registry(registry: str, command: str = "make push") -> str:
    """Return what REGISTRY= names without a slash at its end; raises UsageError where no registry has such a name."""
    name = registry.rstrip("/")
    if not name:
        raise UsageError(f"{command} needs a registry", remedy="say REGISTRY=host:port/path")
    if "://" in name:
        raise UsageError(f"REGISTRY={registry}: a name, not an address",
                         remedy=f"say REGISTRY={name.partition('://')[2] or 'host:port/path'}")
    if not is_repository(name) or "@" in name:
        lower = name.lower()
        better = f"say REGISTRY={lower}" if is_repository(lower) else "say REGISTRY=host:port/path, in small letters"
        raise UsageError(f"REGISTRY={registry} is no name that a registry takes", remedy=better)
    if not host(f"{name}/image"):
        raise UsageError(f"REGISTRY={registry} names no host", remedy=f"say REGISTRY=host:port/{name}")
    return name
