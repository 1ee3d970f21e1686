"""Images are built from what the checkout says, tested before they are named; a failing build says what helps."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfarm.console import Console
from modelfarm.containers import Client
from modelfarm.errors import FarmError, MachineError, RegistryError
from modelfarm.images import base as bases
from modelfarm.images.builds import build
from modelfarm.pins import BasePin, Pins, change_pins
from modelfarm.settings import ROOT
from tests.images.registry import Registry, free_port, running_registry
from tests.images.toybox import Toy, a_toy, shell, words_of, write_root, write_workplace

pytestmark = pytest.mark.images


@pytest.fixture(scope="module")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_root(tmp_path_factory.mktemp("small") / "root.tar", shell())


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_workplace(tmp_path_factory.mktemp("workplace") / "root.tar")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def toy(tmp_path: Path, client: Client, small_root: Path) -> Iterator[Toy]:
    with a_toy(tmp_path, client, small_root) as toy:
        yield toy


@pytest.fixture
def worker(tmp_path: Path, client: Client, workplace: Path) -> Iterator[Toy]:
    """Return a toy with git and pip in its base."""
    with a_toy(tmp_path, client, workplace) as toy:
        yield toy


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def console(stream: io.StringIO) -> Console:
    return Console(stream, live=False)


def test_an_image_is_built_tested_and_named_after_its_sources(toy: Toy, console: Console, stream: io.StringIO) -> None:
    toy.write(steps="RUN echo hammering", self_test="echo a nail; echo another")
    workshop = toy.workshop()
    image = build(workshop, toy.target, console)
    assert workshop.image(toy.target) == image
    name = f"modelfarm/{toy.name}:{workshop.sources(toy.target)[:16]}"
    assert workshop.name(toy.target) == name
    assert [row for row in toy.images() if "building" in row] == []
    assert image.labels["modelfarm.sources"] == workshop.sources(toy.target)
    assert image.labels["modelfarm.base"] == "toys"
    lines = words_of(stream)
    assert any(line.startswith("+ image: echo hammering") for line in lines)
    assert any(line.startswith("+ the image tests itself") for line in lines)
    assert any(line.startswith(f". {name}, ") and "content" in line for line in lines)
    log = (workshop.folder / f"{toy.name}.log").read_text()
    assert "hammering" in log and "a nail\nanother\n" in log
    assert str(workshop.folder / f"{toy.name}.log") in stream.getvalue()


def test_an_image_that_is_there_is_not_built_again(toy: Toy, console: Console, stream: io.StringIO) -> None:
    toy.write(steps="RUN read -r id < /proc/sys/kernel/random/uuid; echo $id > /toy/id")
    first = build(toy.workshop(), toy.target, console)
    (toy.folder / "cache" / f"{toy.name}.log").unlink()
    assert build(toy.workshop(), toy.target, console) == first
    assert f"{toy.workshop().name(toy.target)} is there, made from toys; FORCE=1" in stream.getvalue()
    assert not (toy.folder / "cache" / f"{toy.name}.log").exists()
    assert build(toy.workshop(FORCE="1"), toy.target, console).identity != first.identity, "built anew, without a cache"


def test_a_changed_file_is_another_image_and_the_old_one_stays(toy: Toy, console: Console) -> None:
    build(toy.workshop(), toy.target, console)
    before = toy.images()
    toy.write(self_test="echo changed")
    build(toy.workshop(), toy.target, console)
    assert set(before) < set(toy.images())


def test_an_image_that_fails_its_own_test_is_not_kept(toy: Toy, console: Console) -> None:
    toy.write(self_test="echo fine; echo 'error: no wheel turns'; exit 3")
    before = toy.images()
    with pytest.raises(MachineError, match="fails its own test, which ended with code 3") as caught:
        build(toy.workshop(), toy.target, console)
    assert "error: no wheel turns" in caught.value.message
    assert str(toy.folder / "cache" / f"{toy.name}.log") in caught.value.remedy
    assert toy.images() == before


def test_the_test_runs_without_network_root_file_system_and_powers(toy: Toy, console: Console) -> None:
    toy.write(self_test="echo x > /toy/x && exit 1; echo x > /tmp/x || exit 2\n"
                        "while read -r name rest; do case $name in CapEff:) echo \"powers $rest\" ;; esac; done"
                        " < /proc/self/status\n"
                        "while read -r name rest; do echo \"line $name\"; done < /proc/net/dev")
    build(toy.workshop(), toy.target, console)
    log = (toy.folder / "cache" / f"{toy.name}.log").read_text()
    assert "powers 0000000000000000" in log
    assert "line lo:" in log and "line eth0:" not in log


def test_no_container_is_left_where_the_test_is_interrupted(toy: Toy) -> None:
    toy.write(self_test="trap '' TERM\nwhile true; do :; done")
    code = ("import sys, io; from pathlib import Path; from modelfarm.console import Console\n"
            "from modelfarm.digest import Digests; from modelfarm.target import read_target\n"
            "from modelfarm.images.workshop import open_workshop; from modelfarm.images.builds import build\n"
            "folder, name = Path(sys.argv[1]), sys.argv[2]\n"
            "workshop = open_workshop(folder / 'cache', Digests(folder), toolchains=folder / 'docker')\n"
            "build(workshop, read_target(folder / 'docker' / name / 'target.yaml'), Console(io.StringIO()))\n")
    process = subprocess.Popen([sys.executable, "-c", code, toy.folder, toy.name], cwd=ROOT, stderr=subprocess.PIPE)
    listed = ("ps", "--all", "--quiet", "--filter", f"name=modelfarm-test-{toy.name}")
    while not toy.client.ask(*listed):
        assert process.poll() is None, process.communicate()
    process.send_signal(2)
    process.communicate(timeout=30)
    assert toy.client.ask(*listed) == ""
    assert [row for row in toy.images() if "building" in row] == []


def test_the_commit_and_the_address_are_labels_without_passwords(toy: Toy, console: Console) -> None:
    def git(*words: str) -> str:
        return subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y.invalid", *words], cwd=toy.folder,
                              check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("remote", "add", "origin", "https://user:secret@code.invalid/farm.git")
    git("add", "docker")
    git("commit", "-qm", "toys")
    labels = build(toy.workshop(), toy.target, console).labels
    assert labels["org.opencontainers.image.revision"] == git("rev-parse", "HEAD")
    assert labels["org.opencontainers.image.source"] == "https://code.invalid/farm.git"
    toy.write(self_test="echo not committed")
    assert build(toy.workshop(), toy.target, console).labels["org.opencontainers.image.revision"] == ""


def test_a_checkout_without_git_has_no_commit(toy: Toy, console: Console) -> None:
    labels = build(toy.workshop(), toy.target, console).labels
    assert (labels["org.opencontainers.image.revision"], labels["org.opencontainers.image.source"]) == ("", "")


def test_wheels_a_checkout_and_a_secret_reach_the_build_and_stay_out_of_the_image(
        toy: Toy, console: Console, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "toy-1.whl").write_text("a wheel\n")
    authority = tmp_path / "authority.pem"
    authority.write_text("-----BEGIN CERTIFICATE-----\nTOYS\n")
    toy.write(steps="RUN --mount=type=bind,from=wheels,target=/wheels --mount=type=secret,id=extra_ca"
                    " read -r wheel < /wheels/toy-1.whl; while read -r l; do echo got $l; done < /run/secrets/extra_ca;"
                    " echo built with $wheel")
    workshop = toy.workshop(WHEELHOUSE=str(tmp_path / "wheels"), EXTRA_CA=str(authority))
    image = build(workshop, toy.target, console)
    log = (workshop.folder / f"{toy.name}.log").read_text()
    assert "got TOYS" in log and "built with a wheel" in log
    history = toy.client.ask("history", "--no-trunc", image.identity)
    assert "TOYS" not in history
    with pytest.raises(FarmError):
        toy.client.ask("run", "--rm", "--entrypoint", "/bin/sh", image.identity, "-c", "read x < /run/secrets/extra_ca")


def test_a_failing_step_shows_its_last_words(toy: Toy, console: Console, stream: io.StringIO) -> None:
    toy.write(steps="RUN echo much; echo noise; echo 'error: the anvil is missing'; exit 7")
    with pytest.raises(MachineError, match="cannot be built\n    error: the anvil is missing\n") as caught:
        build(toy.workshop(), toy.target, console)
    assert caught.value.remedy == f"the whole output is in {toy.folder}/cache/{toy.name}.log"
    assert "x image: echo much" in " ".join(words_of(stream))
    assert [row for row in toy.images() if f"modelfarm/{toy.name}" in row] == []


# A server on the build's own loopback, whose certificate nobody signed.
STRANGER = """\
import ssl
from http.server import HTTPServer, SimpleHTTPRequestHandler
server = HTTPServer(("127.0.0.1", 4430), SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/run/stranger/cert.pem", "/run/stranger/key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for WHEELHOUSE= with a server and its certificate."""
    folder = tmp_path_factory.mktemp("stranger")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out",
                    folder / "cert.pem"], check=True, capture_output=True)
    (folder / "key.pem").chmod(0o644)
    (folder / "server.py").write_text(STRANGER)
    return folder


def beside_a_stranger(command: str) -> str:
    """Return a step that runs a command while the server runs."""
    return ("RUN --mount=type=bind,from=wheels,target=/run/stranger python3 /run/stranger/server.py & "
            "while ! python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 4430))' 2> /tmp/no; do :;"
            " done; "
            + command)


def _fails(worker: Toy, steps: str, **environment: str) -> MachineError:
    worker.write(steps=steps)
    with pytest.raises(MachineError) as caught:
        build(worker.workshop(**environment), worker.target, Console(io.StringIO(), live=False))
    return caught.value


def test_a_certificate_that_is_not_trusted_asks_for_extra_ca(worker: Toy, stranger: Path) -> None:
    steps = beside_a_stranger("python3 -m pip download --retries 1 -i https://127.0.0.1:4430/simple/ hammer")
    error = _fails(worker, steps, WHEELHOUSE=str(stranger))
    assert "a certificate is not trusted" in error.message
    assert "CERTIFICATE_VERIFY_FAILED" in error.message
    assert error.remedy.startswith("EXTRA_CA=file")
    assert "PIP_INDEX_URL=" in error.remedy and "SOURCE_" not in error.remedy
    given = _fails(worker, steps, WHEELHOUSE=str(stranger), EXTRA_CA=str(stranger / "cert.pem"))
    assert given.remedy.startswith(f"EXTRA_CA={stranger}/cert.pem does not vouch")


def test_a_clone_that_is_refused_asks_for_a_source(worker: Toy, stranger: Path) -> None:
    error = _fails(worker, f"RUN git clone http://127.0.0.1:{free_port()}/widget.git /widget")
    assert "a server cannot be reached" in error.message
    assert "fatal: unable to access" in error.message
    assert "SOURCE_WIDGET= name a mirror, or a checkout" in error.remedy
    assert "HTTPS_PROXY" in error.remedy and "PIP_INDEX_URL" not in error.remedy
    steps = beside_a_stranger("git clone https://127.0.0.1:4430/widget.git /widget")
    error = _fails(worker, steps, WHEELHOUSE=str(stranger))
    assert "a certificate is not trusted" in error.message
    assert "EXTRA_CA=" in error.remedy and "SOURCE_WIDGET=" in error.remedy


def test_a_name_that_is_not_known_asks_for_a_proxy(worker: Toy) -> None:
    error = _fails(worker, "RUN git clone https://nowhere.invalid/widget.git /widget")
    assert "a name of a host is not known" in error.message
    assert "HTTP_PROXY= and HTTPS_PROXY=" in error.remedy


def test_a_package_that_is_in_no_index_asks_for_another_place(worker: Toy, tmp_path: Path) -> None:
    pip = "RUN python3 -m pip download --no-index --find-links /toy "
    error = _fails(worker, f"{pip} no-such-hammer==1.0")
    assert "a package is in no index" in error.message and "no-such-hammer==1.0" in error.message
    assert "PIP_INDEX_URL=" in error.remedy and "WHEELHOUSE=" in error.remedy and "TORCH_INDEX" not in error.remedy
    error = _fails(worker, f"{pip} torch==2.13.0+cpu")
    assert "TORCH_INDEX= names an index with CPU builds" in error.remedy


def test_a_mirror_on_loopback_is_told_from_the_builds_own(worker: Toy) -> None:
    place = f"http://127.0.0.1:{free_port()}"
    steps = f"ARG SOURCE_WIDGET\nRUN git clone {place}/widget.git /widget"
    error = _fails(worker, steps, SOURCE_WIDGET=f"{place}/widget.git")
    assert "SOURCE_WIDGET names loopback, which inside a build is the build's own; NETWORK=host" in error.remedy
    assert "names loopback" not in _fails(worker, steps, SOURCE_WIDGET="https://widget.invalid/widget.git").remedy


def test_a_buildx_that_knows_no_network_says_so(toy: Toy, console: Console) -> None:
    if "--allow" in toy.client.ask("buildx", "bake", "--help"):
        pytest.skip("this buildx knows NETWORK=")
    with pytest.raises(MachineError, match="this buildx knows no NETWORK="):
        build(toy.workshop(NETWORK="host"), toy.target, console)


def test_a_base_is_pulled_by_digest_and_the_image_says_so(
        toy: Toy, console: Console, stream: io.StringIO, registry: Registry, small_root: Path) -> None:
    pin = _publish_base(toy, registry, small_root)
    image = build(toy.workshop(BASE="registry"), toy.target, console)
    assert image.labels["modelfarm.base"] == f"registry {pin.reference}"
    assert f"pull {registry.host}/base{toy.name}:slim" in stream.getvalue()


def _publish_base(toy: Toy, registry: Registry, root: Path) -> BasePin:
    published = registry.publish(f"base{toy.name}", "slim", root.read_bytes(), {"Labels": {"of": toy.name}})
    pin = BasePin(image=f"{registry.host}/base{toy.name}", tag="slim", digest=published.digest, date="2026-01")
    change_pins(toy.toolchains / "images.lock", lambda pins: Pins(bases={toy.release: pin}, images=pins.images))
    return pin


def test_a_base_that_is_gone_says_how_to_refresh_the_lock(toy: Toy, console: Console, registry: Registry,
                                                          small_root: Path) -> None:
    pin = _publish_base(toy, registry, small_root)
    registry.remove(f"base{toy.name}", pin.digest)
    with pytest.raises(RegistryError, match=f"the registry {registry.host} has no .*{pin.digest}") as caught:
        build(toy.workshop(BASE="registry"), toy.target, console)
    assert "ci/refresh-bases" in caught.value.remedy and "BASE=debootstrap" in caught.value.remedy


def test_a_registry_that_is_down_is_named_where_it_was_asked_for(toy: Toy, console: Console, small_root: Path,
                                                                 tmp_path: Path) -> None:
    with running_registry(tmp_path / "registry") as registry:
        _publish_base(toy, registry, small_root)
    with pytest.raises(RegistryError, match=f"the registry {registry.host} cannot be reached: .*refused") as caught:
        build(toy.workshop(BASE="registry"), toy.target, console)
    assert "BASE=debootstrap makes the base here" in caught.value.remedy


def test_the_bases_are_refreshed_from_the_registry(toy: Toy, registry: Registry, small_root: Path) -> None:
    old = _publish_base(toy, registry, small_root)
    again = registry.publish(f"base{toy.name}", "slim", small_root.read_bytes(), {"Labels": {"of": "later"}})
    ran = subprocess.run([ROOT / "ci" / "refresh-bases", toy.toolchains], capture_output=True, text=True,
                         env={**os.environ, "MODELFARM_CACHE": str(toy.folder / "cache")})
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"  {toy.release}: {old.image}:slim is now {again.digest}\n"
    pin = toy.workshop().bases[toy.release]
    assert (pin.digest, pin.image, pin.tag) == (again.digest, old.image, "slim")
    assert pin.date > "2026-01"


def test_the_lock_stays_where_a_base_gives_no_digest(toy: Toy, registry: Registry, small_root: Path) -> None:
    pin = _publish_base(toy, registry, small_root)
    registry.remove(f"base{toy.name}", pin.digest)
    before = (toy.toolchains / "images.lock").read_bytes()
    with pytest.raises(RegistryError, match=f"has no {pin.image}:slim"):
        list(bases.refresh(toy.workshop()))
    assert (toy.toolchains / "images.lock").read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="debootstrap needs root")
def test_debootstrap_makes_a_base_where_no_registry_is_in_reach(toy: Toy, console: Console,
                                                                stream: io.StringIO) -> None:
    """The base is a Debian that installs packages, without documents, and without this machine's names."""
    name, kept = bases.local_name("bookworm"), f"modelfarm/debian:{toy.name}kept"
    there = toy.client.image(name)
    if there:  # somebody's own, which comes back afterwards
        toy.client.ask("tag", name, kept)
        toy.client.ask("image", "rm", name)
    pin = BasePin(image=f"127.0.0.1:{free_port()}/debian", tag="slim", digest=f"sha256:{'0' * 64}", date="2026-01")
    change_pins(toy.toolchains / "images.lock", lambda pins: Pins(bases={"bookworm": pin}, images=pins.images))
    try:
        made = bases.choose_base(toy.workshop(), "bookworm", console)
        assert made.label == "debootstrap bookworm"
        assert "is in reach; debootstrap makes the base here" in stream.getvalue()
        again = bases.choose_base(toy.workshop(), "bookworm", console)
        assert (again, stream.getvalue().count("+ make Debian")) == (made, 1)
        look = ("test -f /usr/share/doc/bash/copyright && ! test -e /usr/share/doc/bash/README.Debian.gz"
                " && ! test -e /usr/share/man/man1 && ! test -s /etc/machine-id && ! test -s /var/log/dpkg.log"
                " && ls -A /var/lib/apt/lists /var/cache/apt && cat /etc/apt/sources.list && apt-get --version")
        said = toy.client.ask("run", "--rm", "--network", "none", name, "sh", "-c", look)
        assert "bookworm-security main" in said and "apt 2." in said
        image = toy.client.image(name)
        assert image is not None and image.size < 120e6
        assert list((toy.folder / "cache").glob("debian-*/")) == []
    finally:
        subprocess.run([toy.client.program, "image", "rm", name], capture_output=True, check=False)
        if there:
            toy.client.ask("tag", kept, name)
