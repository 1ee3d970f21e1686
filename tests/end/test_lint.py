"""Lint from end to end: what TNN will not take of a graph is said before any conversion, and what is mended is done."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from modelfarm.containers import find_client
from modelfarm.digest import Digests
from modelfarm.target import read_targets
from modelfarm.toolchain import local_name
from tests.conftest import Toolchain
from tests.end.conftest import Ran, Shop

NETS = '''
import torch
from torch import nn


class Pool(nn.Module):
    """An average that counts its padding, as PyTorch's does where nothing is said."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AvgPool2d(3, stride=2, padding=1))

    def forward(self, x):
        return self.body(x)


class Head(nn.Module):
    """The end of a detector: values of two anchors moved behind the cells, in five dimensions."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 2 * 6, 1)
        rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(4.0), indexing="ij")
        self.register_buffer("grid", torch.stack((columns, rows), -1)[None, None])

    def forward(self, x):
        x = self.body(x)
        batch, _, height, width = x.shape
        x = x.view(batch, 2, 6, height, width).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
        x = torch.cat(((x[..., 0:2] * 2 - 0.5 + self.grid) * 8, x[..., 2:]), -1)
        return x.view(batch, -1, 6)


def pool():
    return Pool()


def head():
    return Head()
'''

RECIPE = """\
name: {name}
description: a network that TNN has a word to say of
source: {{torch: {{module: nets.py, factory: {factory}, weights: {{file: none.pt}}}}}}
inputs: {{x: {{shape: [1, 3, 5, 4]}}}}
outputs: [y]
samples: {{random: 2}}
targets: {{onnx: {{}}, tnn: {adapt}}}
"""

_BOTH = """
import json, sys
import numpy as np, onnx, onnxruntime
models = [onnx.shape_inference.infer_shapes(onnx.load(path)) for path in sys.argv[1:3]]
x = np.random.default_rng(2).standard_normal((1, 3, 5, 4)).astype(np.float32)
before, after = (onnxruntime.InferenceSession(path).run(None, {"x": x})[0] for path in sys.argv[1:3])
print(json.dumps({
    "shapes": [list(before.shape), list(after.shape)],
    "error": float(np.abs(before - after).max()),
    "spread": float(before.std()),
    "ranks": [max(len(value.type.tensor_type.shape.dim) for value in model.graph.value_info) for model in models],
}))
"""


@pytest.fixture(scope="module")
def linted(tmp_path_factory: pytest.TempPathFactory, onnx_python: Path) -> tuple[Shop, Ran]:
    """Lint three networks with one command, and return the store and what was said."""
    folder = tmp_path_factory.mktemp("linted")
    shop = Shop(artifacts=folder / "artifacts", models=folder / "models")
    for name, factory, adapt in (("pool", "pool", "{}"), ("head", "head", "{}"),
                                 ("five", "head", "{adapt: {four_dimensions: false}}")):
        (shop.models / name).mkdir(parents=True)
        (shop.models / name / "nets.py").write_text(NETS)
        (shop.models / name / "model.yaml").write_text(
            RECIPE.format(name=name, factory=factory, adapt=adapt))
    ran = shop.run("lint", "--model", "pool,head,five", "--target", "tnn", "--weights", "random", RUNNER="venv",
                   JOBS="2")
    return shop, ran


def said_of(ran: Ran, model: str) -> list[str]:
    """Return the lines below a model's heading."""
    said = re.search(rf"^{model} for TNN\n((?:  .*\n)+)", ran.out, re.MULTILINE)
    assert said, ran.out + ran.err
    return [line.strip() for line in said[1].splitlines()]


def test_a_padded_average_blocks_tnn_and_says_why(linted: tuple[Shop, Ran]) -> None:
    _, ran = linted
    assert ran.code == 6, ran.out + ran.err
    message = ran.err[ran.err.index("modelfarm: pool/onnx-for-tnn-random: "):]
    assert "TNN will not take this graph" in message
    (line,) = (line for line in message.splitlines() if "blocks" in line)
    assert re.search(r"AveragePool \S+: with padding and count_include_pad=1 it converts silently wrong", line)
    assert "ConstantPad2d" in line
    assert "exit code 6" in message


def test_what_is_blocked_is_not_published_and_hides_no_other(linted: tuple[Shop, Ran]) -> None:
    shop, _ = linted
    published = {folder.name for folder in shop.artifacts.iterdir() if folder.name[0] != "."} - {"failed"}
    assert published == {"head", "five"}


def test_a_head_of_five_dimensions_is_one_finding_with_its_remedy(linted: tuple[Shop, Ran]) -> None:
    (line,) = said_of(linted[1], "five")
    assert line.startswith("warns ")
    assert "on opencl: it has a tensor with more than four axes" in line
    assert "-> the pass four_dimensions" in line
    assert "done" not in line


def test_by_default_the_finding_is_mended(linted: tuple[Shop, Ran]) -> None:
    (line,) = said_of(linted[1], "head")
    assert "it has a tensor with more than four axes" in line
    assert line.endswith("(done: four_dimensions)")


def test_what_is_mended_is_the_same_to_the_bit(linted: tuple[Shop, Ran], toolchain: Toolchain) -> None:
    shop, _ = linted
    five, four = (str(shop.latest(name, "onnx-for-tnn-random") / "model.onnx") for name in ("five", "head"))
    both = toolchain(_BOTH, five, four)
    assert both["ranks"] == [5, 4]
    assert both["shapes"] == [[1, 40, 6]] * 2
    assert both["error"] == 0
    assert both["spread"] > 0.1


def test_the_manifest_holds_the_findings(linted: tuple[Shop, Ran]) -> None:
    def finding(name: str) -> Any:
        manifest = json.loads((linted[0].latest(name, "onnx-for-tnn-random") / "manifest.json").read_text())
        (found,) = manifest["predicate"]["verification"]["facts"]["lint"]
        return found

    assert (finding("head")["left"], finding("five")["left"]) == (False, True)
    assert len(finding("five")["nodes"]) > 2, "one finding for all its nodes"


def test_lint_of_a_target_that_says_nothing_is_a_usage_error(shop: Shop) -> None:
    ran = shop.run("lint", "--model", "digits", "--target", "onnx")
    assert ran.code == 2
    assert "target onnx does not say what it takes" in ran.err
    assert not shop.artifacts.exists()


def refused(shop: Shop, **settings: str) -> str:
    """Convert the digits to TNN where there is no image, and return what is said."""
    ran = shop.run("convert", "--model", "digits", "--target", "tnn", **settings)
    assert ran.code == 4, ran.out + ran.err
    assert ran.out.strip() == "", "a toolchain was started"
    assert not list(shop.artifacts.rglob("*.onnx"))
    return ran.err


def test_tnn_without_an_engine_says_what_builds_its_image(shop: Shop) -> None:
    said = refused(shop, RUNNER="auto", DOCKER=str(shop.artifacts / "no-docker"))
    assert "the tnn toolchain exists as an image only" in said
    assert "make images TARGET=tnn" in said
    assert "RUNNER=venv" not in said


def test_tnn_in_an_environment_says_what_builds_its_image(shop: Shop) -> None:
    assert "make images TARGET=tnn, then RUNNER=docker" in refused(shop, RUNNER="venv")


def test_tnn_without_its_image_says_what_builds_it(shop: Shop, tmp_path: Path) -> None:
    client = find_client("docker")
    if client is None or client.problem():
        pytest.skip("docker does not answer")
    if client.image(local_name(read_targets()["tnn"], Digests(tmp_path))):
        pytest.skip("the image is here")
    said = refused(shop, RUNNER="auto")
    assert "docker has no image modelfarm/tnn:" in said
    assert "make images TARGET=tnn builds it" in said
