"""Provenance with real containers: an artifact is made again in its image, by the farm and by the plain command."""

from __future__ import annotations

import io
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from modelfarm import toolchain
from modelfarm.artifact import Artifact
from modelfarm.console import Console
from modelfarm.containers import Client, Image
from modelfarm.manifest import read_origin
from modelfarm.reproduce import EQUAL, IDENTICAL, Rebuilder
from modelfarm.why import explain
from tests.images.boxes import Boxes, build_image, make_boxes, make_toolchains


@pytest.fixture(scope="module")
def toolchains(tmp_path_factory: pytest.TempPathFactory, client: Client, onnx_image: Image) -> Path:
    """Return the folder of the toys' toolchain, whose image the engine holds."""
    folder = tmp_path_factory.mktemp("provenance")
    toolchains = make_toolchains(folder)
    build_image(make_boxes(folder / "first", toolchains, client), client, onnx_image)
    return toolchains


@pytest.fixture
def boxes(tmp_path: Path, toolchains: Path, client: Client) -> Boxes:
    """Return a farm of boxes with an empty store."""
    return make_boxes(tmp_path, toolchains, client)


def rebuilder(boxes: Boxes) -> Rebuilder:
    return Rebuilder(store=boxes.farm.store, runners=lambda target: boxes.runner)


def made(boxes: Boxes) -> Artifact:
    return boxes.build()[0].artifact


def run(boxes: Boxes, artifact: Artifact) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", artifact.path("reproduce.sh"), "job"], cwd=boxes.folder, capture_output=True,
                          text=True, timeout=120)


def test_the_plain_command_makes_the_artifact_again(boxes: Boxes) -> None:
    artifact = made(boxes)
    rebuilder(boxes).write(boxes.job(), boxes.folder / "job", Console(io.StringIO()))
    script = artifact.path("reproduce.sh").read_text()
    assert read_origin(artifact).toolchain["image"] in script
    assert str(boxes.folder) not in script and f":{os.getgid()}" not in script
    done = run(boxes, artifact)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "equal to the artifact, byte for byte: model.toy"
    assert {path.stat().st_uid for path in (boxes.folder / "job" / "out").iterdir()} == {os.getuid()}


def test_without_the_image_the_plain_command_says_so(boxes: Boxes) -> None:
    artifact = made(boxes)
    rebuilder(boxes).write(boxes.job(), boxes.folder / "job", Console(io.StringIO()))
    script = artifact.path("reproduce.sh")
    script.write_text(script.read_text().replace(read_origin(artifact).toolchain["image"], "sha256:" + "0" * 64))
    done = run(boxes, artifact)
    assert done.returncode == 1
    assert "no such image" in done.stderr.lower()


def test_the_farm_makes_it_again_and_runs_the_old_one_where_bytes_differ(boxes: Boxes) -> None:
    artifact, job = made(boxes), boxes.job()
    assert rebuilder(boxes).reproduce(job, artifact, Console(io.StringIO())) == IDENTICAL
    other = replace(artifact, files=(replace(artifact.files[0], sha256="0" * 64),))
    stream = io.StringIO()
    assert rebuilder(boxes).reproduce(job, other, Console(stream, live=False)) == EQUAL
    assert "take the files that are given" in stream.getvalue()
    assert not list((boxes.settings.artifacts / ".staging").iterdir())


def test_why_knows_two_images_by_what_they_hold(boxes: Boxes, onnx_image: Image) -> None:
    made(boxes)
    # The box is this image with another converter.
    content = toolchain.describe(boxes.client, onnx_image, boxes.runner.memory).content
    job = boxes.job()
    changed = replace(job, identity={**job.identity, "toolchain": {"image": content}})
    stream = io.StringIO()
    explain([changed], "", boxes.farm.store, boxes.runner.memory, Console(stream, live=False))
    assert [line.split()[0] for line in stream.getvalue().splitlines()[2:]] == ["toolchain.image", "."]
    assert "both images have the same packages: other files changed" in stream.getvalue()
