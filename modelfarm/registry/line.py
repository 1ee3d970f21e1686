"""Line: HTTP to one repository of a registry, with its login, its certificates and second attempts.

Protocol: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
"""

from __future__ import annotations

import json
import os
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3 import exceptions

from modelfarm.errors import RegistryError, UsageError
from modelfarm.registry import faults
from modelfarm.registry.login import Challenge, Credentials, credentials_of, read_challenge

ATTEMPTS = 4
_PAUSE = 0.3  # seconds before the second attempt; each further one waits twice as long
_LARGEST = 16 << 20  # bytes of an answer that is held in memory
_CERTIFICATES = Path("/etc/docker/certs.d")  # where docker looks, too
_SERVERS = {"docker.io": "registry-1.docker.io"}  # hosts whose registry has another name
_NO_RETRIES = urllib3.Retry(total=None, connect=0, read=0, redirect=5, status=0, other=0,
                            respect_retry_after_header=False)

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer: `url` is what was asked for, which a Location is relative to."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def location(self) -> str:
        """Return where the answer points to; empty where it points nowhere."""
        place = self.headers.get("Location", "")
        return urljoin(self.url, place) if place else ""

    @property
    def next_page(self) -> str:
        """Return where the rest of a long list is to be had (RFC 8288); empty at its end."""
        place, _, relation = self.headers.get("Link", "").partition(";")
        return urljoin(self.url, place.strip()[1:-1]) if relation.replace(" ", "") == 'rel="next"' else ""


class Line:
    """A line to a repository: `host` with its port, and a path below it."""

    def __init__(self, repository: str, *, environment: Mapping[str, str] = os.environ, patience: float = 60.0) -> None:
        """Open no connection yet; `patience` is how many seconds a registry may say nothing."""
        self.repository = repository
        self.host, _, self.path = repository.partition("/")
        self._environment = environment
        self._timeout = urllib3.Timeout(connect=10.0, read=patience)
        self._authorization = ""
        self._pools: dict[str, urllib3.PoolManager] = {}

    # Asking

    def ask(self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None,
            name: str = "", known: tuple[int, ...] = ()) -> Reply:
        """Ask for a path of the repository, or an address, and return the answer where it is a success.

        Answers with a status of `known` are returned, too; `name` is what is asked for, in messages. Raises
        RegistryError for each other.
        """
        with self._answered(method, path, body, headers or {}) as response:
            reply = Reply(url=self._url(path), status=response.status, headers=response.headers,
                          body=self._bounded(response))
        if not 200 <= reply.status < 300 and reply.status not in known:
            raise faults.of_answer(self.host, name or self.repository, reply.status, reply.headers, reply.body)
        return reply

    def pages(self, path: str, *, name: str, known: tuple[int, ...] = ()) -> Iterator[Reply]:
        """Yield the answers that a long list comes in."""
        while path:
            reply = self.persist(partial(self.ask, "GET", path, name=name, known=known))
            yield reply
            path = reply.next_page

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str], name: str) -> Iterator[urllib3.BaseHTTPResponse]:
        """Give the answer to a GET before its body was read; what goes wrong in the block is a RegistryError."""
        with self._answered("GET", path, None, headers) as response:
            if response.status not in (200, 206):
                raise faults.of_answer(self.host, name, response.status, response.headers, self._bounded(response))
            yield response

    def persist(self, action: Callable[[], _Result]) -> _Result:
        """Do something again where the connection broke or the registry was in trouble, a few times."""
        for attempt in range(ATTEMPTS - 1):
            try:
                return action()
            except (faults.CutError, faults.TroubleError) as error:
                rest(attempt, error)
        return action()

    # The parts

    @contextmanager
    def _answered(self, method: str, path: str, body: bytes | None,
                  headers: Mapping[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
        url = self._url(path)
        with self._explained():
            response = self._send(method, url, body, headers)
            if response.status == 401 and self._is_ours(url):
                challenge = read_challenge(response.headers.get("WWW-Authenticate", ""))
                response.drain_conn()
                response.release_conn()
                if self._identify(challenge):
                    response = self._send(method, url, body, headers)
            try:
                yield response
            finally:
                response.close()

    def _send(self, method: str, url: str, body: bytes | None,
              headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        signed = {"Authorization": self._authorization} if self._authorization and self._is_ours(url) else {}
        return self._pool(url).request(method, url, body=body, headers={**headers, **signed}, retries=_NO_RETRIES,
                                       redirect=method in ("GET", "HEAD"), preload_content=False)

    def _bounded(self, response: urllib3.BaseHTTPResponse) -> bytes:
        body = response.read(_LARGEST + 1)
        if len(body) > _LARGEST:
            raise RegistryError(f"the registry {self.host} answers with more than {_LARGEST} bytes where a document "
                                "was asked for", remedy="tell who runs it")
        return body

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except exceptions.HTTPError as error:
            raise faults.of_connection(self.host, error) from error

    def _url(self, path: str) -> str:
        return path if "://" in path else f"{self._base}/v2/{self.path}/{path}"

    def _is_ours(self, url: str) -> bool:
        return urlsplit(url)[:2] == urlsplit(self._base)[:2]  # a login is nobody else's

    @cached_property
    def _base(self) -> str:
        """Return the registry's address: TLS, and on loopback plain HTTP where there is no TLS."""
        secure = f"https://{_SERVERS.get(self.host, self.host)}"
        if not is_loopback(self.host):
            return secure
        try:
            with self._explained():
                self._pool(secure).request("GET", f"{secure}/v2/", retries=_NO_RETRIES, redirect=False)
        except faults.CutError:
            return f"http://{self.host}"
        return secure

    def _pool(self, url: str) -> urllib3.PoolManager:
        """Return the connections for an address: direct ones, or those of the proxy for it."""
        server = urlsplit(url).hostname or ""
        proxy = urllib.request.getproxies_environment().get(urlsplit(url).scheme, "")
        if is_loopback(server) or urllib.request.proxy_bypass(server):
            proxy = ""
        if proxy not in self._pools:
            make = partial(urllib3.ProxyManager, proxy) if proxy else urllib3.PoolManager
            self._pools[proxy] = make(ssl_context=self._trust, timeout=self._timeout)
        return self._pools[proxy]

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        own = self._environment.get("EXTRA_CA", "")
        for file in ([Path(own)] if own else []) + sorted((_CERTIFICATES / self.host).glob("*.crt")):
            try:
                context.load_verify_locations(file)
            except (OSError, ssl.SSLError) as error:
                raise UsageError(f"{file} holds no certificate that can be read: {error}",
                                 remedy="EXTRA_CA= names a file of certificates in PEM form") from error
        return context

    # Logging in

    def _identify(self, challenge: Challenge) -> bool:
        """Answer a challenge; returns whether there is something new to show."""
        credentials, before = credentials_of(self.host, self._environment), self._authorization
        if challenge.scheme == "bearer":
            self._authorization = self._token(challenge, credentials)
            return True
        self._authorization = credentials.basic if challenge.scheme == "basic" and credentials.user else ""
        return self._authorization not in ("", before)

    def _token(self, challenge: Challenge, credentials: Credentials) -> str:
        fields = {"service": challenge.service, "scope": challenge.scope}
        place = urlsplit(challenge.realm)
        if place.scheme != "https" and not is_loopback(place.netloc):
            raise RegistryError(f"the registry {self.host} sends for a token to {challenge.realm or 'nowhere'}, which "
                                "is not TLS", remedy="no login is shown there; tell who runs the registry")
        pool = self._pool(challenge.realm)
        if credentials.token:
            reply = pool.request("POST", challenge.realm, retries=_NO_RETRIES, encode_multipart=False, fields={
                **fields, "grant_type": "refresh_token", "client_id": "modelfarm", "refresh_token": credentials.token})
        else:
            reply = pool.request("GET", challenge.realm, retries=_NO_RETRIES,
                                 fields={name: value for name, value in fields.items() if value},
                                 headers={"Authorization": credentials.basic} if credentials.user else {})
        if reply.status != 200:
            raise faults.of_answer(self.host, self.repository, reply.status, reply.headers, reply.data)
        try:
            told = json.loads(reply.data)
            return f"Bearer {told.get('token') or told['access_token']}"
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise RegistryError(f"{challenge.realm} gives no token: {error}", remedy="tell who runs it") from error


def rest(attempt: int, error: RegistryError) -> None:
    """Wait before the next attempt, as long as a registry in trouble asks for."""
    time.sleep(max(_PAUSE * 2 ** attempt, error.pause if isinstance(error, faults.TroubleError) else 0.0))


def is_loopback(host: str) -> bool:
    """Say whether a host, with or without a port, is this machine."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and not host.endswith("]") else host
    return name.strip("[]") in ("localhost", "::1") or name.startswith("127.") or name.endswith(".localhost")
