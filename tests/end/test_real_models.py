"""Trained models of other people: what the artifacts find, held against results computed elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.end.conftest import Shop

DETECTORS = [("yolov5n-0.5-face", "yolov5n-0.5-face.state_dict.pt"),
             ("yolov5n-0.5-face", "yolov5n-0.5-face.pickled.pt"),
             ("slim-face-landmark", ""), ("ultraface-slim-320", ""), ("ultraface-slim-320-onnx", "")]
CLASSIFIERS = ["resnet20-cifar10", "resnet56-cifar10", "shufflenet-v2-12-int8"]

_EQUAL = """
import json, sys
import numpy as np, onnxruntime
static, dynamic = (onnxruntime.InferenceSession(path) for path in sys.argv[1:3])
pictures = np.random.default_rng(5).random((4, 3, 640, 640), np.float32)
def run(session, batch):
    return session.run(None, {"input": batch})[0]
one = np.concatenate([run(static, pictures[i:i + 1]) for i in range(4)])
single = np.concatenate([run(dynamic, pictures[i:i + 1]) for i in range(4)])
print(json.dumps([static.get_inputs()[0].shape, dynamic.get_inputs()[0].shape,
                  float(np.abs(one - single).max()), float(np.abs(one - run(dynamic, pictures)).max())]))
"""


@pytest.fixture(scope="module")
def golden(data: Path) -> dict[str, Any]:
    return json.loads((data / "golden.json").read_text())


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, onnx_python: Path) -> Shop:
    return Shop(artifacts=tmp_path_factory.mktemp("real") / "artifacts")


def smoke_of(shop: Shop, data: Path, model: str, weights: str = "") -> dict[str, Any]:
    chosen = ["--weights", str(data / "weights" / weights)] if weights else []
    ran = shop.run("convert", "--model", model, *chosen, MODELFARM_DATA=str(data))
    assert ran.code == 0, ran.out + ran.err
    return json.loads((shop.latest(model) / "smoke.json").read_text())


@pytest.mark.parametrize(("model", "weights"), DETECTORS)
def test_detectors_find_what_independent_code_found(
    real: Shop, data: Path, golden: dict[str, Any], model: str, weights: str
) -> None:
    smoke = smoke_of(real, data, model, weights)
    found = {entry["sample"]: entry["artifact"] for entry in smoke["predictions"]}
    for picture, expected in golden[model.removesuffix("-onnx")]["images"].items():
        assert len(found[picture]) == len(expected)
        for ours, theirs in zip(found[picture], expected, strict=True):
            assert ours["box"] == pytest.approx(theirs["box"], abs=1)
            assert ours["score"] == pytest.approx(theirs["score"], abs=0.01)
            for point, known in zip(ours["landmarks"], theirs.get("lm", []), strict=True):
                assert point == pytest.approx(known, abs=1)
    assert smoke["worst"]["px"] < 1e-3
    assert smoke["worst"]["score"] < 1e-5


@pytest.mark.parametrize("model", CLASSIFIERS)
def test_classifiers_rank_what_independent_code_ranked(
    real: Shop, data: Path, golden: dict[str, Any], model: str
) -> None:
    smoke = smoke_of(real, data, model)
    found = {entry["sample"]: entry["artifact"][0] for entry in smoke["predictions"]}
    for picture, expected in golden[model]["images"].items():
        if "top1" in expected:
            assert found[picture]["labels"][0] == expected["top1"]
        else:
            assert found[picture]["ranking"][:5] == [index for index, _ in expected["top5"]]
    assert smoke["worst"]["score"] < 1e-5


def test_a_static_and_an_open_batch_give_equal_results_for_batches_of_1_and_4(
    real: Shop, data: Path, toolchain: Any
) -> None:
    smoke_of(real, data, "yolov5n-0.5-face")
    ran = real.run("convert", "--model", "yolov5n-0.5-face", "--options", "dynamic={}", MODELFARM_DATA=str(data))
    assert ran.code == 0, ran.err
    files = [str(real.latest("yolov5n-0.5-face", variant) / "model.onnx") for variant in ("onnx-dynamic-none", "onnx")]
    static, dynamic, single, batch = toolchain(_EQUAL, *files)
    assert (static, dynamic) == ([1, 3, 640, 640], ["batch", 3, 640, 640])
    assert single == 0
    assert batch < 1e-3


def test_old_toolchains_get_opset_11(real: Shop, data: Path) -> None:
    ran = real.run("convert", "--model", "ultraface-slim-320", "--options", "opset=11", MODELFARM_DATA=str(data))
    assert ran.code == 0, ran.err
    smoke = json.loads((real.latest("ultraface-slim-320", "onnx-opset11") / "smoke.json").read_text())
    assert smoke["facts"]["opset"] == 11
