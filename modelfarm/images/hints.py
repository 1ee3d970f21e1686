"""Hints: what builders, engines and registries say, turned into one error that says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelfarm.errors import FarmError, MachineError, RegistryError
from modelfarm.images.inputs import Inputs
from modelfarm.repository import host

_SHOWN = 6  # lines of an output in a message
_STAMP = re.compile(r"^(#\d+ )?\d+\.\d+ ")
_TELLING = re.compile(r"error|fatal|^E: |^Err:|fail|refused|timed out|no matching|not (found|resolve)|denied|no space",
                      re.IGNORECASE)
_LOOPBACK = re.compile(r"//([^/@]*@)?(localhost|127\.|\[::1\])")


@dataclass(frozen=True, kw_only=True)
class _Trouble:
    """A kind of failure: how tools say it, and what it is in plain words."""

    said: str
    words: str

    def in_(self, text: str) -> bool:
        return bool(re.search(self.said, text, re.IGNORECASE | re.MULTILINE))


_CERTIFICATE = _Trouble(
    said="certificate.verif|certificate_verify_failed|ssl certificate problem|certificate signed by unknown authority"
         "|certificate is not trusted|self.signed certificate|failed to verify certificate",
    words="a certificate is not trusted inside the build")
_NAME = _Trouble(
    said="could not resolve|couldn't resolve|failure in name resolution|temporary failure resolving|no such host"
         "|name or service not known|name does not resolve|getaddrinfo",
    words="a name of a host is not known inside the build")
_CONNECTION = _Trouble(
    said=r"connection refused|timed out|i/o timeout|network is unreachable|no route to host|connection reset"
         "|failed to connect|could not connect|unable to connect",
    words="a server cannot be reached from inside the build")
_PACKAGE = _Trouble(said="no matching distribution|could not find a version that satisfies",
                    words="a package is in no index and in no folder of wheels")
_DISK = _Trouble(said="no space left on device|disk quota exceeded", words="the engine's disk is full")
_ENGINE = _Trouble(said="cannot connect to the docker daemon|error during connect.*docker|is the docker daemon running",
                   words="the engine has gone")
_NETWORK = (_CERTIFICATE, _NAME, _CONNECTION)
_TROUBLES = (_DISK, _ENGINE, *_NETWORK, _PACKAGE)

# Who fetched: how the output shows it, and the settings that name another place for it.
_PIP = (r"\bpip\b|/simple/|no matching distribution", ("PIP_INDEX_URL", "WHEELHOUSE"))
_TORCH = (r"\btorch\b|\+cpu", ("TORCH_INDEX", "WHEELHOUSE"))
_APT = (r"^E: |^Err:|\bapt-get\b", ("APT_MIRROR",))
_GIT = (r"^fatal: |\bgit clone\b|cloning into", ("SOURCE_",))
_BASE = (r"failed to resolve source metadata|load metadata for|failed to resolve image", ("BASE",))
_WHAT = {
    "EXTRA_CA": "EXTRA_CA=file gives the build your network's certificate",
    "HTTPS_PROXY": "HTTP_PROXY= and HTTPS_PROXY= name a proxy",
    "TORCH_INDEX": "TORCH_INDEX= names an index with CPU builds of PyTorch",
    "PIP_INDEX_URL": "PIP_INDEX_URL= names another package index",
    "WHEELHOUSE": "WHEELHOUSE= a folder of wheels",
    "APT_MIRROR": "APT_MIRROR= names another mirror of Debian",
    "BASE": "BASE=debootstrap makes the base image here",
}


def build_failure(subject: str, output: str, inputs: Inputs, known_sources: Iterable[str], log: Path) -> MachineError:
    """Return why a build failed, with its last words and the settings that would help."""
    said = last_words(output)
    text = "\n".join(said)
    trouble = next((trouble for trouble in _TROUBLES if trouble.in_(text)), None)
    cause = f": {trouble.words}" if trouble else ""
    remedies = [*_settings(trouble, output, text, inputs, sorted(known_sources)), f"the whole output is in {log}"]
    return MachineError(f"{subject} cannot be built{cause}{_listed(said)}", remedy="; ".join(remedies))


def last_words(output: str) -> list[str]:
    """Return the few lines of a build's output that tell why it failed."""
    # Where a step failed, its output stands once more at the end; else only buildx itself says what is wrong.
    block = "".join(re.findall(r"^------\n > [^\n]*:\n(.*?)^------$", output, re.DOTALL | re.MULTILINE)[-1:])
    said = [_STAMP.sub("", line).strip() for line in (block or output).splitlines()]
    lines = [line for line in dict.fromkeys(said) if line]
    telling = [line for line in lines if _TELLING.search(line)]
    own = [] if block else [line for line in telling if line.startswith("ERROR:")]
    return (own or telling or lines)[-_SHOWN:]


def _settings(trouble: _Trouble | None, output: str, text: str, inputs: Inputs, known: Sequence[str]) -> Iterator[str]:
    """Yield what would help, first what the trouble asks for, then what names another place for what was fetched."""
    if trouble is _DISK:
        yield "docker system df shows what takes the room, docker builder prune frees the build cache"
    if trouble is _ENGINE:
        yield "see whether it still runs, then run again: what was built stays in its cache"
    if trouble in _NETWORK or trouble is _PACKAGE or _is(_GIT[0], text):
        yield from _network(trouble, inputs)
        wanted = [name for pattern, names in (_TORCH, _PIP, _APT, _GIT, _BASE) if _is(pattern, text) for name in names]
        for name in dict.fromkeys(wanted):
            yield from _sources(known) if name == "SOURCE_" else [_WHAT[name]]


def _network(trouble: _Trouble | None, inputs: Inputs) -> Iterator[str]:
    if trouble is _CERTIFICATE and inputs.extra_ca:
        yield (f"EXTRA_CA={inputs.extra_ca} does not vouch for that server: "
               "it needs the certificate of whoever signed the server's")
    elif trouble is _CERTIFICATE:
        yield _WHAT["EXTRA_CA"]
    elif trouble in (_NAME, _CONNECTION):
        given = {name: value for name, value in inputs.environment.items() if _LOOPBACK.search(value)}
        if given and inputs.passed_on.get("NETWORK") != "host":
            yield (f"{', '.join(given)} names loopback, which inside a build is the build's own; "
                   "NETWORK=host lends it this machine's, with buildx 0.17 or newer")
        if not any("_proxy" in name.lower() for name in inputs.passed_on):
            yield _WHAT["HTTPS_PROXY"]


def _sources(known: Sequence[str]) -> Iterator[str]:
    if known:
        names = ", ".join(f"SOURCE_{name}=" for name in known)
        yield f"{names} name a mirror, or a checkout, of what is cloned"


def _is(pattern: str, text: str) -> bool:
    return bool(re.search(pattern, text, re.IGNORECASE | re.MULTILINE))


def _listed(lines: Sequence[str]) -> str:
    return "".join(f"\n    {line}" for line in lines)


@dataclass(frozen=True, kw_only=True)
class _Refusal:
    """What a registry can answer: how clients say it, what it is in plain words, and what to do."""

    said: str
    words: str
    remedy: str


_HOST_DOWN = _Refusal(
    said=r"connection refused|no such host|i/o timeout|client\.timeout|network is unreachable|no route to host"
         r"|name resolution|server misbehaving|tls handshake timeout|context deadline exceeded",
    words="{who} cannot be reached", remedy="see that it runs and that its name and port are right")
_GONE = _Refusal(
    said=r"manifest unknown|manifest for .* not found|name unknown|repository .*not known|: not found$"
         r"|repository does not exist|requested image not found|status: 404",
    words="{who} has no {name}",
    remedy="see the name in docker/images.lock; make push writes a new one, make images builds here")
_REFUSALS = (
    _Refusal(said=r"server gave http response to https client",
             words="{who} speaks plain HTTP, which the engine takes from loopback only",
             remedy="give it a certificate, or list {host} under insecure-registries in the engine's daemon.json"),
    _Refusal(said=r"x509|certificate", words="the engine does not trust the certificate of {who}",
             remedy="put the certificate of its authority into /etc/docker/certs.d/{host}/ca.crt"),
    _Refusal(said=r"no basic auth credentials|unauthorized|authentication required|status: 401|access denied"
                  r"|access to the resource is denied|requires 'docker login'|status: 403|forbidden",
             words="{who} wants a login, or does not give this user {name}",
             remedy="{client} login {host}"),
    _Refusal(said=r"filesystem layer verification failed|image verification failed|manifest verification failed"
                  r"|digest mismatch|digests? d(id|o) ?n.t match|does not match.*digest|unexpected commit digest",
             words="{who} gave other bytes for {name} than its digest says",
             remedy="the registry, or something between, changed or damaged it: do not use it; tell who runs it, or "
                    "push the image again"),
    _Refusal(said=r"\beof\b|connection reset|broken pipe|short read|blob unknown|unknown blob|blob upload"
                  r"|content.?length|download failed after attempts|incomplete|unexpected status.*206|closed network",
             words="{who} gave only a part of {name}: the connection ended too early, or the registry lost some of it",
             remedy="run again: what arrived whole is not fetched twice; if it stays, push the image again"),
    _GONE,
    _HOST_DOWN,
    _Refusal(said=r"status:? (code )?5\d\d|internal server error|bad gateway|service unavailable|too many requests"
                  r"|status: 429",
             words="{who} is in trouble", remedy="try again later, or tell who runs it"),
)


def transfer_failure(said: str, reference: str, client: str = "docker") -> FarmError:
    """Return why a push or a pull of `reference` failed: RegistryError, or MachineError where it is the engine."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    words = " ".join(line for line in lines if _TELLING.search(line) or line == lines[-1])
    remedies = ((_ENGINE, "start it, then run again"), (_DISK, f"{client} system df shows what takes the room"))
    for trouble, remedy in remedies:
        if trouble.in_(said):
            return MachineError(f"{reference}: {trouble.words}: {words}", remedy=remedy)
    server = host(reference)
    known = {"who": f"the registry {server}" if server else "the engine's default registry", "host": server,
             "name": reference, "client": client}
    refusal = next((one for one in _REFUSALS if _is(one.said, said)), None)
    if refusal is None:
        return RegistryError(f"{known['who']} and {client} do not agree on {reference}: {words}")
    return RegistryError(f"{refusal.words.format(**known)}: {words}", remedy=refusal.remedy.format(**known))


def is_gone(said: str) -> bool:
    """Say whether a registry answered that it has no such image."""
    return _is(_GONE.said, said)


def is_out_of_reach(said: str) -> bool:
    """Say whether a registry did not answer at all."""
    return _is(_HOST_DOWN.said, said)
