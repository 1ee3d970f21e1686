"""Real conversions in the container: what the virtual environment gives, with the same gates and the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelfarm.containers import Client, Image
from modelfarm.digest import Digests
from modelfarm.target import read_targets
from modelfarm.toolchain import local_name
from tests.end.conftest import Shop
from tests.images.registry import Registry

Convert = Callable[..., Path]
GATES = ("complete", "signature", "finite", "parity", "predictions", "golden", "device")


@pytest.fixture(scope="module")
def convert(tmp_path_factory: pytest.TempPathFactory, onnx_image: Image, onnx_python: Path) -> Convert:
    """Return a function that converts a model with a runner, once, and returns the artifact's folder."""
    made: dict[tuple[str, str], Path] = {}

    def run(model: str, runner: str, **settings: str) -> Path:
        if (model, runner) not in made:
            shop = Shop(artifacts=tmp_path_factory.mktemp(runner) / "artifacts")
            ran = shop.run("convert", "--model", model, RUNNER=runner, **settings)
            assert ran.code == 0, ran.out + ran.err
            made[model, runner] = shop.latest(model)
        return made[model, runner]

    return run


def manifest_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())["predicate"]


@pytest.mark.parametrize("model", ["digits", "yolov5n-0.5-face"])
def test_a_container_gives_the_bytes_that_the_environment_gives(convert: Convert, data: Path, model: str) -> None:
    inside = convert(model, "docker", MODELFARM_DATA=str(data))
    outside = convert(model, "venv", MODELFARM_DATA=str(data))
    digests = [hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest() for folder in (inside, outside)]
    assert digests[0] == digests[1]
    assert inside.name != outside.name, "another toolchain has another key"
    for folder in (inside, outside):
        assert manifest_of(folder)["verification"]["gates"] == dict.fromkeys(GATES, "passed")


def test_the_manifest_names_the_image_its_content_and_its_base(convert: Convert, onnx_image: Image) -> None:
    definition = manifest_of(convert("digits", "docker"))["buildDefinition"]["internalParameters"]
    assert definition["toolchain"]["image"] == onnx_image.identity
    assert definition["toolchain"]["base"] == onnx_image.labels["modelfarm.base"]
    assert set(definition["identity"]["toolchain"]) == {"image"}
    assert definition["identity"]["toolchain"]["image"] != onnx_image.identity, "the content, not the id with its times"


def test_a_second_run_finds_the_artifact_and_starts_no_container(
    tmp_path: Path, onnx_image: Image, client: Client
) -> None:
    shop = Shop(artifacts=tmp_path / "artifacts")
    assert shop.run("convert", "--model", "digits", RUNNER="docker").code == 0
    before = client.ask("events", "--since", "1m", "--until", "0s", "--filter", "event=start", "--format", "{{.ID}}")
    again = shop.run("convert", "--model", "digits", RUNNER="docker")
    assert again.code == 0
    assert "cached" in again.out
    after = client.ask("events", "--since", "1m", "--until", "0s", "--filter", "event=start", "--format", "{{.ID}}")
    assert set(after.split()) <= set(before.split())


def test_auto_takes_the_image_where_it_is_there(tmp_path: Path, onnx_image: Image) -> None:
    shop = Shop(artifacts=tmp_path / "artifacts")
    assert shop.run("convert", "--model", "digits", RUNNER="auto").code == 0
    assert json.loads((shop.latest("digits") / "smoke.json").read_text())["runner"] == "docker"


def test_what_a_run_leaves_belongs_to_the_user_who_ran_it(convert: Convert) -> None:
    folder = convert("digits", "docker")
    owners = {entry.lstat().st_uid for entry in (folder, *folder.rglob("*"))}
    assert owners == {os.getuid()}


def test_the_log_shows_the_command_as_one_could_paste_it(convert: Convert) -> None:
    first = (convert("digits", "docker") / "convert.log").read_text().splitlines()[0]
    assert first.startswith("$ ")
    for flag in ("--network none", "--read-only", "--cap-drop ALL", "no-new-privileges", "--pids-limit"):
        assert flag in first.replace("=", " ")


def test_a_new_machine_pulls_by_digest_and_converts(
    tmp_path: Path, onnx_image: Image, client: Client, convert: Convert
) -> None:
    before = convert("digits", "docker")
    shop = Shop(artifacts=tmp_path / "artifacts")
    settings = {"IMAGES_LOCK": str(tmp_path / "images.lock"), "RUNNER": "docker"}
    name = local_name(read_targets()["onnx"], Digests(tmp_path))
    registry = Registry(folder=tmp_path / "registry")
    registry.start()
    try:
        pushed = shop.run("push", "--target", "onnx", "--registry", f"{registry.host}/farm", **settings)
        assert pushed.code == 0, pushed.out + pushed.err
        remove_names(client, onnx_image)
        missing = shop.run("convert", "--model", "digits", **settings)
        assert missing.code == 4
        assert "make images TARGET=onnx" in missing.err and "make pull" in missing.err
        pulled = shop.run("pull", **settings)
        assert pulled.code == 0, pulled.out + pulled.err
        again = shop.run("convert", "--model", "digits", **settings)
        assert again.code == 0, again.out + again.err
    finally:
        registry.stop()
        restore(client, onnx_image, name)
    assert shop.latest("digits").name == before.name, "the same image, the same key"
    toolchain = manifest_of(shop.latest("digits"))["buildDefinition"]["internalParameters"]["toolchain"]
    assert [entry.partition("@")[0] for entry in toolchain["repositories"]] == [f"{registry.host}/farm/onnx"]


def remove_names(client: Client, image: Image) -> None:
    """Take every name from an image but one that no farm asks for; without any it could not be put back."""
    client.ask("tag", image.identity, "modelfarm-test/put-aside")
    listed = client.ask("image", "inspect", image.identity, "--format", "{{json .RepoTags}}")
    for name in json.loads(listed):
        if name != "modelfarm-test/put-aside:latest":
            client.ask("image", "rm", name)


def restore(client: Client, image: Image, name: str) -> None:
    client.ask("tag", "modelfarm-test/put-aside", name)
    client.ask("image", "rm", "modelfarm-test/put-aside")
    listed = client.ask("image", "inspect", image.identity, "--format", "{{json .RepoTags}} {{json .RepoDigests}}")
    for other in re.findall('"([^"]+/farm/onnx[:@][^"]+)"', listed):
        client.ask("image", "rm", other)
