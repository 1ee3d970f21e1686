"""The programs that Dockerfiles install with, and their wheels, indexes, mirrors, proxies and certificates."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from modelfarm.containers import Client
from tests.images.baking import Baked, Kitchen, a_kitchen
from tests.images.registry import free_port

pytestmark = pytest.mark.images

# A toolchain of nothing but its packages; what is installed says where it came from.
DOCKERFILE = """\
FROM scratch AS wheels
FROM base-build AS packages
ARG TORCH_INDEX
ARG PIP_INDEX_URL
ARG PIP_TRUSTED_HOST
RUN --mount=type=bind,source=requirements.txt,target=/run/requirements.txt \\
    --mount=type=bind,from=wheels,target=/wheels \\
    --mount=type=secret,id=extra_ca \\
    install-toolchain /run/requirements.txt
RUN /opt/toolchain/bin/python -c 'import toy; print("a toy from", toy.ORIGIN)'
RUN ls -A /tmp /run/secrets | sed 's/^/left: /'
"""
CLONE = """\
FROM scratch AS source-widget
FROM base-build AS widget
RUN --mount=type=secret,id=extra_ca apt-install git
ARG SOURCE_WIDGET=https://nowhere.invalid/widget.git
RUN --mount=type=bind,from=source-widget,target=/run/source --mount=type=secret,id=extra_ca \\
    fetch-source "$SOURCE_WIDGET" {commit} /src && cat /src/widget.txt
"""


def write_wheel(folder: Path, origin: str, version: str = "1.0") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"toy-{version}-py3-none-any.whl"
    place = f"toy-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("toy.py", f"ORIGIN = {origin!r}\n")
        wheel.writestr(f"{place}/METADATA", f"Metadata-Version: 2.1\nName: toy\nVersion: {version}\n")
        wheel.writestr(f"{place}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{place}/RECORD", f"toy.py,,\n{place}/METADATA,,\n{place}/WHEEL,,\n{place}/RECORD,,\n")
    return path


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server of files on loopback, which answers as a proxy too, and remembers what it was asked for."""

    place: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving(folder: Path, certificate: Path | None = None) -> Iterator[Server]:
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def do_GET(self) -> None:
            asked.append(self.path)
            self.path = urlsplit(self.path).path
            super().do_GET()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Server(place=f"127.0.0.1:{server.server_address[1]}", asked=asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_index(folder: Path, origin: str, version: str = "1.0") -> Path:
    """Write an index of one package as PEP 503 has it."""
    wheel = write_wheel(folder / "simple" / "toy", origin, version)
    (wheel.parent / "index.html").write_text(f'<a href="{wheel.name.replace("+", "%2B")}">{wheel.name}</a>\n')
    return folder


@pytest.fixture(scope="module")
def shared(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kitchen]:
    with a_kitchen(tmp_path_factory.mktemp("tools"), client) as kitchen:
        yield kitchen


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A kitchen with a toolchain of its own, given nothing that a test does not say, but for the base's own needs."""

    kitchen: Kitchen
    folder: Path

    def write(self, dockerfile: str, lock: str = "toy==1.0\n") -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "Dockerfile").write_text(dockerfile)
        (self.folder / "requirements.txt").write_text(lock)

    def bake(self, stage: str = "packages", *options: str, **environment: str) -> Baked:
        nothing = dict.fromkeys(("PIP_INDEX_URL", "WHEELHOUSE", "TORCH_INDEX"), "")
        return self.kitchen.bake(f"--set=onnx.context={self.folder}", f"--set=onnx.target={stage}", *options,
                                 "--set=onnx.no-cache=true", loopback=True, **{**nothing, **environment})


@pytest.fixture
def bench(shared: Kitchen, tmp_path: Path) -> Bench:
    bench = Bench(kitchen=shared, folder=tmp_path / "toolchain")
    bench.write(DOCKERFILE)
    return bench


def test_packages_come_from_the_index_that_is_named(bench: Bench, tmp_path: Path) -> None:
    with serving(write_index(tmp_path / "index", "the index")) as server:
        baked = bench.bake(PIP_INDEX_URL=f"http://{server.place}/simple")
    assert baked.code == 0, baked.said
    assert "a toy from the index" in baked.said
    assert server.asked == ["/simple/toy/", "/simple/toy/toy-1.0-py3-none-any.whl"]


def test_a_wheel_on_disk_comes_before_the_index(bench: Bench, tmp_path: Path) -> None:
    wheels = write_wheel(tmp_path / "wheels", "the folder").parent
    with serving(write_index(tmp_path / "index", "the index")) as server:
        baked = bench.bake(PIP_INDEX_URL=f"http://{server.place}/simple", WHEELHOUSE=str(wheels))
    assert baked.code == 0 and "a toy from the folder" in baked.said, baked.said
    assert [path for path in server.asked if path.endswith(".whl")] == []


def test_the_index_of_torch_is_used_where_it_answers_and_the_lock_wants_a_cpu_build(
        bench: Bench, tmp_path: Path) -> None:
    torch = write_index(tmp_path / "torch", "torch's index", "1.0+cpu")
    (torch / "simple" / "torch").mkdir()
    with serving(torch) as server, serving(write_index(tmp_path / "index", "the index")) as index:
        places = {"PIP_INDEX_URL": f"http://{index.place}/simple", "TORCH_INDEX": f"http://{server.place}/simple"}
        assert "a toy from the index" in bench.bake(**places).said
        assert server.asked == []
        bench.write(DOCKERFILE, "toy==1.0+cpu\n")
        baked = bench.bake(**places)
    assert baked.code == 0 and "a toy from torch's index" in baked.said, baked.said


def test_an_index_of_torch_that_does_not_answer_breaks_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.write(DOCKERFILE, "toy==1.0+cpu\n")
    wheels = write_wheel(tmp_path / "wheels", "the folder", "1.0+cpu").parent
    with serving(write_index(tmp_path / "index", "the index", "1.0+cpu")) as server:
        places = {"PIP_INDEX_URL": f"http://{server.place}/simple", "TORCH_INDEX": f"http://127.0.0.1:{free_port()}"}
        whole = bench.bake(**places, WHEELHOUSE=str(wheels))
        assert whole.code == 0 and "a toy from the folder" in whole.said, whole.said
        assert server.asked == [], "what is all there needs no network"
        baked = bench.bake(**places)
    assert baked.code == 0 and "a toy from the index" in baked.said, baked.said
    assert "TORCH_INDEX is out of reach (" in baked.said


def test_a_wheel_for_another_machine_is_passed_over(bench: Bench, tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "wheels", "another machine")
    wheel.rename(wheel.with_name("toy-1.0-cp37-cp37m-win_amd64.whl"))
    with serving(write_index(tmp_path / "index", "the index")) as server:
        baked = bench.bake(PIP_INDEX_URL=f"http://{server.place}/simple", WHEELHOUSE=str(wheel.parent))
    assert baked.code == 0 and "a toy from the index" in baked.said, baked.said


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_packages_come_through_a_proxy(bench: Bench, tmp_path: Path, name: str) -> None:
    with serving(write_index(tmp_path / "index", "beyond the proxy")) as proxy:
        baked = bench.bake(PIP_INDEX_URL="http://index.invalid/simple", PIP_TRUSTED_HOST="index.invalid",
                           **{"HTTP_PROXY": "", "http_proxy": "", name: f"http://{proxy.place}"})
    assert baked.code == 0 and "a toy from beyond the proxy" in baked.said, baked.said
    assert proxy.asked[0] == "http://index.invalid/simple/toy/"
    assert proxy.place not in bench.kitchen.client.ask("history", "--no-trunc", baked.name)


def test_a_certificate_that_is_given_is_trusted_and_not_kept(bench: Bench, tmp_path: Path) -> None:
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "both.pem", "-out",
                    tmp_path / "cert.pem"], check=True, capture_output=True)
    with (tmp_path / "both.pem").open("ab") as both:
        both.write((tmp_path / "cert.pem").read_bytes())
    with serving(write_index(tmp_path / "index", "a server of the house"), tmp_path / "both.pem") as server:
        index = f"https://{server.place}/simple"
        given = bench.bake(PIP_INDEX_URL=index, EXTRA_CA=str(tmp_path / "cert.pem"))
        refused = bench.bake(PIP_INDEX_URL=index)
    assert given.code == 0 and "a toy from a server of the house" in given.said, given.said
    assert "left: " in given.said and "/run/secrets" in given.said
    assert "ca.crt" not in given.said.partition("left: ")[2]
    assert refused.code != 0 and "CERTIFICATE_VERIFY_FAILED" in refused.said


def test_debian_packages_come_from_the_mirror_that_is_named(shared: Kitchen, tmp_path: Path) -> None:
    tmp_path.joinpath("empty").mkdir()
    with serving(tmp_path / "empty") as server:
        baked = shared.bake("--no-cache", target="base-bookworm", loopback=True, HTTP_PROXY="", http_proxy="",
                            APT_MIRROR=f"http://{server.place}/mirror/debian/")
    assert baked.code != 0
    assert "/mirror/debian/dists/bookworm/InRelease" in server.asked
    tried = [line for line in baked.said.splitlines() if " Err:" in line or " Get:" in line or " Hit:" in line]
    assert tried and all(f"http://{server.place}/mirror/debian" in line for line in tried), tried
    security = [path for path in server.asked if "security" in path]
    assert all(path.startswith("/mirror/debian-security/dists/bookworm-security/") for path in security)


def test_a_source_is_a_checkout_or_what_is_cloned_from_an_address(bench: Bench, tmp_path: Path) -> None:
    widget = tmp_path / "widget"
    widget.mkdir()

    def git(*words: str) -> str:
        return subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y.invalid", *words], cwd=widget,
                              check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    for text in ("old", "new"):
        (widget / "widget.txt").write_text(f"a {text} widget\n")
        git("add", ".")
        git("commit", "-qm", text)
    git("update-server-info")
    (widget / "widget.txt").write_text("a changed widget\n")
    bench.write(CLONE.format(commit=git("rev-parse", "HEAD~1")))
    with (bench.kitchen.toolchains / "docker-bake.hcl").open("a") as file:
        file.write('variable "SOURCE_WIDGET" { default = "" }\n'
                   'target "widget" {\n  inherits = ["onnx"]\n  contexts = folder("source-widget", SOURCE_WIDGET)\n'
                   '  args     = {SOURCE_WIDGET = url(SOURCE_WIDGET)}\n}\n')
    shutil.copytree(widget / ".git", tmp_path / "served" / "widget.git")
    words = (f"--set=widget.context={bench.folder}", "--set=widget.target=widget")
    with serving(tmp_path / "served") as server:
        for place, said in ((f"http://{server.place}/widget.git", "a old widget"),
                            (str(widget), "a changed widget")):
            baked = bench.kitchen.bake(*words, target="widget", loopback=True, SOURCE_WIDGET=place)
            assert baked.code == 0 and said in baked.said, baked.said
