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

BUDGET = 0.6e9  # bytes, uncompressed: NVIDIA's library alone is 0.2
CLOSED = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


@pytest.fixture(scope="module")
def image(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Return the image of this checkout, or skip: make images TARGET=trt-rtx builds it."""
    name = local_name(read_targets()["trt-rtx"], Digests(tmp_path_factory.mktemp("digests")))
    found = client.image(name)
    if found is None:
        pytest.skip(f"there is no image {name}: make images TARGET=trt-rtx builds it")
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


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_container_gives_the_engine_that_the_environment_gives(
    image: Image, onnx_image: Image, onnx_python: Path, tmp_path: Path, precision: str
) -> None:
    digests = {}
    for runner in ("docker", "venv"):
        shop = Shop(artifacts=tmp_path / runner)
        ran = shop.run("convert", "--target", "trt-rtx", "--model", "digits", "--precision", precision, RUNNER=runner)
        assert ran.code == 0, ran.out + ran.err
        folder = shop.latest("digits", f"trt-rtx-{precision}")
        digests[runner] = hashlib.sha256((folder / "model.engine").read_bytes()).hexdigest()
        verification = json.loads((folder / "manifest.json").read_text())["predicate"]["verification"]
        assert verification["verified"] == "built, not run"
    assert digests["docker"] == digests["venv"]
