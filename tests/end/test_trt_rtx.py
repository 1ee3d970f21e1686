"""make trt-rtx from end to end, on a machine without a GPU: built engines, and graphs before them that are verified."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.end.conftest import Ran, Shop

GATES = ["complete", "signature", "finite", "parity", "predictions", "golden", "device"]


def run(shop: Shop, *words: str, model: str = "digits", **settings: str) -> Ran:
    return shop.run("convert", "--target", "trt-rtx", "--model", model, *words, **settings)


def verification(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_text())["predicate"]["verification"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, onnx_python: Path) -> Shop:
    """Return a store with the digits as engines in every precision; tests only read it."""
    shop = Shop(artifacts=tmp_path_factory.mktemp("rtx") / "artifacts")
    ran = run(shop)
    assert ran.code == 0, ran.out + ran.err
    return shop


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_engine_is_built_and_its_graph_is_verified(built: Shop, precision: str) -> None:
    engine = verification(built.latest("digits", f"trt-rtx-{precision}"))
    assert engine["verified"] == "built, not run"
    assert engine["gates"] == {name: "passed" if name in GATES[:2] else "not run" for name in GATES}
    suffix = "" if precision == "fp32" else f"-{precision}"
    graph = verification(built.latest("digits", f"onnx-for-trt-rtx{suffix}"))
    assert graph["verified"] == "verified"
    assert graph["gates"] == dict.fromkeys(GATES, "passed")


def test_engines_say_what_they_serve(built: Shop) -> None:
    whole, half = (verification(built.latest("digits", f"trt-rtx-{name}"))["facts"] for name in ("fp32", "fp16"))
    assert whole["compute capabilities"] == [80, 86, 89, 120, 121] and list(whole["left out"]) == ["75"]
    assert half["compute capabilities"] == [75, 80, 86, 89, 120, 121] and "left out" not in half
    assert whole["runtime"]["name"] == half["runtime"]["name"] == "TensorRT-RTX"
    assert set(whole["network"]["types"]) == {"float32"} and {"float16", "float32"} == set(half["network"]["types"])


def test_the_graph_in_int8_has_q_and_dq_and_the_engine_too(built: Shop) -> None:
    graph = verification(built.latest("digits", "onnx-for-trt-rtx-int8"))["facts"]
    assert graph["nodes"]["QuantizeLinear"] > 0 and graph["nodes"]["DequantizeLinear"] > 0
    engine = verification(built.latest("digits", "trt-rtx-int8"))["facts"]
    assert engine["network"]["layers"]["quantize"] == graph["nodes"]["QuantizeLinear"]
    assert engine["network"]["layers"]["dequantize"] == graph["nodes"]["DequantizeLinear"]


def test_tables_and_reports_say_built_and_never_verified(built: Shop) -> None:
    rows = [line for line in built.run("status").out.splitlines() if " trt-rtx-" in line]
    assert len(rows) == 3
    assert all("built, not run: 2 passed" in row and "verified" not in row for row in rows)
    ran = built.run("show", "--model", "digits", "--variant", "trt-rtx-fp16")
    assert "BUILT, NOT RUN" in ran.out and "verified" not in ran.out.lower()


def test_a_second_call_finds_them(built: Shop) -> None:
    ran = run(built)
    assert ran.code == 0
    assert len([line for line in ran.out.splitlines() if line.endswith("cached")]) == 6


def test_an_engine_is_made_again_with_the_same_bytes(built: Shop) -> None:
    ran = built.run("reproduce", "--target", "trt-rtx", "--model", "digits", "--variant", "trt-rtx-fp16")
    assert ran.code == 0, ran.err
    assert ran.out.rstrip().endswith(": identical")


def test_a_range_of_batches_gives_an_engine_with_a_free_batch(built: Shop) -> None:
    ran = run(built, "--options", "batch=1,4,8", "--precision", "fp32")
    assert ran.code == 0, ran.out + ran.err
    folder = built.latest("digits", "trt-rtx-fp32-batch1_4_8")
    assert verification(folder)["gates"]["signature"] == "passed"
    assert "input float32 [axis_0, 1, 8, 8]" in (folder / "smoke.log").read_text()


@pytest.mark.parametrize(("options", "said"), [
    ("compute_capabilities=[87]", "there is no compute capability 87 that TensorRT-RTX builds for"),
    ("compute_capabilities=[75]", "Cannot compile operation"),
])
def test_what_cannot_be_built_ends_with_the_code_of_conversions(built: Shop, options: str, said: str) -> None:
    ran = run(built, "--options", options, "--precision", "fp32")
    assert ran.code == 5 and said in ran.err


def test_int8_without_a_calibration_set_is_refused(built: Shop, own_models: Callable[..., Path]) -> None:
    models = own_models("name: digits", "name: digits")
    recipe = models / "digits" / "model.yaml"
    lines = [line for line in recipe.read_text().splitlines() if not line.startswith("calibration:")]
    recipe.write_text("\n".join(lines) + "\n")
    ran = run(Shop(artifacts=built.artifacts, models=models), "--precision", "int8")
    assert ran.code == 3 and "digits has no `calibration`" in ran.err


def test_an_operator_that_tensorrt_has_not_is_named(built: Shop, data: Path) -> None:
    options = 'adapt={"whole_numbers":false}'
    ran = run(built, "--options", options, model="shufflenet-v2-12-int8",
              MODELFARM_DATA=str(data))
    assert ran.code == 5
    assert "QuantizeLinear input_QuantizeLinear: Assertion failed: shiftIsAllZeros(zeroPoint)" in ran.err
