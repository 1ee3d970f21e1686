"""The reader and the JSON Schema are two judges of one law."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from modelfarm.document import Document
from modelfarm.grammar import json_schema, recipe_shape
from modelfarm.settings import ROOT
from modelfarm.target import read_targets
from tests.recipes import BUNDLED, OPTIONS

SCHEMA = json_schema(OPTIONS)
JUDGE = jsonschema.Draft202012Validator(SCHEMA)

FULL = yaml.safe_load("""
name: full
description: everything that a recipe can say
source:
  torch: {module: a/b.py, factory: build, arguments: {classes: 5, deep: {list: [1, 2.5, x]}},
          weights: {file: x.pt, sha256: "%s", url: "https://example.org/x.pt"}}
inputs:
  input: {shape: [1, 3, 8, 8], dtype: float32, layout: NCHW,
          picture: {resize: short, anchor: top-left, short: 256, pad: [1, 2, 3], interpolation: area, color: bgr,
                    scale: max, mean: 0.5, std: [1]}}
outputs: {a: {shape: [1, 2], dtype: float32}, b: {}}
decoder: {ssd_face: {confidence: 0.5, iou: 0.5, boxes: a, scores: b, landmarks: b,
                     priors: {strides: [8], sizes: [[1, 2.5]], variances: [0.1, 0.2]}}}
samples: {pictures: ["*.png"], arrays: ["*.npz"], random: 3, seed: 4,
          regions: {a.png: [1, 2, 3, 4]}}
calibration: {pictures: ["*.png"], arrays: ["*.npz"], variations: 3, seed: 1, regions: {}}
expect:
  a.png: [{box: [1, 2, 3, 4], score: 0.5, landmarks: [[1, 2], [3, 4]]}]
  b.png: {top1: cat}
  c.png: {top5: [1, 2, 3, 4, 5]}
  d.npz: {accuracy: 0.9}
limits: [{unit: px, measure: max, limit: 0.1, because: why, precision: fp16}]
targets:
  onnx: {opset: 12, simplify: true, dynamic: {input: {0: batch}}, external_data_above: 2GiB, precision: [fp32],
         seconds: 600,
         edit: {batch: 4, keep: [a], remove: [b], exported: [c], constants: true, unused: true, four_dimensions: true,
                cut_decode: true, padded_maxpool: true, strided_slices: true, half: true, whole_numbers: true,
                quantise: {noise: 0.1}, float: [a], split_outputs: true,
                normalise_boxes: {output: a}}}
  tnn: {device: x86, optimize: true, threads: 2, adapt: {four_dimensions: true}}
  trt-rtx: {compute_capabilities: ["86", "8.9"], batch: "1,4,8", tf32: false, adapt: {half: true}}
  trt: {precision: [fp32, fp16], via: [python, onnx2trt], batch: "8", workspace: 512MiB, fp32_layers: [conv],
        find_fp32_layers: false, search_engines: 9, tolerance: 0.02, tf32: true, adapt: {}}
  trt10: {precision: int8}
  tflite2onnx: {opset: 13}
  tflite: {precision: [fp32, uint8], via: onnx2tf, select_ops: true, threads: 4, adapt: {padded_maxpool: {same: false}}}
  toy: {level: 2}
""" % ("0f" * 32))

MISSING = object()

# A place in the full recipe, what stands there instead, and whether that is fine.
CHANGES: list[tuple[str, Any, bool]] = [
    ("name", MISSING, False), ("name", "a b", False), ("name", 7, True), ("name", None, False), ("name", [], False),
    ("naem", "x", False), ("description", "", True), ("description", 5, True), ("description", {}, False),
    ("source", MISSING, False), ("source", {}, False), ("source.onnx", {"file": "x.onnx"}, False),
    ("source", {"onnx": {"file": "x.onnx"}}, True), ("source", {"tflite": {"file": "x.tflite"}}, True),
    ("source", {"caffe": {"file": "x"}}, False), ("source", {"onnx": {}}, False),
    ("source.torch.module", "b.txt", False), ("source.torch.module", 5, False),
    ("source.torch.factory", MISSING, False),
    ("source.torch.arguments", MISSING, True), ("source.torch.arguments", [1], False),
    ("source.torch.arguments.deep", {"a": None}, True), ("source.torch.weights", "x.pt", False),
    ("source.torch.weights.file", "a/b/x.pt", True), ("source.torch.weights.file", "../x.pt", True),
    ("source.torch.weights.file", "..", False), ("source.torch.weights.file", "a/", False),
    ("source.torch.weights.file", "", False), ("source.torch.weights.file", 5, True),
    ("source.torch.weights.sha256", "0F" * 32, False), ("source.torch.weights.sha256", "0f", False),
    ("source.torch.weights.sha256", 7, False), ("source.torch.weights.url", "ftp://x", False),
    ("inputs", {}, False), ("inputs", [], False), ("inputs", MISSING, False), ("inputs.other", {"shape": [1]}, True),
    ("inputs.input.shape", MISSING, False), ("inputs.input.shape", [], False), ("inputs.input.shape", [0], False),
    ("inputs.input.shape", [1.5], False), ("inputs.input.shape", ["a"], False), ("inputs.input.shape", 1, False),
    ("inputs.input.shape", [True], False), ("inputs.input.dtype", "float", False),
    ("inputs.input.dtype", "uint8", True),
    ("inputs.input.layout", "nchw", False), ("inputs.input.layout", MISSING, True),
    ("inputs.input.picture", None, False), ("inputs.input.picture", {}, True),
    ("inputs.input.picture.pad", [1, 2], False), ("inputs.input.picture.pad", [1], True),
    ("inputs.input.picture.pad", 1.5, True), ("inputs.input.picture.pad", "x", False),
    ("inputs.input.picture.scale", "1/255", True), ("inputs.input.picture.scale", "maximum", False),
    ("inputs.input.picture.scale", 0, False), ("inputs.input.picture.scale", 0.5, True),
    ("inputs.input.picture.short", 0, False), ("inputs.input.picture.resize", "fit", False),
    ("inputs.input.picture.colour", "rgb", False),
    ("outputs", ["a", "b"], True), ("outputs", [], False), ("outputs", {}, False), ("outputs", "a", False),
    ("outputs.a.shape", [-1], False), ("outputs.a.dtype", MISSING, True), ("outputs.a", None, False),
    ("decoder", MISSING, True), ("decoder", None, False), ("decoder", {}, False), ("decoder", "none", False),
    ("decoder", {"yolo_face": {}}, True), ("decoder", {"yolo_face": {"confidence": 2}}, False),
    ("decoder", {"module": "x.py", "options": {"a": 1}}, True), ("decoder.module", "x.py", False),
    ("decoder.ssd_face.boxes", MISSING, False), ("decoder.ssd_face.priors.variances", [1], False),
    ("decoder.ssd_face.priors.sizes", [1], False), ("decoder.ssd_face.priors.strides", [], False),
    ("samples", MISSING, True), ("samples.random", -1, False), ("samples.random", 101, False),
    ("samples.random", "2", False), ("samples.pictures", "*.png", False), ("samples.pictures", [7], True),
    ("samples.regions", {"a.png": [1, 2, 3]}, False), ("samples.regions", {"a.png": [-1, 2, 3, 4]}, False),
    ("samples.regions", {"a.png": [1.5, 2, 3, 4]}, False), ("samples.regions", MISSING, True),
    ("calibration.regions", [[1, 2, 3, 4]], False), ("calibration.regions", {"b.png": [0, 0, 9, 9]}, True),
    ("decoder", {"blaze_face": {"boxes": "a"}}, False),
    ("decoder", {"blaze_face": {"boxes": "a", "scores": "b"}}, True),
    ("decoder", {"landmarks": {"points": "a", "dimensions": 4}}, False), ("decoder", {"landmarks": {}}, False),
    ("decoder", {"landmarks": {"points": "a", "dimensions": 3, "score": "b"}}, True),
    ("calibration", MISSING, True), ("calibration.random", 1, False),
    ("expect", MISSING, True), ("expect.e.png", [], True), ("expect.e.png", {}, False), ("expect.e.png", 5, False),
    ("expect.e.png", {"top1": 7}, True), ("expect.e.png", {"top1": "a", "accuracy": 1}, False),
    ("expect.e.png", {"top5": [1, 2]}, False), ("expect.e.png", {"accuracy": 1.5}, False),
    ("expect.e.png", [{"box": [1, 2, 3], "score": 1}], False), ("expect.e.png", [{"box": [1, 2, 3, 4]}], False),
    ("expect.e.png", [{"box": [1, 2, 3, 4], "score": 1, "landmarks": [[1]]}], False),
    ("limits", {}, False), ("limits", [], True), ("limits", [{"unit": "px", "limit": 1}], False),
    ("limits", [{"unit": "cm", "limit": 1, "because": "x"}], False),
    ("targets", MISSING, False), ("targets", {}, True), ("targets.caffe", {}, False),
    ("targets.trt", {}, True), ("targets.trt.via", "tf", False), ("targets.toy", None, False),
    ("targets.toy.level", 4, False), ("targets.toy.level", True, False), ("targets.onnx.opset", 24, False),
    ("targets.onnx.opset", 8, False), ("targets.onnx.opset", "12", False), ("targets.onnx.simplify", 1, False),
    ("targets.onnx.dynamic", {"input": {"x": "batch"}}, False), ("targets.onnx.dynamic", {"input": "batch"}, False),
    ("targets.onnx.dynamic", {"input": {"0": "a b"}}, False), ("targets.onnx.dynamic", {}, True),
    ("targets.onnx.external_data_above", "2GB", True), ("targets.onnx.external_data_above", 100, True),
    ("targets.onnx.external_data_above", "2.5 MiB", True), ("targets.onnx.external_data_above", "..", False),
    ("targets.onnx.external_data_above", "2TB", False), ("targets.onnx.external_data_above", -1, False),
    ("targets.onnx.edit.batch", 0.1, False), ("targets.onnx.edit.batch", 0, False),
    ("targets.onnx.edit.batch", -1, False), ("targets.onnx.edit.batch", 8, True),
    ("targets.onnx.edit.batch", "all", True), ("name", 2.5, True), ("name", -1, False),
    ("targets.onnx.precision", "fp32", True), ("targets.onnx.precision", "fp16", False),
    ("targets.onnx.precision", [], False), ("targets.onnx.precision", {}, False),
]


def put(recipe: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """Return a copy of the recipe with another value at a dotted place."""
    changed = copy.deepcopy(recipe)
    *above, last = place.split(".", 2) if place.startswith("expect.") else place.split(".")
    if place.startswith("expect."):
        above, last = ["expect"], place.removeprefix("expect.")
    node = changed
    for name in above:
        node = node[name]
    if value is MISSING:
        del node[last]
    else:
        node[last] = value
    return changed


def structural_problems(text: str) -> list[str]:
    document = Document(Path("model.yaml"), text)
    document.read(recipe_shape(OPTIONS))
    return [str(problem) for problem in document.problems]


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def test_the_schema_is_valid_draft_2020_12() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("file", BUNDLED, ids=lambda file: file.parent.name)
def test_the_schema_accepts_every_bundled_recipe(file: Path) -> None:
    assert [error.message for error in JUDGE.iter_errors(as_json(yaml.safe_load(file.read_text())))] == []


def test_a_recipe_that_says_everything_is_accepted_by_both() -> None:
    assert structural_problems(yaml.safe_dump(FULL)) == []
    assert JUDGE.is_valid(as_json(FULL))


@pytest.mark.parametrize(("place", "value", "fine"), CHANGES)
def test_reader_and_schema_agree(place: str, value: Any, fine: bool) -> None:
    recipe = put(FULL, place, value)
    assert structural_problems(yaml.safe_dump(recipe)) is not fine
    assert JUDGE.is_valid(as_json(recipe)) is fine


def test_every_key_of_the_grammar_is_in_the_full_recipe() -> None:
    """So that the comparison above leaves out nothing."""
    said = set(_keys(FULL))
    assert {key for key in _properties(SCHEMA) if key not in said} == {
        "onnx", "tflite", "classification", "yolo_face", "anchors", "output", "labels", "activation", "module",
        "options", "blaze_face", "points", "dimensions"} - said


# Scalars on which both can agree: no fraction, whose value a schema cannot see, no 2.0, a whole number in JSON only.
SCALARS = [None, True, False, -1, 0, 1, 12, 255, 2.5, "", "rgb", "x", "a b", "x.py", "float32", "px", "max", "none"]


def test_reader_and_schema_agree_on_random_changes() -> None:
    chance = random.Random(7)
    verdicts = {True: 0, False: 0}
    for _ in range(200):
        recipe = copy.deepcopy(FULL)
        _disturb(recipe, chance)
        text = yaml.safe_dump(recipe)
        fine = not structural_problems(text)
        assert JUDGE.is_valid(as_json(recipe)) is fine, text
        verdicts[fine] += 1
    assert min(verdicts.values()) > 10


def _disturb(recipe: dict[str, Any], chance: random.Random) -> None:
    holder, key = chance.choice(list(_places(recipe)))
    action = chance.choice(["drop", "replace", "replace", "move", "add"])
    if action == "drop":
        del holder[key]
    elif action == "replace":
        holder[key] = chance.choice(SCALARS)
    elif action == "move":
        other, name = chance.choice(list(_places(recipe)))
        holder[key] = copy.deepcopy(other[name])
    elif isinstance(holder, dict):
        holder[chance.choice(["extra", "file", "shape", "top1"])] = chance.choice([*SCALARS, [], {}])
    else:
        holder.append(chance.choice([*SCALARS, [], {}]))


def _places(value: Any) -> Any:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _keys(value: Any) -> Any:
    for holder, key in _places(value):
        if isinstance(holder, dict):
            yield str(key)


def _properties(schema: Any) -> Any:
    for holder, key in _places(schema):
        if key == "properties":
            yield from holder[key]


def test_the_schema_that_editors_read_is_the_readers_own() -> None:
    written = json.loads((ROOT / "docs" / "recipe.schema.json").read_text())
    targets = {name: target.options for name, target in read_targets().items() if not target.way_of}
    assert written == json.loads(json.dumps(json_schema(targets))), "run `make schema`"
