"""A conversion from end to end: what it leaves, and that it is right by independent code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.end.conftest import Shop

_ACCURACY = """
import json, sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
rows = np.load("models/digits/samples/heldout.npz")
found = session.run(None, {"input": rows["input"]})[0].argmax(1)
print(json.dumps(float((found == rows["label"]).mean())))
"""

_OPSET = """
import json, sys
import onnx
model = onnx.load(sys.argv[1])
onnx.checker.check_model(model, full_check=True)
print(json.dumps([model.opset_import[0].version, [d.dim_param or d.dim_value
                  for d in model.graph.input[0].type.tensor_type.shape.dim]]))
"""


def test_the_artifact_classifies_the_held_out_digits_by_plain_onnxruntime(stocked: Shop, toolchain: Any) -> None:
    accuracy = toolchain(_ACCURACY, str(stocked.latest("digits") / "model.onnx"))
    assert accuracy >= 0.99


def test_the_files_opset_and_open_axis_are_the_recipes(stocked: Shop, toolchain: Any) -> None:
    assert toolchain(_OPSET, str(stocked.latest("digits") / "model.onnx")) == [12, ["batch", 1, 8, 8]]


def test_the_manifest_is_a_statement_about_the_files_that_lie_there(stocked: Shop) -> None:
    folder = stocked.latest("digits")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["_type"] == "https://in-toto.io/Statement/v1"
    assert manifest["predicateType"] == "https://slsa.dev/provenance/v1"
    (subject,) = manifest["subject"]
    content = (folder / "model.onnx").read_bytes()
    assert subject == {"name": "model.onnx", "digest": {"sha256": hashlib.sha256(content).hexdigest()},
                       "annotations": {"size": len(content)}}
    predicate = manifest["predicate"]
    assert set(predicate["verification"]["gates"].values()) == {"passed"}
    dependencies = predicate["buildDefinition"]["resolvedDependencies"]
    materials = {entry["name"]: entry["digest"]["sha256"] for entry in dependencies}
    weights = Path("models/digits/digits.pt").read_bytes()
    assert materials["digits.pt"] == hashlib.sha256(weights).hexdigest()
    assert folder.name == predicate["buildDefinition"]["internalParameters"]["key"][:16]


def test_the_log_and_the_json_hold_the_same_figures(stocked: Shop) -> None:
    folder = stocked.latest("digits")
    smoke = json.loads((folder / "smoke.json").read_text())
    log = (folder / "smoke.log").read_text()
    assert [gate["state"] for gate in smoke["gates"]] == ["passed"] * 7
    assert f"{smoke['latency']['median_ms']:.3g} ms median" in log
    assert all(gate["name"] in log for gate in smoke["gates"])
    assert (folder / "7.png.overlay.png").read_bytes().startswith(b"\x89PNG")


def test_the_output_names_steps_times_a_table_and_the_path(shop: Shop) -> None:
    ran = shop.run("convert", "--model", "digits")
    assert ran.code == 0, ran.err
    assert "export to ONNX, opset 12" in ran.out
    assert "worst error" in ran.out
    assert "7 passed" in ran.out
    assert str(shop.latest("digits") / "model.onnx") in ran.out
    assert "\x1b" not in ran.out


def test_a_second_run_finds_the_artifact_and_starts_no_toolchain(stocked: Shop) -> None:
    before = stocked.latest("digits").stat().st_mtime_ns
    ran = stocked.run("convert", "--model", "digits")
    assert ran.code == 0
    assert "cached" in ran.out
    assert "export" not in ran.out
    assert stocked.latest("digits").stat().st_mtime_ns == before


def test_equal_builds_give_equal_bytes_and_equal_manifests(stocked: Shop, shop: Shop) -> None:
    assert shop.run("convert", "--model", "digits").code == 0
    one, other = stocked.latest("digits"), shop.latest("digits")
    assert one.name == other.name
    assert (one / "model.onnx").read_bytes() == (other / "model.onnx").read_bytes()
    assert (one / "manifest.json").read_bytes() == (other / "manifest.json").read_bytes()


def test_random_weights_are_a_variant_of_their_own_and_say_so(stocked: Shop) -> None:
    before = stocked.latest("digits")
    ran = stocked.run("convert", "--model", "digits", "--weights", "random")
    assert ran.code == 0, ran.err
    assert stocked.latest("digits") == before
    folder = stocked.latest("digits", "onnx-random")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["predicate"]["buildDefinition"]["externalParameters"]["randomWeights"] is True
    assert manifest["predicate"]["verification"]["gates"]["golden"] == "skipped"
    assert "random" in (folder / "smoke.log").read_text()


def test_two_jobs_at_a_time_keep_their_output_apart(shop: Shop) -> None:
    ran = shop.run("convert", "--model", "digits,resnet18", "--weights", "random", JOBS="2")
    assert ran.code == 0, ran.err
    headings = [index for index, line in enumerate(ran.out.splitlines()) if "onnx-random" in line and line[:1] != " "]
    first, second = ran.out.splitlines()[headings[0]:headings[1]], ran.out.splitlines()[headings[1]:]
    for part in (first, second):
        assert sum("export to ONNX" in line for line in part) == 1


def test_the_demo_shows_what_the_artifact_reads(stocked: Shop) -> None:
    ran = stocked.run("demo")
    assert ran.code == 0, ran.err
    read = ran.out.split("how sure it is:")[1]
    assert [f" {digit}: " in read for digit in range(10)] == [True] * 10
    assert "▀" in read
    assert (stocked.latest("digits") / "0.png.overlay.png").is_file()


def test_status_models_and_show_tell_what_is_there(stocked: Shop) -> None:
    status = stocked.run("status")
    assert stocked.latest("digits").name in status.out
    models = stocked.run("models")
    assert "digits" in models.out
    assert "yolov5n-0.5-face" in models.out
    shown = stocked.run("show", "--model", "digits")
    assert shown.out.rstrip("\n") == (stocked.latest("digits") / "smoke.log").read_text().rstrip("\n")


def test_what_lies_beside_an_architecture_goes_along(shop: Shop, own_models: Callable[[str, str], Path]) -> None:
    models = own_models("name: digits", "name: digits")
    (models / "digits" / "beside.py").write_text("WIDTH = 8\n")
    with (models / "digits" / "digits.py").open("a") as module:
        module.write("\nimport beside\n\nassert beside.WIDTH == 8\n")
    ran = Shop(artifacts=shop.artifacts, models=models).run("convert", "--model", "digits")
    assert ran.code == 0, ran.out + ran.err
