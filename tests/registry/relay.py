"""A relay to a real registry: it passes everything on, but for what a test wants to go wrong on the way."""

from __future__ import annotations

import datetime
import http.client
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.images.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a client asks for."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the relay answers itself, or instead; a body cut short ends the connection after that many bytes."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The connection ends: nothing of what was asked gets through, or only so many bytes of its body."""

    through: int | None = None


Before = Callable[[Asked], "Answer | Cut | None"]  # None: pass it on
After = Callable[[Asked, Answer], Answer]  # what the registry answered, changed


def _same(asked: Asked, answer: Answer) -> Answer:
    return answer


@dataclass(kw_only=True)
class Relay:
    """Where the relay listens, and what it was asked so far."""

    host: str
    asked: list[Asked] = field(default_factory=list)

    def count(self, method: str, part: str) -> int:
        """Return how often something was asked for."""
        return sum(each.method == method and part in each.path for each in self.asked)


@contextmanager
def relay(registry: Registry, *, before: Before = lambda asked: None, after: After = _same,
          certificate: Path | None = None) -> Iterator[Relay]:
    """Relay to a registry for as long as the block lasts; `certificate` is a file with its key, for TLS."""
    made = Relay(host="")

    class Line(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(method=self.command, path=self.path, headers=dict(self.headers), body=body)
            made.asked.append(asked)
            told = before(asked)
            if isinstance(told, Cut):
                if told.through is not None:
                    _pass_part(registry, asked, told.through)
                self.close_connection = True
                return
            self.tell(told or after(asked, _passed(registry, asked)))

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_CONNECT = answer

        def tell(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("date", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            if "content-length" not in {name.lower() for name in answer.headers}:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[:answer.cut_at])
            self.close_connection |= answer.cut_at is not None

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Line)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    made.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _passed(registry: Registry, asked: Asked) -> Answer:
    line = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=30)
    headers = {name: value for name, value in asked.headers.items() if name.lower() != "connection"}
    line.request(asked.method, asked.path, asked.body, headers)  # its Host is the relay's: places lead back here
    answer = line.getresponse()
    body = answer.read()
    line.close()
    return Answer(status=answer.status, body=body, headers=dict(answer.getheaders()))


def _pass_part(registry: Registry, asked: Asked, length: int) -> None:
    """Send the registry a request that ends in the middle of its body, as a broken line does."""
    line = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=30)
    line.putrequest(asked.method, asked.path, skip_host=True)
    for name, value in asked.headers.items():
        line.putheader(name, value)
    line.endheaders()
    line.send(asked.body[:length])
    line.close()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for loopback; return it with its key, and alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a registry of tests")])
    today = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(today - datetime.timedelta(days=1))
            .not_valid_after(today + datetime.timedelta(days=2)).add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256()))
    alone, both = folder / "ca.crt", folder / "server.pem"
    alone.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    both.write_bytes(alone.read_bytes() + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return both, alone
