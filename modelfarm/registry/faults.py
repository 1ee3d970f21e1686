"""Faults: what can go wrong on the way to a registry, each kind with its own words and remedy."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping

from urllib3 import exceptions

from modelfarm.errors import RegistryError

_TROUBLE = {429, 500, 502, 503, 504}
_AGAIN = "run again; what arrived whole is not sent twice"
_LONGEST = 300  # letters of what a registry says that a message repeats


class UnreachableError(RegistryError):
    """Nobody answers at all."""


class CutError(RegistryError):
    """The connection ended in the middle, or nothing more came; trying again may help."""


class TroubleError(RegistryError):
    """The registry answers that it cannot now; `pause` are the seconds that it asks for."""

    def __init__(self, message: str, *, remedy: str = "", pause: float = 0.0) -> None:
        super().__init__(message, remedy=remedy)
        self.pause = pause


class MissingError(RegistryError):
    """The registry has no such thing."""


class RefusedError(RegistryError):
    """The registry does not take what it was sent; `code` is its own name for the reason."""

    def __init__(self, message: str, *, remedy: str = "", reason: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason


class UntrustedError(RegistryError):
    """The registry's certificate is not one that this machine trusts."""


def of_connection(host: str, error: exceptions.HTTPError) -> RegistryError:
    """Return what a failed request means."""
    cause = getattr(error, "reason", None) or error
    if isinstance(cause, exceptions.ProxyError):
        return UnreachableError(f"the registry {host} cannot be reached through the proxy: {cause}",
                           remedy=f"see HTTPS_PROXY; NO_PROXY={host.partition(':')[0]} goes without")
    if isinstance(cause, exceptions.NewConnectionError | exceptions.ConnectTimeoutError):
        return UnreachableError(f"the registry {host} cannot be reached: {_words(cause)}",
                           remedy="see that it runs and that its name and port are right")
    if isinstance(cause, exceptions.SSLError | ssl.SSLError):
        return _of_tls(host, cause)
    if isinstance(cause, exceptions.ReadTimeoutError):
        return CutError(f"the registry {host} says nothing any more", remedy=_AGAIN)
    return CutError(f"the connection to the registry {host} ended too early: {_words(cause)}", remedy=_AGAIN)


def _of_tls(host: str, error: Exception) -> RegistryError:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return UntrustedError(f"the certificate of the registry {host} is not trusted: {_words(error)}",
                         remedy=f"EXTRA_CA=file names the certificate of its authority, or put it into "
                                f"/etc/docker/certs.d/{host}/ca.crt")
    return CutError(f"the registry {host} does not speak TLS as it should: {_words(error)}",
               remedy="plain HTTP is only spoken on loopback; give the registry a certificate")


def of_answer(host: str, name: str, status: int, headers: Mapping[str, str], body: bytes) -> RegistryError:
    """Return what an answer that is no success means; `name` is what was asked for."""
    who, said = f"the registry {host}", _said(body) or f"status {status}"
    if status in (401, 403):
        return RegistryError(f"{who} wants a login, or does not give this user {name}: {said}",
                             remedy=f"docker login {host}")
    if status == 404:
        return MissingError(f"{who} has no {name}: {said}",
                            remedy="see MODEL=, VARIANT= and REGISTRY=; make publish puts it there")
    if status in _TROUBLE:
        return TroubleError(f"{who} is in trouble: {said}", remedy="try again later, or tell who runs it",
                       pause=_seconds(headers.get("Retry-After", "")))
    return RefusedError(f"{who} does not take {name}: {said}", remedy="see its log, or tell who runs it",
                   reason=_reason(body))


def _words(error: BaseException) -> str:
    """Return what is wrong in the words of the system, without those of the libraries around it."""
    inner: BaseException | None = error
    while inner:
        error = inner
        inner = error.__cause__ or next((each for each in error.args if isinstance(each, BaseException)), None)
    return str(getattr(error, "verify_message", "") or getattr(error, "strerror", "") or error)[:_LONGEST]


def _entries(body: bytes) -> list[Mapping[str, str]]:
    """Return the errors as the specification has them: a code, and a message for people."""
    try:
        entries = json.loads(body)["errors"]
        return [entry for entry in entries if isinstance(entry, dict)]
    except (ValueError, TypeError, LookupError):
        return []


def _said(body: bytes) -> str:
    known = [f"{entry.get('message') or entry.get('code')}" for entry in _entries(body)]
    return "; ".join(known)[:_LONGEST] or body.decode("utf-8", "replace").strip()[:_LONGEST]


def _reason(body: bytes) -> str:
    return next((str(entry.get("code", "")) for entry in _entries(body)), "")


def _seconds(text: str) -> float:
    return min(float(text), 30.0) if text.isdecimal() else 0.0


