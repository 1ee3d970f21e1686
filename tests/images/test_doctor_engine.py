"""The doctor beside a real engine: what it tells is what the engine has."""

from __future__ import annotations

import io
import os
import socket
import tarfile
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelfarm.containers import Client
from modelfarm.doctor import Finding, examine_engines, examine_toolchains
from modelfarm.pins import ImagePin, Pins, change_pins
from modelfarm.runners import Runners
from modelfarm.survey import survey, surveys
from modelfarm.toolchain import local_name, sources
from tests.toys import Toys


def by_subject(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


@pytest.fixture
def contained(toys: Toys, client: Client, tmp_path: Path) -> Iterator[str]:
    """Give the toy toolchain an image of one file, under its real name; another test's has another."""
    (toys.target.folder / "Dockerfile").write_text(f"# {uuid.uuid4()}\nFROM scratch\n")
    name = local_name(toys.target, toys.farm.digests)
    put(client, tmp_path, name)
    yield name
    client.ask("image", "rm", "--force", name)


def put(client: Client, folder: Path, name: str) -> None:
    data = io.BytesIO(name.encode())
    with tarfile.open(folder / "image.tar", "w") as archive:
        entry = tarfile.TarInfo("name")
        entry.size = len(name)
        archive.addfile(entry, data)
    client.ask("import", "--change", "LABEL modelfarm.target=toy", folder / "image.tar", name)


def toolchains(toys: Toys, runner: str = "auto") -> list[Finding]:
    runners = Runners(settings=replace(toys.settings, runner=runner), digests=toys.farm.digests)
    return list(examine_toolchains([toys.target], runners, surveys(), toys.folder / "images.lock"))


def test_the_versions_are_those_that_the_client_tells(client: Client) -> None:
    found = survey(client)
    assert found.problem == ""
    assert found.engine == client.ask("version", "--format", "{{.Server.Version}}")
    assert found.version == client.ask("version", "--format", "{{.Client.Version}}")
    assert found.buildx in client.ask("buildx", "version")
    assert found.root == Path(client.ask("info", "--format", "{{.DockerRootDir}}"))


def test_an_engine_that_answers_is_fine(client: Client) -> None:
    found = by_subject(examine_engines([survey(client)], "docker"))
    assert [found[subject].state for subject in ("docker", "buildx")] == ["ok", "ok"]


def test_podman_is_fine_where_it_is(podman: Client) -> None:
    assert by_subject(examine_engines([survey(podman)], "podman"))["podman"].state == "ok"


def test_an_engine_that_is_not_there_is_told_by_its_address(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
    finding = by_subject(examine_engines([survey(client)], "docker"))["docker"]
    assert (finding.state, str(port) in finding.detail) == ("lacking", True)
    assert str(port) in finding.remedy


def test_a_socket_of_somebody_else_has_its_own_remedy(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    other = tmp_path / "docker"
    other.write_text("#!/bin/sh\nexport HOME=/\n"
                     f"exec setpriv --reuid=65534 --regid=65534 --clear-groups {client.program} \"$@\"\n")
    other.chmod(0o755)
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        Path(folder).chmod(0o755)  # pytest's are for the eyes of one user only
        server.bind(f"{folder}/sock")
        Path(folder, "sock").chmod(0o600)
        server.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/sock")
        finding = by_subject(examine_engines([survey(Client("docker", str(other)))]))["docker"]
    assert (finding.state, "permission denied" in finding.detail) == ("note", True)
    assert "group docker" in finding.remedy


def test_an_image_of_these_sources_is_found_and_jobs_run_in_it(toys: Toys, contained: str) -> None:
    image, runner = toolchains(toys)
    assert (image.state, image.detail) == ("ok", f"{contained}, not in images.lock")
    assert (runner.state, runner.detail) == ("ok", "docker (RUNNER=auto)")


def test_an_image_is_compared_with_the_lock_by_its_identity(toys: Toys, client: Client, contained: str) -> None:
    image = client.image(contained)
    assert image is not None
    pin = ImagePin(image=f"127.0.0.1:5000/toy@sha256:{'1' * 64}", identity=image.identity, content="2" * 64, size=1,
                   sources=sources(toys.target, toys.farm.digests), architecture="amd64", date="2026-07-01")
    lock = toys.folder / "images.lock"
    change_pins(lock, lambda _: Pins(bases={}, images={"toy": pin}))
    assert toolchains(toys)[0].detail == f"{contained}, as images.lock has it"
    change_pins(lock, lambda _: Pins(bases={}, images={"toy": replace(pin, identity=f"sha256:{'3' * 64}")}))
    assert "another build" in toolchains(toys)[0].detail


def test_a_changed_checkout_has_no_image_and_the_old_one_is_named(toys: Toys, contained: str) -> None:
    with (toys.target.folder / "Dockerfile").open("a") as file:
        file.write("# changed\n")
    missing, others, runner, _ = toolchains(toys)
    assert (missing.state, missing.remedy) == ("note", "make images TARGET=toy")
    assert others.state == "note"
    assert contained in others.detail
    assert runner.detail == "venv (RUNNER=auto)"
    assert toolchains(toys, "docker")[0].state == "lacking"


def test_looking_takes_a_moment(toys: Toys, contained: str) -> None:
    """The best of three: other tests, or other people, may be at work on this machine."""
    taken = []
    for _ in range(3):
        begun = time.perf_counter()
        toolchains(toys)
        taken.append(time.perf_counter() - begun)
    assert min(taken) < 1.5
