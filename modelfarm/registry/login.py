"""Login: what docker, podman or oras were told of a registry, and the answers to its challenges.

Files: https://docs.docker.com/reference/cli/docker/login/#credential-stores and containers-auth.json(5).
Challenges: https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelfarm.command import output
from modelfarm.errors import MachineError

_DOCKER_HUB = "https://index.docker.io/v1/"  # the name under which docker keeps the login of docker.io
_NOT_A_USER = "<token>"  # the name under which a credential helper keeps an identity token
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A user and a secret, or an identity token; all empty: nobody logged in."""

    user: str = ""
    secret: str = ""
    token: str = ""

    @property
    def known(self) -> bool:
        """Return whether somebody logged in."""
        return bool(self.user or self.token)

    @property
    def basic(self) -> str:
        """Return the header of basic authentication."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """What a registry wants to see: the scheme, and where and for what a token is to be had."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def read_challenge(header: str) -> Challenge:
    """Read a WWW-Authenticate header."""
    scheme, _, rest = header.strip().partition(" ")
    named = dict(_PARAMETER.findall(rest))
    return Challenge(scheme=scheme.lower(), realm=named.get("realm", ""), service=named.get("service", ""),
                     scope=named.get("scope", ""))


def credentials_of(host: str, environment: Mapping[str, str] = os.environ) -> Credentials:
    """Return what is kept for a host; raises MachineError where a file or a credential helper fails."""
    for file in _files(environment):
        try:
            document = json.loads(file.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise MachineError(f"{file} cannot be read: {error}", remedy=f"docker login {host} writes it") from error
        if isinstance(document, dict) and (found := _in(document, host, file)).known:
            return found
    return Credentials()


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    if own := environment.get("REGISTRY_AUTH_FILE"):
        yield Path(own)
    if docker := environment.get("DOCKER_CONFIG"):
        yield Path(docker) / "config.json"
    elif home := environment.get("HOME"):
        yield Path(home) / ".docker" / "config.json"
    if podman := environment.get("XDG_RUNTIME_DIR"):
        yield Path(podman) / "containers" / "auth.json"


def _in(document: Mapping[str, Any], host: str, file: Path) -> Credentials:
    entries = _table(document.get("auths"))
    named = _DOCKER_HUB if host == "docker.io" else host
    for name in (named, f"https://{named}", f"http://{named}", f"https://{named}/v1/"):
        if (found := _entry(_table(entries.get(name)), name, file)).known:
            return found
    helper = _table(document.get("credHelpers")).get(named) or document.get("credsStore")
    return _helped(str(helper), named) if helper else Credentials()


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _entry(entry: Mapping[str, Any], host: str, file: Path) -> Credentials:
    if entry.get("identitytoken"):
        return Credentials(token=str(entry["identitytoken"]))
    try:
        user, _, secret = base64.b64decode(str(entry.get("auth", "")), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise MachineError(f"{file} holds no login for {host} that can be read: {error}",
                           remedy=f"docker login {host} writes it anew") from error
    return Credentials(user=user, secret=secret.rstrip("\0"))


def _helped(helper: str, host: str) -> Credentials:
    """Ask a credential helper: https://github.com/docker/docker-credential-helpers."""
    answer = output([f"docker-credential-{helper}", "get"], given=host.encode(), seconds=30)
    if answer.code:
        if "not found" in answer.out + answer.err:
            return Credentials()
        raise MachineError(f"docker-credential-{helper} failed: {(answer.out + answer.err).strip()}",
                           remedy=f"unlock it, or docker login {host}")
    try:
        told = json.loads(answer.out)
        user, secret = str(told["Username"]), str(told["Secret"])
    except (ValueError, TypeError, LookupError) as error:
        raise MachineError(f"docker-credential-{helper} gave no credentials: {error}") from error
    return Credentials(token=secret) if user == _NOT_A_USER else Credentials(user=user, secret=secret)
