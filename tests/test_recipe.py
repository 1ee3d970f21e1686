"""Recipes: what the reader answers, and everything that it complains of, at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from modelfarm.errors import RecipeError, UsageError
from modelfarm.recipe import (
    CalibrationChoice,
    DecoderChoice,
    FileSource,
    Input,
    Limit,
    NamedFile,
    Output,
    Picture,
    SampleChoice,
    TorchSource,
    model_names,
    read_recipe,
    recipe_file,
)
from modelfarm.schema import Boolean, Field, Record, Sequence, Text
from modelfarm.target import Size
from tests.recipes import BUNDLED, COMPLETE, OPTIONS, changed, make, problems, read

DESIGN = """\
name: yolov5n-0.5-face
source:
  torch: {module: yolov5_face.py, factory: yolov5n_05_face,
          weights: {file: yolov5n-0.5-face.pt, sha256: %s, url: https://example.org/x.pt}}
inputs:
  input: {shape: [1, 3, 640, 640], dtype: float32, layout: NCHW,
          picture: {resize: letterbox, pad: 114, color: rgb, scale: 1/255}}
outputs: [output]
decoder: {yolo_face: {confidence: 0.3, iou: 0.5}}
samples: {pictures: [samples/*.png], arrays: [samples/*.npz], random: 2, seed: 0}
calibration: {pictures: [calibration/*.png]}
expect:
  astronaut.png: [{box: [175.9, 53.2, 274.9, 180.4], score: 0.878}]
limits: [{unit: px, limit: 0.5, because: half precision, precision: fp16}]
targets:
  onnx:   {opset: 12, simplify: true, dynamic: {input: {0: batch}}}
  tflite: {precision: [fp32, fp16, uint8], via: onnx-tf}
  trt:    {precision: [fp32, fp16], workspace: 1GiB}
  tnn:    {optimize: true}
""" % ("ab" * 32)
PRECISIONS = Field(shape=Sequence(of=Text(choices=("fp32", "fp16", "uint8"))), default=["fp32"])
DESIGN_OPTIONS = {
    "onnx": OPTIONS["onnx"],
    "tflite": Record(fields={"precision": PRECISIONS, "via": Field(shape=Text())}),
    "trt": Record(fields={"precision": PRECISIONS, "workspace": Field(shape=Size())}),
    "tnn": Record(fields={"optimize": Field(shape=Boolean())}),
}


def test_the_example_of_the_design_is_read(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "yolov5_face.py").touch()
    file = make(tmp_path, DESIGN, "yolov5n-0.5-face")
    recipe = read_recipe(file, DESIGN_OPTIONS, shared)
    assert (recipe.name, recipe.description, recipe.folder) == ("yolov5n-0.5-face", "", file.parent)
    weights = NamedFile(file="yolov5n-0.5-face.pt", sha256="ab" * 32, url="https://example.org/x.pt")
    assert recipe.source == TorchSource(module=shared / "yolov5_face.py", factory="yolov5n_05_face", arguments={},
                                        weights=weights, kind="torch")
    picture = Picture(resize="letterbox", anchor="centre", short=None, pad=(114.0,), interpolation="linear",
                      color="rgb", scale=1 / 255, mean=(0.0,), std=(1.0,))
    assert recipe.inputs == (Input(name="input", shape=(1, 3, 640, 640), dtype="float32", layout="NCHW",
                                   picture=picture),)
    assert recipe.outputs == (Output(name="output", shape=None, dtype=None),)
    assert recipe.decoder == DecoderChoice(name="yolo_face", options={"confidence": 0.3, "iou": 0.5, "anchors": None},
                                           module=None)
    assert recipe.samples == SampleChoice(pictures=("samples/*.png",), arrays=("samples/*.npz",), random=2, seed=0)
    assert recipe.calibration == CalibrationChoice(pictures=("calibration/*.png",))
    assert recipe.expect == {"astronaut.png": [{"box": [175.9, 53.2, 274.9, 180.4], "score": 0.878, "landmarks": None}]}
    assert recipe.limits == (Limit(unit="px", measure="max", limit=0.5, because="half precision", precision="fp16"),)
    assert recipe.targets == {
        "onnx": {"opset": 12, "simplify": True, "dynamic": {"input": {"0": "batch"}}, "precision": ["fp32"],
                 "external_data_above": 2 << 30, "edit": {}, "seconds": None},
        "tflite": {"precision": ["fp32", "fp16", "uint8"], "via": "onnx-tf"},
        "trt": {"precision": ["fp32", "fp16"], "workspace": 1 << 30},
        "tnn": {"optimize": True},
    }


def test_regions_are_read_of_samples_and_of_calibration(tmp_path: Path) -> None:
    recipe = read(tmp_path, changed("samples: {random: 1}\n", (
        "samples: {random: 1, regions: {a.png: [1, 2, 30, 40]}}\n"
        "calibration: {pictures: [b.png], regions: {b.png: [0, 0, 9, 9]}}\n")))
    assert recipe.samples.regions == {"a.png": (1, 2, 30, 40)}
    assert recipe.calibration.regions == {"b.png": (0, 0, 9, 9)}


def test_what_a_recipe_leaves_out_has_defaults(tmp_path: Path) -> None:
    recipe = read(tmp_path, changed("samples: {random: 1}\n", ""))
    assert recipe.samples == SampleChoice(pictures=(), arrays=(), random=2, seed=0)
    assert (recipe.calibration, recipe.expect, recipe.limits) == (CalibrationChoice(), {}, ())
    assert recipe.decoder == DecoderChoice(name="classification", module=None,
                                           options={"output": None, "labels": "labels.txt", "activation": "none"})
    assert recipe.targets["toy"] is None


@pytest.mark.parametrize(("old", "new", "part", "value"), [
    ("scale: 1/255", "scale: max", "scale", None), ("scale: 1/255", "scale: 2e-3", "scale", 0.002),
    ("scale: 1/255", "mean: [1, 2, 3]", "mean", (1.0, 2.0, 3.0)), ("scale: 1/255", "std: 1/4", "std", (0.25,)),
    ("scale: 1/255", "pad: [0]", "pad", (0.0,)),
])
def test_pictures_are_read_in_every_way_of_writing(tmp_path: Path, old: str, new: str, part: str, value: Any) -> None:
    (entry,) = read(tmp_path, changed(old, new)).inputs
    assert getattr(entry.picture, part) == value


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_a_source_can_be_a_file(tmp_path: Path, kind: str) -> None:
    text = re.sub(r"  torch:\n(    .*\n)+", f"  {kind}: {{file: model.bin}}\n", COMPLETE)
    assert read(tmp_path, text).source == FileSource(kind=kind, file=NamedFile(file="model.bin"))


def test_outputs_keep_their_order_shapes_and_types(tmp_path: Path) -> None:
    text = changed("scores: {shape: [1, 2]}", "z: {}\n  a: {shape: [1, 2], dtype: float32}")
    assert read(tmp_path, text).outputs == (Output(name="z"), Output(name="a", shape=(1, 2), dtype="float32"))


def test_inputs_that_are_no_pictures_need_no_layout(tmp_path: Path) -> None:
    picture = "    layout: NCHW\n    picture: {resize: letterbox, color: rgb, scale: 1/255}\n"
    text = changed(picture, "    dtype: int64\n")
    assert read(tmp_path, text).inputs == (Input(name="input", shape=(1, 3, 8, 8), dtype="int64", layout=None,
                                                 picture=None),)


def test_a_decoder_can_be_the_models_own(tmp_path: Path) -> None:
    decoder = "{module: decoder.py, options: {a: [1]}}"
    text = changed("\n  classification: {labels: labels.txt}", f" {decoder}")
    assert read(tmp_path, text).decoder == DecoderChoice(name="module", options={"a": [1]},
                                                         module=tmp_path / "toy" / "decoder.py")
    plain = read(tmp_path, text.replace(", options: {a: [1]}", "")).decoder
    assert plain is not None
    assert plain.options == {}


def test_a_recipe_without_decoder_has_none(tmp_path: Path) -> None:
    assert read(tmp_path, changed("decoder:\n  classification: {labels: labels.txt}\n", "")).decoder is None


def test_a_module_beside_the_recipe_comes_before_the_shared_ones(tmp_path: Path) -> None:
    for folder in (tmp_path / "architectures", tmp_path / "shared"):
        folder.mkdir()
        (folder / "toy.py").touch()
    file = make(tmp_path)
    found = []
    for expected in (file.parent, tmp_path / "architectures", tmp_path / "shared"):
        source = read_recipe(file, OPTIONS, tmp_path / "shared").source
        assert isinstance(source, TorchSource)
        found.append(source.module.parent == expected)
        source.module.unlink()
    assert found == [True, True, True]


def test_anchors_and_aliases_may_be_used(tmp_path: Path) -> None:
    text = changed("shape: [1, 3, 8, 8]", "shape: &shape [1, 3, 8, 8]")
    assert read(tmp_path, changed("{shape: [1, 2]}", "{shape: *shape}", text)).outputs[0].shape == (1, 3, 8, 8)


@pytest.mark.parametrize(("old", "new", "said"), [
    ("name: toy", "name: tyo", "1: name: the folder is called 'toy'; the two must agree"),
    ("name: toy", "nmae: toy", "1: nmae: unknown key; did you mean name?|"
                               "1: 'name' is missing: the same as the folder"),
    ("description: a toy", "description: [a]", "2: description: expected text, found a list"),
    ("description: a toy", "name: toy", "1: name: stands twice, on lines 1 and 2"),
    ("description: a toy", "? [a]\n: b", "1: line 2: a key must be a plain word"),
    ("description: a toy", "7: b", "2: 7: unknown key; known: calibration, decoder, description, expect, inputs, "
                                   "limits, name, outputs, samples, source, targets"),
    ("module: toy.py", "module: [toy.py]", "5: source.torch.module: expected a .py file, found a list"),
    ("    factory: build\n", "",
     "4: source.torch: 'factory' is missing: a function of the module that returns the model"),
    ("  torch:", "  onnx: {file: x.onnx}\n  torch:", "3: source: expected exactly one of torch, onnx, tflite"),
    ("{file: toy.pt}", "toy.pt", "7: source.torch.weights: expected a mapping, found 'toy.pt'"),
    ("{file: toy.pt}", "{file: ..}", "7: source.torch.weights.file: expected a file name, found '..'"),
    ("{file: toy.pt}", "{file: toy.pt, sha256: 12}",
     "7: source.torch.weights.sha256: expected 64 hexadecimal digits, in small letters, found '12'"),
    ("shape: [1, 3, 8, 8]", "shape: {a: 1}", "10: inputs.input.shape: expected a list, found a mapping"),
    ("shape: [1, 3, 8, 8]", "shape: [1, 3, 8]", "10: inputs.input.shape: layout NCHW has 4 axes, this shape has 3"),
    ("shape: [1, 3, 8, 8]", "shape: [1, 4, 8, 8]",
     "10: inputs.input.shape: 4 channels in layout NCHW, but color rgb has 3"),
    ("shape: [1, 3, 8, 8]", "shape: [1, x, 8, 8]",
     "10: inputs.input.shape.1: expected a whole number of at least 1, found 'x'"),
    ("layout: NCHW", "layout: NHWC", "10: inputs.input.shape: 8 channels in layout NHWC, but color rgb has 3"),
    ("layout: NCHW", "layout: NCWH", "11: inputs.input.layout: 'NCWH' is not known; did you mean NCHW?"),
    ("    layout: NCHW\n", "", "9: inputs.input: a picture needs an input of 4 axes, and its `layout`: NCHW or NHWC"),
    ("color: rgb", "color: grey", "12: inputs.input.picture.color: 'grey' is not known; did you mean gray?"),
    ("color: rgb", "color: gray", "10: inputs.input.shape: 3 channels in layout NCHW, but color gray has 1"),
    ("resize: letterbox", "resize: short",
     "12: inputs.input.picture: `resize: short` needs `short`, the length of the short side in pixels"),
    ("scale: 1/255", "scale: 0", "12: inputs.input.picture.scale: a scale of 0 makes every picture black"),
    ("scale: 1/255", "scale: 1/0", "12: inputs.input.picture.scale: expected a number, found '1/0'"),
    ("scale: 1/255", "scale: .nan", "12: inputs.input.picture.scale: expected a number, found '.nan'"),
    ("scale: 1/255", "std: .inf", "12: inputs.input.picture.std: expected a number, found '.inf'"),
    ("scale: 1/255", "std: 0", "12: inputs.input.picture.std: a deviation of 0 divides by zero"),
    ("scale: 1/255", "std: [1, 0, 1]", "12: inputs.input.picture.std: a deviation of 0 divides by zero"),
    ("scale: 1/255", "mean: [1, 2]", "12: inputs.input.picture.mean: expected 1 or 3 items, found 2"),
    ("scale: 1/255", "pad: {r: 1}", "12: inputs.input.picture.pad: expected a value or a list, found a mapping"),
    ("inputs:\n", "inputs:\n  on: {shape: [1]}\n", "9: inputs.on: expected text, found 'on'"),
    ("  scores: {shape: [1, 2]}", "  - a\n  - a", "13: outputs: 'a' stands twice"),
    ("  scores: {shape: [1, 2]}", "  {}", "13: outputs: expected at least 1, found none"),
    ("{labels: labels.txt}", "{labels: lables.txt}",
     "16: decoder.classification.labels: FOLDER/lables.txt does not exist"),
    ("{labels: labels.txt}", "{output: score}",
     "16: decoder.classification.output: there is no output 'score'; did you mean scores?"),
    ("{labels: labels.txt}", "5", "16: decoder.classification: expected a mapping, found '5'"),
    ("{labels: labels.txt}", "{}\n  yolo_face: {}",
     "15: decoder: expected exactly one of classification, yolo_face, ssd_face, "
     "blaze_face, landmarks, module"),
    ("{labels: labels.txt}", "{}\n  options: {}", "17: decoder.options: these go to a `module`, and there is none"),
    ("classification: {labels: labels.txt}", "module: nothing.py",
     "16: decoder.module: FOLDER/nothing.py does not exist"),
    ("samples: {random: 1}", "samples: {random: 0}",
     "17: samples: names no sample at all: give pictures, arrays or random"),
    ("samples: {random: 1}", "samples: {random: 101}",
     "17: samples.random: expected a whole number from 0 to 100, found '101'"),
    ("input: {0: batch}", "inptu: {0: batch}",
     "20: targets.onnx.dynamic.inptu: there is no such input; did you mean input?"),
    ("input: {0: batch}", "input: {4: batch}",
     "20: targets.onnx.dynamic.input.4: axes of this input are numbered 0 to 3"),
    ("input: {0: batch}", "input: {-1: batch}",
     "20: targets.onnx.dynamic.input.-1: expected the number of an axis, found '-1'"),
    ("input: {0: batch}", "on: {0: batch}", "20: targets.onnx.dynamic.on: expected text, found 'on'"),
    ("  onnx:\n", "  onxn: {}\n  onnx:\n", "19: targets.onxn: unknown key; did you mean onnx?"),
    ("    dynamic", "    opset: 99\n    dynamic",
     "20: targets.onnx.opset: expected a whole number from 9 to 23, found '99'"),
    ("    factory: build\n", "    factory: build\n    arguments: {size: .inf}\n",
     "7: source.torch.arguments.size: expected text, a finite number, true or false, found '.inf'"),
    ("name: toy", "name: =", "1: name: expected a name of letters, digits, . + - _, found '='"),
])
def test_a_problem_names_its_line_its_place_and_what_is_wanted(tmp_path: Path, old: str, new: str, said: str) -> None:
    expected = said.replace("FOLDER", str(tmp_path / "toy")).split("|")
    assert problems(tmp_path, changed(old, new)) == expected


def test_a_gray_input_takes_one_value_per_statistic(tmp_path: Path) -> None:
    text = changed("shape: [1, 3, 8, 8]", "shape: [1, 1, 8, 8]")
    text = changed("color: rgb, scale: 1/255", "color: gray, mean: [1, 2, 3], std: [1]", text)
    assert problems(tmp_path, text) == ["12: inputs.input.picture.mean: expected 1 or 1 values, found 3"]


def test_a_missing_module_is_named_with_its_nearest_name_and_where_it_was_sought(tmp_path: Path) -> None:
    architectures = tmp_path / "architectures"
    architectures.mkdir()
    (architectures / "resnet.py").touch()
    assert problems(tmp_path, changed("module: toy.py", "module: resnett.py")) == [
        f"5: source.torch.module: resnett.py is not in {tmp_path / 'toy'}, {architectures}; did you mean resnet.py?"]


@pytest.mark.parametrize("old", ["toy.py", "labels.txt"])
def test_a_name_too_long_for_the_file_system_is_a_missing_file(tmp_path: Path, old: str) -> None:
    (found,) = problems(tmp_path, changed(old, "x" * 300 + ".py"))
    assert "does not exist" in found or "is not in" in found


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    text = COMPLETE
    for old, new in [("description: a toy", "describtion: a toy"), ("module: toy.py", "module: tyo.py"),
                     ("layout: NCHW", "layout: 5"), ("color: rgb", "color: red"), ("labels.txt", "none.txt"),
                     ("{random: 1}", "{random: 0}"), ("{0: batch}", "{7: batch}")]:
        text = changed(old, new, text)
    found = problems(tmp_path, text)
    assert [line.split(": ")[:2] for line in found] == [
        ["2", "describtion"], ["5", "source.torch.module"], ["11", "inputs.input.layout"],
        ["12", "inputs.input.picture.color"], ["16", "decoder.classification.labels"], ["17", "samples"],
        ["20", "targets.onnx.dynamic.input.7"]]


def test_a_part_with_problems_of_its_own_draws_no_second_complaint(tmp_path: Path) -> None:
    for old, new in [("    shape: [1, 3, 8, 8]\n", ""), ("shape: [1, 3, 8, 8]", "shape: 5"), ("color: rgb", "color: x"),
                     ("  scores: {shape: [1, 2]}", "  5"), ("{resize: letterbox, color: rgb, scale: 1/255}", "5"),
                     ("{random: 1}", "5"), ("    dynamic: {input: {0: batch}}", "    5"), ("layout: NCHW", "layout: 5"),
                     ("{input: {0: batch}}", "{input: 5}"), ("  classification: {labels: labels.txt}", "  5")]:
        assert len(problems(tmp_path, changed(old, new))) == 1, new


@pytest.mark.parametrize(("text", "said"), [
    ("", "1: the file is empty"), ("\n", "1: the file is empty"), ("[]", "1: expected a mapping, found a list"),
    ("just text", "1: expected a mapping, found 'just text'"), ("name: toy\n\tsource: x\n", "tabs cannot indent"),
    ("name: [toy\n", "not valid YAML"), (b"name: \xff\n", "1: byte 0xff is not UTF-8"),
    ("[" * 100_000, "levels of nesting"),
    ("&a [*a]", "an alias stands within what it names"), ("&a {name: toy, source: *a}", "an alias stands within"),
])
def test_a_file_that_is_no_recipe_at_all_is_one_problem(tmp_path: Path, text: str | bytes, said: str) -> None:
    (found,) = problems(tmp_path, text)
    assert said in found


@pytest.mark.parametrize("file", BUNDLED, ids=lambda file: file.parent.name)
def test_every_bundled_recipe_is_read(file: Path) -> None:
    recipe = read_recipe(file, OPTIONS)
    assert recipe.name == file.parent.name
    assert recipe.description
    assert recipe.targets["onnx"]


def test_an_unknown_model_is_answered_with_its_nearest_names(tmp_path: Path) -> None:
    make(tmp_path)
    assert recipe_file(tmp_path, "toy") == tmp_path / "toy" / "model.yaml"
    for name in ("tyo", "", "../toy", "toy/", "architectures"):
        with pytest.raises(UsageError, match="there is no model"):
            recipe_file(tmp_path, name)
    with pytest.raises(UsageError, match=re.escape("did you mean toy?")):
        recipe_file(tmp_path, "Toy2")


def test_models_are_the_folders_that_hold_a_recipe(tmp_path: Path) -> None:
    make(tmp_path, name="b")
    make(tmp_path, name="a")
    (tmp_path / "architectures").mkdir()
    assert model_names(tmp_path) == ["a", "b"]
    with pytest.raises(UsageError, match="does not exist"):
        model_names(tmp_path / "nowhere")


def test_a_module_that_goes_away_while_it_is_read_is_a_recipe_error(tmp_path: Path,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    file, real = make(tmp_path), Path.is_file
    looks = iter([True])
    monkeypatch.setattr(Path, "is_file", lambda path: (path.name != "toy.py" and real(path)) or next(looks, False))
    with pytest.raises(RecipeError, match="went away"):
        read_recipe(file, OPTIONS)
