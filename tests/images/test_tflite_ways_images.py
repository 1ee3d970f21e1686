"""The images of the ways from and to TFLite: their size, their own test, and a job as the farm runs it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelfarm.containers import Client, Image
from modelfarm.digest import Digests
from modelfarm.settings import ROOT
from modelfarm.target import read_targets
from modelfarm.toolchain import local_name
from tests.end.conftest import Shop
from tests.images.conftest import make_image

pytestmark = pytest.mark.images

BUDGET = 2.0e9  # bytes, uncompressed
CLOSED = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
DOCKER = ROOT / "docker"
HEADERS = "/opt/toolchain/lib/python3*/site-packages/tensorflow/include"


@pytest.fixture(scope="module", params=["tflite", "tflite2onnx", "tflite-onnx2tf"])
def target(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if not (DOCKER / name).is_dir():
        pytest.skip(f"there is no docker/{name}")
    return name


@pytest.fixture(scope="module")
def image(client: Client, target: str, tmp_path_factory: pytest.TempPathFactory) -> Image:
    make_image(target)
    found = client.image(local_name(read_targets()[target], Digests(tmp_path_factory.mktemp("digests"))))
    assert found is not None, "make images ended well, but the engine does not hold the image of this checkout"
    return found


def test_it_keeps_to_its_size(image: Image, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n  {target} image: {image.size / 1e9:.2f} GB of {BUDGET / 1e9} GB")
    assert image.size <= BUDGET


def test_it_passes_its_own_test_with_no_network(client: Client, image: Image) -> None:
    words = ("run", "--rm", *CLOSED, "--tmpfs", "/tmp", image.identity, "--self-test")
    said = client.ask(*words, seconds=300).splitlines()
    assert [line for line in said if not line.startswith("ok ")] == []
    assert "ok    user: not root, 65534" in said and "ok    compiler: none" in said
    assert any(line.startswith("ok    job: model.") for line in said)


def test_it_holds_its_own_modules_and_those_that_it_shares_alone(client: Client, image: Image, target: str) -> None:
    words = ("run", "--rm", *CLOSED, "--entrypoint", "/bin/sh", image.identity, "-c")
    shares = [folder.name for folder in read_targets()[target].shares]
    assert sorted(client.ask(*words, "ls -A /opt/modelfarm").split()) == sorted(["jobkit", target, *shares])
    unwanted = [HEADERS, *(f"/opt/modelfarm/{name}/*.{kind}" for name in shares for kind in ("yaml", "txt"))]
    assert client.ask(*words, f"ls -d {' '.join(unwanted)} 2>/dev/null; true") == ""


def test_a_job_in_it_is_the_small_job_again(client: Client, image: Image, target: str, tmp_path: Path) -> None:
    """Run the self-test's job from outside, as the farm does, with its folder mounted read-only but for `out`."""
    job = tmp_path / "job"
    shutil.copytree(DOCKER / target / "self_test", job)
    document = json.loads((job / "job.json").read_text())
    (job / "in" / "source").mkdir(parents=True)
    job.chmod(0o777)
    for folder in (job / "in", job / "in" / "source"):
        folder.chmod(0o777)
    mount = f"type=bind,source={job},target=/job"
    base = ("run", "--rm", *CLOSED, "--tmpfs", "/tmp", "--mount", mount)
    client.ask(*base, "--entrypoint", "/opt/toolchain/bin/python", image.identity, "make_source.py")
    if not (job / "in" / "samples.npz").is_file():
        write_samples(job, document)
    (job / "out").mkdir()
    (job / "out").chmod(0o777)
    client.ask(*base, image.identity, "/job", seconds=300)
    result = json.loads((job / "out" / "result.json").read_text())
    assert result["ok"] and result["files"] == document["promises"]
    made, wanted = (np.load(job / "out" / name) for name in ("outputs.npz", "reference.npz"))
    for name in wanted.files:
        largest = document.get("self_test", {}).get("tolerance", 1e-4) * max(float(np.abs(wanted[name]).max()), 1.0)
        np.testing.assert_allclose(made[name], wanted[name], atol=largest)


def write_samples(job: Path, document: Any) -> None:
    (item,) = document["inputs"]
    rng = np.random.default_rng(5)
    np.savez(job / "in" / "samples.npz", **{
        f"{index}/{item['name']}": rng.standard_normal(item["shape"]).astype(np.float32)
        for index in range(len(document["samples"]))})


def test_the_part_for_metadata_is_linked_without_the_systems_libusb(client: Client, image: Image, target: str) -> None:
    if target == "tflite2onnx":
        pytest.skip("it makes ONNX files, which have no such metadata")
    words = ("run", "--rm", *CLOSED, "--tmpfs", "/tmp", "--entrypoint", "/opt/toolchain/bin/python", image.identity)
    code = "import sys; sys.path.insert(0, '/opt/modelfarm/tflite'); import support; print(support.MetadataDisplayer)"
    assert "MetadataDisplayer" in client.ask(*words, "-c", code, seconds=300)


@pytest.fixture(scope="module")
def shelves(onnx_image: Image, onnx_python: Path, client: Client,
            tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shop]:
    """Return a store for each runner, with the digits in floats and in integers by both ways."""
    folder = tmp_path_factory.mktemp("shelves")
    found = {runner: Shop(artifacts=folder / runner) for runner in ("docker", "venv")}
    for name in ("tflite", "tflite-onnx2tf"):
        make_image(name)
    for runner, shop in found.items():
        for way in ("onnx-tf", "onnx2tf"):
            ran = shop.run("convert", "--target", "tflite", "--model", "digits", "--precision", "fp32,uint8",
                           "--via", way, RUNNER=runner)
            assert ran.code == 0, ran.out + ran.err
    return found


@pytest.mark.parametrize("variant", ["tflite-fp32", "tflite-uint8", "tflite-fp32-onnx2tf", "tflite-uint8-onnx2tf"])
def test_containers_and_environments_give_equal_bytes(shelves: dict[str, Shop], variant: str) -> None:
    files = {runner: shop.latest("digits", variant) / "model.tflite" for runner, shop in shelves.items()}
    digests = {runner: hashlib.sha256(file.read_bytes()).hexdigest() for runner, file in files.items()}
    assert digests["docker"] == digests["venv"]
    facts = {runner: json.loads((file.parent / "smoke.json").read_text()) for runner, file in files.items()}
    assert facts["docker"]["facts"] == facts["venv"]["facts"]
    assert (facts["docker"]["runner"], facts["venv"]["runner"]) == ("docker", "venv")
