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
# Each of their nodes is tried alone on 640x640 pixels, which takes a minute or more; smaller pictures show the same.
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


def precisions_of(model: str) -> list[str]:
    precisions: list[str] = RECIPES[model]["targets"]["trt-rtx"].get("precision", ["fp32"])
    return precisions


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
    precisions = [name for name in precisions_of(model) if (model, name) not in SLOW]
    run(shop, model, "--precision", ",".join(precisions), MODELFARM_DATA=str(data))
    for precision in precisions:
        judge(shop, model, precision)


@pytest.mark.parametrize("model", UNTRAINED)
def test_a_bundled_model_without_weights_becomes_an_engine_with_random_ones(shop: Shop, model: str) -> None:
    run(shop, model, "--weights", "random", "--precision", "fp32")
    judge(shop, model, "fp32", "-random")


def test_a_quantised_file_becomes_an_engine_of_float_arithmetic(shop: Shop, data: Path) -> None:
    run(shop, "shufflenet-v2-12-int8", MODELFARM_DATA=str(data))
    graph = shop.latest("shufflenet-v2-12-int8", "onnx-for-trt-rtx")
    smoke = json.loads((graph / "smoke.json").read_text())
    assert smoke["worst"]["score"] == 0, "to the last bit"
    changed = smoke["facts"]["edited"]["changed"]
    assert "whole_numbers: 56 QLinearConv in float arithmetic" in changed
    facts = verification(shop.latest("shufflenet-v2-12-int8", "trt-rtx-fp32"))["facts"]
    assert set(facts["network"]["types"]) <= {"float32", "int64"} and "quantize" not in facts["network"]["layers"]


def test_every_bundled_model_says_which_engines_it_becomes() -> None:
    assert {name for name, recipe in RECIPES.items() if "trt-rtx" not in recipe["targets"]} == set()
    assert {name for name in BECOMING if not {"fp32", "fp16"} <= set(precisions_of(name))} == {"shufflenet-v2-12-int8"}
    calibrated = {name for name in BECOMING if "calibration" in RECIPES[name]}
    assert calibrated == {name for name in BECOMING if "int8" in precisions_of(name)}
