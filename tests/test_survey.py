"""Surveys: what clients tell, the broken ones too."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from modelfarm import survey as module
from modelfarm.containers import Client
from modelfarm.survey import others_with_buildx, survey, surveys


def program(folder: Path, name: str, script: str) -> Path:
    """Write a client that is a few lines of shell."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def telling(folder: Path, document: Any, *, name: str = "docker", err: str = "", code: int = 0) -> Client:
    """Return a client that prints a document, as `docker info` does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(document if isinstance(document, str) else json.dumps(document))
    file = program(folder, name, f"cat {folder}/{name}.json; echo '{err}' >&2; exit {code}")
    return Client(name, str(file))


def docker(**more: Any) -> dict[str, Any]:
    """Return what docker 26 tells."""
    about = {"Version": "26.1.5", "Context": "default", "Plugins": [{"Name": "buildx", "Version": "0.13.1"}]}
    return {"ServerVersion": "25.0.1", "DockerRootDir": "", "Name": os.uname().nodename, "Runtimes": {"runc": {}},
            "ClientInfo": about, **more}


def test_versions_the_plugin_and_the_folder_are_read(tmp_path: Path) -> None:
    found = survey(telling(tmp_path, docker(DockerRootDir=str(tmp_path))))
    assert (found.version, found.engine, found.problem, found.buildx) == ("26.1.5", "25.0.1", "", "0.13.1")
    assert (found.root, found.nvidia) == (tmp_path, False)


def test_an_engine_on_another_machine_has_no_folder_here(tmp_path: Path) -> None:
    assert survey(telling(tmp_path, docker(DockerRootDir=str(tmp_path), Name="another"))).root is None
    assert survey(telling(tmp_path, docker(DockerRootDir="/no/such/folder"))).root is None
    assert survey(telling(tmp_path, docker(DockerRootDir=None))).root is None


def test_the_runtime_of_gpus_is_seen(tmp_path: Path) -> None:
    assert survey(telling(tmp_path, docker(Runtimes={"runc": {}, "nvidia": {}}))).nvidia


@pytest.mark.parametrize(("code", "told"), [(1, {}), (0, {"ServerErrors": ["Cannot connect to the Docker daemon"]})])
def test_an_engine_that_is_down_leaves_what_the_client_knows(tmp_path: Path, code: int, told: dict[str, Any]) -> None:
    """Newer clients end with 1 and say why on standard error, older ones end with 0 and say it in the document."""
    found = survey(telling(tmp_path, docker(ServerVersion="", Runtimes=None, **told),
                           err="" if told else "Cannot connect to the Docker daemon\nIs it running?", code=code))
    assert found.problem == "Cannot connect to the Docker daemon"
    assert (found.version, found.engine, found.buildx) == ("26.1.5", "", "0.13.1")


def test_docker_20_has_no_version_in_its_document_and_perhaps_no_plugins(tmp_path: Path) -> None:
    found = survey(telling(tmp_path, docker(ClientInfo={"Debug": False, "Plugins": [], "Warnings": None})))
    assert (found.version, found.buildx, found.engine) == ("", "", "25.0.1")
    broken = {"Plugins": [{"Name": "buildx", "Path": "/somewhere", "Err": "cannot be executed"}]}
    assert survey(telling(tmp_path, docker(ClientInfo=broken))).buildx == ""


@pytest.mark.parametrize("document", ["", "{", "[]", "null", '"text"', '{"host": 1}', '{"ClientInfo": {"Plugins": 1}}'])
def test_a_client_that_talks_nonsense_has_a_problem(tmp_path: Path, document: str) -> None:
    assert survey(telling(tmp_path, document, err="the configuration is damaged", code=1)).problem
    assert survey(telling(tmp_path, document)).problem


def test_a_client_that_says_nothing_is_told_by_its_code(tmp_path: Path) -> None:
    assert survey(Client("docker", str(program(tmp_path, "docker", "exit 3")))).problem.endswith("ends with 3")


def test_a_client_that_hangs_costs_a_short_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    begun = time.monotonic()
    found = survey(Client("docker", str(program(tmp_path, "docker", "sleep 30"))))
    assert "did not answer within 0.3 s" in found.problem
    assert time.monotonic() - begun < 5


def test_a_client_that_cannot_be_started_has_a_problem(tmp_path: Path) -> None:
    assert "cannot be started" in survey(Client("docker", str(tmp_path / "gone"))).problem


def test_podman_has_no_engine_of_its_own(tmp_path: Path) -> None:
    document = {"host": {"hostname": os.uname().nodename}, "store": {"graphRoot": str(tmp_path)},
                "version": {"Version": "4.3.1"}}
    found = survey(telling(tmp_path, document, name="podman"))
    assert (found.version, found.engine, found.problem, found.root) == ("4.3.1", "4.3.1", "", tmp_path)


def test_every_client_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER", "PODMAN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    telling(tmp_path, docker())
    telling(tmp_path, {}, name="podman", err="no", code=1)
    assert [(found.client.name, found.engine) for found in surveys()] == [("docker", "25.0.1"), ("podman", "")]
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert surveys() == []


def test_other_clients_with_the_plugin_are_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacks = program(tmp_path / "a", "docker", "exit 1")
    program(tmp_path / "b", "docker", "exit 1")
    has = program(tmp_path / "c", "docker", '[ "$*" = "buildx version" ]')
    (tmp_path / "d").symlink_to(tmp_path / "c")
    monkeypatch.setenv("PATH", ":".join(str(tmp_path / name) for name in "abcd"))
    assert list(others_with_buildx(Client("docker", str(lacks)))) == [str(has)]
    assert list(others_with_buildx(Client("docker", str(has)))) == []
