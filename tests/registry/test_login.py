"""Logins are found where docker and podman keep them; helpers are asked as docker asks them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from modelfarm.errors import MachineError
from modelfarm.registry.login import Challenge, Credentials, credentials_of, read_challenge

HOST = "registry.invalid:5000"


def encoded(user: str = "jo", secret: str = "pass:word") -> str:
    return base64.b64encode(f"{user}:{secret}".encode()).decode()


def write(folder: Path, document: Any) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return {"DOCKER_CONFIG": str(folder)}


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, name: str = "toy") -> None:
    """Put a credential helper onto the PATH."""
    file = folder / f"docker-credential-{name}"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize("name", [HOST, f"https://{HOST}", f"http://{HOST}", f"https://{HOST}/v1/"])
def test_a_login_of_docker_is_found_by_each_name_that_it_may_have(tmp_path: Path, name: str) -> None:
    found = credentials_of(HOST, write(tmp_path, {"auths": {name: {"auth": encoded()}}}))
    assert found == Credentials(user="jo", secret="pass:word")
    assert found.basic == "Basic " + encoded()
    assert not credentials_of("other.invalid", write(tmp_path, {"auths": {name: {"auth": encoded()}}})).known


def test_docker_hub_has_a_name_of_its_own(tmp_path: Path) -> None:
    environment = write(tmp_path, {"auths": {"https://index.docker.io/v1/": {"auth": encoded()}}})
    assert credentials_of("docker.io", environment).user == "jo"
    assert not credentials_of("registry.invalid", environment).known


def test_an_identity_token_is_taken(tmp_path: Path) -> None:
    environment = write(tmp_path, {"auths": {HOST: {"auth": encoded(), "identitytoken": "t"}}})
    assert credentials_of(HOST, environment) == Credentials(token="t")


def test_files_are_asked_in_order(tmp_path: Path) -> None:
    home, run = tmp_path / "home", tmp_path / "run"
    (home / ".docker").mkdir(parents=True)
    (run / "containers").mkdir(parents=True)
    (run / "containers" / "auth.json").write_text(json.dumps({"auths": {HOST: {"auth": encoded("podman")}}}))
    environment = {"HOME": str(home), "XDG_RUNTIME_DIR": str(run)}
    assert credentials_of(HOST, environment).user == "podman"
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": {HOST: {"auth": encoded("docker")}}}))
    assert credentials_of(HOST, environment).user == "docker"
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"auths": {HOST: {"auth": encoded("own")}}}))
    assert credentials_of(HOST, {**environment, "REGISTRY_AUTH_FILE": str(own)}).user == "own"


def test_nobody_is_logged_in_where_there_is_no_file(tmp_path: Path) -> None:
    assert not credentials_of(HOST, {"DOCKER_CONFIG": str(tmp_path)}).known
    assert not credentials_of(HOST, {}).known
    for odd in ([], {"auths": []}, {"auths": {HOST: "x"}}, {"auths": {HOST: {}}}):
        assert not credentials_of(HOST, write(tmp_path, odd)).known


def test_a_helper_is_told_the_host_and_asked_for_what_it_keeps(tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, monkeypatch, f'test "$1" = get && test "$(cat)" = {HOST} && '
                                  'echo \'{"Username": "jo", "Secret": "s"}\'')
    assert credentials_of(HOST, write(tmp_path, {"credsStore": "toy"})) == Credentials(user="jo", secret="s")
    environment = write(tmp_path, {"credHelpers": {HOST: "toy"}, "credsStore": "none-such"})
    assert credentials_of(HOST, environment).user == "jo"


def test_a_helper_may_keep_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, monkeypatch, 'echo \'{"Username": "<token>", "Secret": "s"}\'')
    assert credentials_of(HOST, write(tmp_path, {"credsStore": "toy"})) == Credentials(token="s")


def test_a_helper_that_knows_nothing_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, monkeypatch, "echo credentials not found in native keychain; exit 1")
    assert not credentials_of(HOST, write(tmp_path, {"credsStore": "toy"})).known


@pytest.mark.parametrize(("script", "said"), [
    ("echo locked >&2; exit 1", "docker-credential-toy failed: locked"),
    ("echo nonsense", "docker-credential-toy gave no credentials"),
    ("echo '{\"Username\": \"jo\"}'", "docker-credential-toy gave no credentials"),
])
def test_a_helper_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str) -> None:
    helper(tmp_path, monkeypatch, script)
    with pytest.raises(MachineError, match=said):
        credentials_of(HOST, write(tmp_path, {"credsStore": "toy"}))


def test_a_helper_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="docker-credential-none-such cannot be started"):
        credentials_of(HOST, write(tmp_path, {"credsStore": "none-such"}))


@pytest.mark.parametrize("document", ["{", {"auths": {HOST: {"auth": "!"}}}])
def test_a_damaged_file_is_named_with_what_mends_it(tmp_path: Path, document: Any) -> None:
    with pytest.raises(MachineError, match=str(tmp_path)) as caught:
        credentials_of(HOST, write(tmp_path, document))
    assert f"docker login {HOST}" in caught.value.remedy


def test_challenges_are_read() -> None:
    header = 'Bearer realm="https://auth.invalid/token",service="registry",scope="repository:a/b:pull,push"'
    assert read_challenge(header) == Challenge(scheme="bearer", realm="https://auth.invalid/token",
                                               service="registry", scope="repository:a/b:pull,push")
    assert read_challenge('Basic realm="toys"') == Challenge(scheme="basic", realm="toys")
    assert read_challenge("") == Challenge(scheme="")
