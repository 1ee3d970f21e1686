"""Engines of every bundled model by make trt-rtx, on a machine without a GPU; the digits have tests of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelfarm.settings import ROOT
from tests.end.conftest import Ran, Shop

RECIPES = {file.parent.name: yaml.safe_load(file.read_text()) for file in (ROOT / "models").glob("*/model.yaml")}
BECOMING = sorted(name for name, recipe in RECIPES.items() if "trt-rtx" in recipe["targets"] and name != "digits")
TRAINED = [name for name in BECOMING if "sha256" in str(RECIPES[name]["source"])]
UNTRAINED = [name for name in BECOMING if name not in TRAINED]
# Each of their nodes is tried alone on 640x640 pixels, which takes minutes; tests/images does it for the second.
SLOW = {("slim-face-landmark", "int8"), ("yolov5n-0.5-face", "int8")}
GENERATIONS = {75, 80, 86, 89, 120, 121}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, onnx_python: Path) -> Shop:
    return Shop(artifacts=tmp_path_factory.mktemp("engines") / "artifacts")


def run(shop: Shop, model: str, *words: str, **settings: str) -> Ran:
    ran = shop.run("convert", "--target", "trt-rtx", "--model", model, *words, **settings)
    assert ran.code == 0, ran.out + ran.err
    return ran


def verification(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_text())["predicate"]["verification"]


def judge(shop: Shop, model: str, precision: str, suffix: str = "") -> None:
    """Assert that the graph of an engine was proven, and that the engine was built for all that take it."""
    graph = f"onnx-for-trt-rtx{'' if precision == 'fp32' else f'-{precision}'}{suffix}"
    assert verification(shop.latest(model, graph))["verified"] == "verified"
    engine = verification(shop.latest(model, f"trt-rtx-{precision}{suffix}"))
    assert engine["verified"] == "built, not run"
    served, left_out = set(engine["facts"]["compute capabilities"]), engine["facts"].get("left out", {})
    assert served | set(map(int, left_out)) == GENERATIONS and set(left_out) <= {"75"}
    assert all("FP32 GEMM is not supported" in reason for reason in left_out.values())


@pytest.mark.parametrize("model", TRAINED)
def test_a_bundled_model_becomes_engines_in_the_precisions_of_its_recipe(shop: Shop, data: Path, model: str) -> None:
    precisions = [name for name in RECIPES[model]["targets"]["trt-rtx"]["precision"] if (model, name) not in SLOW]
    assert {"fp32", "fp16"} <= set(precisions)
    run(shop, model, "--precision", ",".join(precisions), MODELFARM_DATA=str(data))
    for precision in precisions:
        judge(shop, model, precision)


@pytest.mark.parametrize("model", UNTRAINED)
def test_a_bundled_model_without_weights_becomes_an_engine_with_random_ones(shop: Shop, model: str) -> None:
    run(shop, model, "--weights", "random", "--precision", "fp32")
    judge(shop, model, "fp32", "-random")


def test_every_bundled_model_says_which_engines_it_becomes() -> None:
    without = {name for name, recipe in RECIPES.items() if "trt-rtx" not in recipe["targets"]}
    assert without == {"shufflenet-v2-12-int8"}, "TensorRT takes no graph whose zero points are other than 0"
    calibrated = {name for name, recipe in RECIPES.items() if "calibration" in recipe}
    assert calibrated == {name for name in BECOMING if "int8" in RECIPES[name]["targets"]["trt-rtx"]["precision"]}
