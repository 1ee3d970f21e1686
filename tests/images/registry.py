"""A real registry on loopback, images put into it without an engine, and a line to it that is cut or altered."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import http.server
import io
import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_PATIENCE = 20.0  # seconds for the registry to answer


def registry_program() -> str:
    """Return the registry's program, or skip."""
    names = [os.environ.get("MODELFARM_REGISTRY") or "docker-registry", "registry"]
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("there is no docker-registry on the PATH; MODELFARM_REGISTRY names one")
    return program


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(kw_only=True)
class Registry:
    """A registry with storage of its own; it can be stopped and started again."""

    folder: Path
    password: bool = False
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        config: dict[str, Any] = {
            "version": "0.1", "log": {"level": "error"}, "http": {"addr": self.host},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "storage")}, "delete": {"enabled": True}}}
        if self.password:
            (self.folder / "passwords").touch()
            config["auth"] = {"htpasswd": {"realm": "toys", "path": str(self.folder / "passwords")}}
        (self.folder / "config.json").write_text(json.dumps(config))  # JSON is YAML
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([registry_program(), "serve", self.folder / "config.json"], stdout=log,
                                             stderr=log)
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            assert time.monotonic() < deadline and self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://{self.host}/v2/", timeout=2).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def blob(self, digest: str) -> Path:
        """Return where a blob lies."""
        hexed = digest.removeprefix("sha256:")
        return self.folder / "storage" / "docker/registry/v2/blobs/sha256" / hexed[:2] / hexed / "data"

    # Publishing, so that no engine has ever seen what it pulls.

    def publish(self, name: str, tag: str, layer: bytes, config: Mapping[str, Any],
                architecture: str = "amd64") -> Published:
        """Put an image of one layer, an uncompressed tar, under a name; returns what it is known by."""
        document = {"architecture": architecture, "os": "linux", "config": dict(config),
                    "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]}}
        packed, described = gzip.compress(layer, mtime=0), json.dumps(document).encode()
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "size": len(described), "digest": digest_of(described)},
            "layers": [{"mediaType": LAYER, "size": len(packed), "digest": digest_of(packed)}]}).encode()
        for blob in (packed, described):
            self._upload(name, blob)
        self._ask("PUT", f"/v2/{name}/manifests/{tag}", manifest, {"Content-Type": MANIFEST})
        return Published(image=f"{self.host}/{name}@{digest_of(manifest)}", identity=digest_of(described),
                         layer=digest_of(packed))

    def remove(self, name: str, digest: str) -> None:
        """Delete a manifest; tags that point to it go with it."""
        self._ask("DELETE", f"/v2/{name}/manifests/{digest}")

    def _upload(self, name: str, blob: bytes) -> None:
        place = self._ask("POST", f"/v2/{name}/blobs/uploads/", b"")
        there = place.removeprefix(f"http://{self.host}")
        self._ask("PUT", f"{there}{'&' if '?' in there else '?'}digest={digest_of(blob)}", blob,
                  {"Content-Type": "application/octet-stream"})

    def _ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> str:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        line.request(method, path, body, dict(headers or {}))
        answer = line.getresponse()
        text = answer.read()
        line.close()
        assert answer.status in (201, 202), (method, path, answer.status, text)
        return answer.getheader("Location", "")


@dataclass(frozen=True, kw_only=True)
class Published:
    """An image in a registry: its name by digest, the digest of its configuration, and that of its layer's blob."""

    image: str
    identity: str
    layer: str

    @property
    def digest(self) -> str:
        return self.image.partition("@")[2]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def packed(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """Return a tar of files, each with its mode and bytes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, (mode, data) in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


@contextmanager
def running_registry(folder: Path, *, password: bool = False) -> Iterator[Registry]:
    """Run a registry for as long as the block lasts."""
    registry = Registry(folder=folder, password=password)
    try:
        registry.start()
        yield registry
    finally:
        registry.stop()


Alter = Callable[[str, bytes], "bytes | int"]  # of path and body: the body sent, or an HTTP status instead


@contextmanager
def altered_line(registry: Registry, alter: Alter, *, half: str = "-") -> Iterator[str]:
    """Yield the host of a line to a registry on which answers are altered.

    Of what has `half` in its path only the first half comes; then the connection is cut.
    """
    class Line(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            line = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=30)
            line.request(self.command, self.path, headers={"Accept": self.headers.get("Accept", "*/*")})
            answer = line.getresponse()
            data = answer.read()
            changed = alter(self.path, data)
            self.send_response(changed if isinstance(changed, int) else answer.status)
            sent = b"" if isinstance(changed, int) else changed
            length = answer.getheader("Content-Length", "0") if not body else str(len(sent))
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "date", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if body and re.search(half, self.path):
                self.wfile.write(sent[:len(sent) // 2])
                self.close_connection = True
            elif body:
                self.wfile.write(sent)
            line.close()

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Line)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
