"""make tflite from end to end: real models in few bits, the way back, and what is refused before anybody gets it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelfarm.settings import ROOT
from tests.conftest import Toolchain
from tests.end.conftest import Ran, Shop

# The first test that asks for the detector waits for two conversions of it, beside whatever else the machine does.
pytestmark = pytest.mark.timeout(900)

FACE = "yolov5n-0.5-face"
DIGITS = ROOT / "models" / "digits"

_SOURCES = """
import sys
import numpy as np, onnx
from onnx import TensorProto, helper, numpy_helper

def save(name, opset, nodes, weights, shape, outputs=10):
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[0], outputs])
    tensors = [numpy_helper.from_array(array, key) for key, array in weights.items()]
    graph = helper.make_graph(nodes, "toy", [given], [made], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, f"{sys.argv[1]}/{name}/source.onnx")

random = np.random.default_rng(0)
weights = {"w": random.standard_normal((10, 1, 3, 3)).astype(np.float32)}
conv = helper.make_node("Conv", ["input", "w"], ["c"], name="/conv", pads=[1, 1, 1, 1])
save("free-axes", 12, [
    conv,
    helper.make_node("GlobalAveragePool", ["c"], ["m"], name="/mean"),
    helper.make_node("Flatten", ["m"], ["f"], name="/flat"),
    helper.make_node("Softmax", ["f"], ["y"], name="/softmax", axis=1),
], weights, ["batch", 1, "height", "width"])
save("opset-18", 18, [
    conv,
    helper.make_node("ReduceMean", ["c", "axes"], ["m"], name="/mean", keepdims=0),
    helper.make_node("Softmax", ["m"], ["y"], name="/softmax", axis=-1),
], {**weights, "axes": np.array([2, 3])}, [1, 1, 8, 8])
save("only-new", 18, [
    conv,
    helper.make_node("Trilu", ["c"], ["a"], name="/triangle"),
    helper.make_node("GlobalAveragePool", ["a"], ["m"], name="/mean"),
    helper.make_node("Flatten", ["m"], ["y"], name="/flat"),
], weights, [1, 1, 8, 8])
print("null")
"""

_RECIPE = """
name: {name}
source: {{{kind}: {{file: {file}}}}}
inputs: {{input: {{shape: {shape}, layout: {layout}, picture: {{color: gray, scale: 1/255}}}}}}
outputs: [{output}]
decoder: {{classification: {{}}}}
samples: {{pictures: [digits/*.png], random: 1}}
targets: {{onnx: {{opset: 17}}, tflite: {{precision: fp32, threads: 1}}}}
"""


def write_recipe(models: Path, name: str, file: str = "source.onnx", kind: str = "onnx", output: str = "y",
                 layout: str = "NCHW") -> Path:
    """Write a recipe of a model of gray pictures of 8x8 pixels, with the digits' pictures beside it."""
    folder, shape = models / name, [1, 1, 8, 8] if layout == "NCHW" else [1, 8, 8, 1]
    shutil.copytree(DIGITS / "samples", folder / "digits", ignore=shutil.ignore_patterns("*.npz"))
    (folder / "model.yaml").write_text(_RECIPE.format(name=name, file=file, kind=kind, output=output, layout=layout,
                                                      shape=shape))
    return folder


def verification(shop: Shop, model: str, variant: str) -> Any:
    return json.loads((shop.latest(model, variant) / "manifest.json").read_text())["predicate"]["verification"]


def smoke(shop: Shop, model: str, variant: str) -> Any:
    return json.loads((shop.latest(model, variant) / "smoke.json").read_text())


def tflite(shop: Shop, model: str, *words: str, **settings: str) -> Ran:
    return shop.run("convert", "--target", "tflite", "--model", model, *words, **settings)


def published(shop: Shop, model: str) -> list[str]:
    """List the variants of a model that are in the store."""
    folder = shop.artifacts / model
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, interpreter_of: Callable[[str], Path]) -> Shop:
    """Return a store with the digits in uint8 by onnx-tf and in fp32 by onnx2tf; tests add to it."""
    for name in ("onnx", "tflite", "tflite-onnx2tf", "tflite2onnx"):
        interpreter_of(name)  # installed here where it is not yet, so that no command has to wait for it
    shop = Shop(artifacts=tmp_path_factory.mktemp("tflite") / "artifacts")
    for words in (("--precision", "uint8"), ("--precision", "fp32", "--via", "onnx2tf")):
        ran = tflite(shop, "digits", *words)
        assert ran.code == 0, ran.out + ran.err
    return shop


def test_the_digits_in_eight_bits_lose_less_than_a_point_of_accuracy(shop: Shop) -> None:
    assert set(verification(shop, "digits", "tflite-uint8")["gates"].values()) == {"passed"}
    found = smoke(shop, "digits", "tflite-uint8")
    gates = {gate["name"]: gate["summary"] for gate in found["gates"]}
    right = float(gates["golden"].partition("heldout.npz: ")[2].partition("%")[0])
    assert right > 99.16 - 1, "the source reads 356 of 359"
    assert "input uint8 [1, 1, 8, 8]" in gates["signature"] and "probabilities uint8 [1, 10]" in gates["signature"]
    assert (shop.latest("digits", "tflite-uint8") / "model.tflite").read_bytes()[4:8] == b"TFL3"


def test_what_an_integer_file_sees_in_a_picture_is_shown(shop: Shop, tmp_path: Path) -> None:
    ran = shop.run("look", "--model", "digits", "--variant", "tflite-uint8", "--picture",
                   str(DIGITS / "samples" / "7.png"))
    (ROOT / "7.tflite-uint8.png").unlink(missing_ok=True)  # a drawing goes to where the command was typed
    assert ran.code == 0, ran.out + ran.err
    assert any(line.split()[:1] == ["7"] for line in ran.out.splitlines())


def test_the_other_way_is_a_variant_of_its_own_with_channels_last(shop: Shop) -> None:
    gates = {gate["name"]: gate for gate in smoke(shop, "digits", "tflite-fp32-onnx2tf")["gates"]}
    assert {gate["state"] for gate in gates.values()} == {"passed"}
    assert "[1, 8, 8, 1], NHWC: channels last (the recipe's is NCHW)" in gates["signature"]["summary"]


@pytest.fixture(scope="module")
def odd(shop: Shop, toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Return a store for models that are odd, or damaged."""
    models = tmp_path_factory.mktemp("odd") / "models"
    for name in ("free-axes", "opset-18", "only-new"):
        write_recipe(models, name)
    toolchain(_SOURCES, str(models))
    return Shop(artifacts=shop.artifacts, models=models)


def test_a_tflite_file_goes_back_to_onnx_and_sees_the_same(odd: Shop) -> None:
    folder = write_recipe(odd.models, "back", "model.tflite", "tflite", "probabilities", "NHWC")
    recipe = folder / "model.yaml"
    recipe.write_text(recipe.read_text() + 'expect: {7.png: {top1: "7"}, 3.png: {top1: "3"}}\n')
    shutil.copy(odd.latest("digits", "tflite-fp32-onnx2tf") / "model.tflite", folder)
    ran = odd.run("convert", "--model", "back")
    assert ran.code == 0, ran.out + ran.err
    assert published(odd, "back") == ["onnx", "onnx-from-tflite"]
    assert set(verification(odd, "back", "onnx")["gates"].values()) == {"passed"}
    assert smoke(odd, "back", "onnx")["worst"]["relative"] < 1e-5


@pytest.mark.parametrize(("name", "damage", "said"), [
    ("cut", lambda content: content[:len(content) // 2], "damaged"),
    ("other", lambda content: b"PK\3\4" + bytes(400), "is no TFLite file"),
    ("empty", lambda content: b"", "is no TFLite file"),
])
def test_a_damaged_tflite_file_is_one_clear_error(odd: Shop, name: str, damage: Any, said: str) -> None:
    folder = write_recipe(odd.models, name, "model.tflite", "tflite", "probabilities", "NHWC")
    content = (odd.latest("digits", "tflite-fp32-onnx2tf") / "model.tflite").read_bytes()
    (folder / "model.tflite").write_bytes(damage(content))
    ran = odd.run("convert", "--model", name)
    assert ran.code == 5, ran.out + ran.err
    assert said in ran.err and "model.tflite" in ran.err and "Traceback" not in ran.err
    assert ran.err.count("modelfarm: ") <= 2, "the link of the chain that failed, and what waited for it"
    assert published(odd, name) == []


@pytest.mark.parametrize("name", ["free-axes", "opset-18"])
def test_free_axes_and_new_opsets_are_seen_to_without_a_word(odd: Shop, name: str) -> None:
    ran = tflite(odd, name)
    assert ran.code == 0, ran.out + ran.err
    assert set(verification(odd, name, "tflite-fp32")["gates"].values()) <= {"passed", "skipped"}
    assert verification(odd, name, "onnx-for-tflite")["facts"]["opset"] == 12
    assert "input float32 [1, 1, 8, 8]" in (odd.latest(name, "tflite-fp32") / "smoke.log").read_text()


def test_an_operator_without_an_older_form_is_named(odd: Shop) -> None:
    ran = tflite(odd, "only-new")
    assert ran.code == 5, ran.out + ran.err
    assert "/triangle" in ran.err and "Trilu" in ran.err and "12" in ran.err and "Traceback" not in ran.err
    assert published(odd, "only-new") == []


def test_a_calibration_folder_without_pictures_is_an_error_before_anything_runs(odd: Shop) -> None:
    folder = write_recipe(odd.models, "no-pictures")
    (folder / "calibration").mkdir()
    shutil.copy(odd.models / "free-axes" / "source.onnx", folder)
    recipe = folder / "model.yaml"
    recipe.write_text(recipe.read_text() + "calibration: {pictures: [calibration/*.png]}\n")
    ran = tflite(odd, "no-pictures", "--precision", "int8")
    assert ran.code == 4, ran.out + ran.err
    assert ran.err.count("modelfarm: ") == 1 and "no file matches calibration/*.png" in ran.err
    assert "Traceback" not in ran.err
    assert published(odd, "no-pictures") == []


def test_few_pictures_and_those_of_one_colour_are_named(odd: Shop) -> None:
    folder = write_recipe(odd.models, "few-pictures")
    shutil.copy(odd.models / "free-axes" / "source.onnx", folder)
    recipe = folder / "model.yaml"
    recipe.write_text(recipe.read_text() + "calibration: {pictures: [digits/1.png, digits/2.png]}\n")
    ran = tflite(odd, "few-pictures", "--precision", "int8")
    assert ran.code == 3, ran.out + ran.err
    assert "2 different inputs, of at least 8" in ran.err and "variations: 10" in ran.err
    assert "tflite-int8" not in published(odd, "few-pictures")


@pytest.fixture(scope="module")
def face(
    data: Path, tmp_path_factory: pytest.TempPathFactory, interpreter_of: Callable[[str], Path]
) -> tuple[Shop, Ran, Ran]:
    """Return a store, and how the trained detector fared in uint8: as the recipe has it, and without its adaptation."""
    for name in ("onnx", "tflite"):
        interpreter_of(name)
    shop = Shop(artifacts=tmp_path_factory.mktemp("face") / "artifacts")
    adapted, plain = (tflite(shop, FACE, "--precision", "uint8", *words, MODELFARM_DATA=str(data))
                      for words in ((), ("--options", "adapt={}")))
    return shop, adapted, plain


def test_a_trained_detector_in_eight_bits_finds_the_face_and_nothing_else(
    face: tuple[Shop, Ran, Ran], data: Path
) -> None:
    shop, adapted, _ = face
    assert adapted.code == 0, adapted.out + adapted.err
    golden = json.loads((data / "golden.json").read_text())[FACE]["images"]
    found = {entry["sample"]: entry["artifact"] for entry in smoke(shop, FACE, "tflite-uint8")["predictions"]}
    assert {name: len(faces) for name, faces in found.items()} == {name: len(faces) for name, faces in golden.items()}
    assert found["chelsea.png"] == found["coffee.png"] == []
    [ours], [theirs] = found["astronaut.png"], golden["astronaut.png"]
    assert ours["box"] == pytest.approx(theirs["box"], abs=4)
    assert ours["score"] == pytest.approx(theirs["score"], abs=0.05)
    for point, known in zip(ours["landmarks"], theirs["lm"], strict=True):
        assert point == pytest.approx(known, abs=5)


def test_the_same_without_its_adaptation_is_refused_and_told_why(face: tuple[Shop, Ran, Ran]) -> None:
    shop, _, plain = face
    assert plain.code == 6, plain.out + plain.err
    assert "gate parity" in plain.err and "cause: output 'output' (uint8, scale " in plain.err
    assert "holds values of different ranges with one scale: box (" in plain.err
    assert "left with next to no steps: objectness (" in plain.err
    assert "every score is 0, and the source's go up to 0.878" in plain.err
    assert "adapt: {cut_decode: true}" in plain.err
    assert not [name for name in published(shop, FACE) if name.endswith("adapt-none")]
    (folder,) = (shop.artifacts / "failed" / FACE / "tflite-uint8-adapt-none").iterdir()
    assert "cause: " in (folder / "smoke.log").read_text()


def test_an_adapted_file_is_decoded_in_a_picture_of_the_users_own(face: tuple[Shop, Ran, Ran], data: Path) -> None:
    shop, _, _ = face
    ran = shop.run("look", "--model", FACE, "--variant", "tflite-uint8", "--picture",
                   str(data / "images" / "astronaut.png"), MODELFARM_DATA=str(data))
    (ROOT / "astronaut.tflite-uint8.png").unlink(missing_ok=True)
    assert ran.code == 0, ran.out + ran.err
    [line] = [line for line in ran.out.splitlines() if "landmarks" in line]
    assert abs(float(line.split()[0]) - 0.878) < 0.05
