"""The trt-rtx image: it tests itself without a GPU, and gives the bytes that the environment gives."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from modelfarm.containers import Client, Image
from modelfarm.digest import Digests
from modelfarm.target import read_targets
from modelfarm.toolchain import local_name
from tests.end.conftest import Shop
from tests.images.conftest import make_image

BUDGET = 0.6e9  # bytes, uncompressed: NVIDIA's library alone is 0.2
CLOSED = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


@pytest.fixture(scope="module")
def image(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Return the image of this checkout, made as a user makes it."""
    make_image("trt-rtx")
    found = client.image(local_name(read_targets()["trt-rtx"], Digests(tmp_path_factory.mktemp("digests"))))
    assert found is not None, "make images ended well, but the engine does not hold the image of this checkout"
    return found


@pytest.fixture(scope="module")
def shops(image: Image, onnx_image: Image, onnx_python: Path,
          tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shop]:
    """Return a store for each runner, with the digits as engines in every precision of their recipe."""
    folder = tmp_path_factory.mktemp("shops")
    found = {runner: Shop(artifacts=folder / runner) for runner in ("docker", "venv")}
    for runner, shop in found.items():
        ran = shop.run("convert", "--target", "trt-rtx", "--model", "digits", RUNNER=runner)
        assert ran.code == 0, ran.out + ran.err
    return found


def said(client: Client, image: Image, *words: str) -> list[str]:
    options = ("--tmpfs", "/tmp")
    return client.ask("run", "--rm", *CLOSED, *options, image.identity, *words, seconds=300).splitlines()


def test_it_keeps_to_its_size(image: Image) -> None:
    assert image.size <= BUDGET


def test_it_passes_its_own_test_without_a_gpu(client: Client, image: Image) -> None:
    lines = said(client, image, "--self-test")
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert "ok    packages: 3 as in the lock" in lines
    assert "ok    job: model.engine, its signature as wanted, not run" in lines


def test_it_has_the_modules_that_tensorrts_toolchains_share(client: Client, image: Image) -> None:
    described = json.loads("\n".join(said(client, image, "--describe")))
    assert described["target"] == "trt-rtx"
    assert set(described["packages"]) == {"numpy", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs"}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_container_gives_the_engine_that_the_environment_gives(shops: dict[str, Shop], precision: str) -> None:
    folders = {runner: shop.latest("digits", f"trt-rtx-{precision}") for runner, shop in shops.items()}
    for runner, folder in folders.items():
        predicate = json.loads((folder / "manifest.json").read_text())["predicate"]
        assert predicate["verification"]["verified"] == "built, not run"
        assert (folder / "convert.log").read_text().count("docker run") == (runner == "docker")
    first, second = ((folder / "model.engine").read_bytes() for folder in folders.values())
    assert hashlib.sha256(first).hexdigest() == hashlib.sha256(second).hexdigest()


def test_a_container_makes_engines_of_a_real_detector(shops: dict[str, Shop], data: Path) -> None:
    words = ("--target", "trt-rtx", "--model", "yolov5n-0.5-face", "--precision", "fp32,fp16")
    ran = shops["docker"].run("convert", *words, RUNNER="docker", MODELFARM_DATA=str(data))
    assert ran.code == 0, ran.out + ran.err
    for precision in ("fp32", "fp16"):
        folder = shops["docker"].latest("yolov5n-0.5-face", f"trt-rtx-{precision}")
        found = json.loads((folder / "manifest.json").read_text())["predicate"]["verification"]
        assert found["verified"] == "built, not run"
        assert found["facts"]["compute capabilities"] == [75, 80, 86, 89, 120, 121]
