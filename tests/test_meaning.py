"""What a converter is told of a model, and what a user of the artifact finds in its manifest."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelfarm.console import Console
from modelfarm.meaning import describe
from modelfarm.plan import Request
from tests.toys import Toys
from tests.waytoys import PAIR, add
from tests.workshop import Workshop, make_workshop

HEADS = {"cut_decode": {"outputs": ["output"], "heads": [{"name": "/m/Conv", "stride": 16}]}}
SPLIT = {"split_outputs": {"output": "scores", "parts": {"boxes": [0, 4], "sure": [4, 5]}}}
DIVIDED = {"normalise_boxes": {"factor": 640.0, "columns": {"scores": [[0, 4], [5, 15]]}}}


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return make_workshop(tmp_path)


def meaning(workshop: Workshop, names: list[str], edits: dict[str, Any] | None = None) -> dict[str, Any]:
    return describe(workshop.job(), names, edits or {})


def test_a_model_is_described_with_its_pictures_labels_and_decoder(workshop: Workshop) -> None:
    told = meaning(workshop, ["scores"])
    assert told["description"] == "a toy"
    assert told["labels"] == ["cat", "dog"]
    assert (told["pictures"]["input"]["color"], told["pictures"]["input"]["scale"]) == ("rgb", 1 / 255)
    assert told["decoder"]["name"] == "classification" and told["decoder"]["options"]["labels"] == "labels.txt"
    assert told["outputs"] == {"scores": "one score per class, in the order of the labels"}
    assert told["edits"] == {}


def test_a_model_without_a_decoder_says_little(workshop: Workshop) -> None:
    workshop.recipe("decoder: {classification: {labels: labels.txt}}\n", "")
    told = meaning(workshop, ["scores"])
    assert "decoder" not in told and "labels" not in told
    assert told["outputs"] == {"scores": "see the model's own documentation"}


def test_outputs_are_told_apart_by_their_part_in_the_decoder(workshop: Workshop) -> None:
    workshop.recipe("{classification: {labels: labels.txt}}", "{ssd_face: {boxes: scores, scores: scores}}")
    assert meaning(workshop, ["scores"])["outputs"]["scores"].startswith("one row per candidate: its box")


@pytest.mark.parametrize(("edits", "output", "said"), [
    (HEADS, "/m/Conv", "raw head of stride 16, per anchor centre x, centre y, width and height of the box"),
    (SPLIT, "boxes", "columns 0 to 3 of: one score per class"),
    (DIVIDED, "scores", "in the order of the labels; columns 0 to 3, 5 to 14 are divided by 640"),
])
def test_what_an_edit_made_of_an_output_is_said(workshop: Workshop, edits: dict[str, Any], output: str,
                                               said: str) -> None:
    told = meaning(workshop, [output], {**edits, "changed": ["a line"]})
    assert said in told["outputs"][output]
    assert told["edits"] == edits


# A toolchain that divides, as docker/onnx does it, and one that reads what it made.

DIVIDER = """\
title: Divider
reads: [torch]
makes: onnx
python: "3.11"
precisions: [fp32]
promises: [model.json]
seconds: 30
options:
  edit: {type: edits, default: {}, help: edits}
"""

DIVIDER_CONVERTER = '''
"""Divides its outputs where the reader wants it, or calls them otherwise, and says so."""
import json

import numpy as np
from jobkit import Device, Runtime, Tensor

def convert(job):
    job.facts["edited"] = _edits(job)
    (job.out / "model.json").write_text(json.dumps({"gain": 2 / _factor(job)}))
    return ["model.json"]

def load(files, job):
    return _runtime(json.loads((job.out / files[0]).read_text())["gain"], job)

def reference(job):
    return _runtime(2 / _factor(job), job)

def _edits(job):
    edit = job.options["edit"]
    told = {"changed": sorted(edit)}
    if edit.get("normalise_boxes"):
        told["normalise_boxes"] = {"factor": 4.0, "columns": {"y": [[0, 2]]}}
    if edit.get("split_outputs"):
        told["split_outputs"] = {"output": "y", "parts": {"a": [0, 2], "b": [2, 3]}}
    return told

def _factor(job):
    return np.float32([4, 4, 1]) if job.options["edit"].get("normalise_boxes") else np.float32(1)

def _runtime(gain, job):
    names = ["a", "b"] if job.options["edit"].get("split_outputs") else ["y"]
    def run(inputs):
        y = np.float32(gain) * inputs["x"]
        return {"a": y[:, :2], "b": y[:, 2:]} if len(names) > 1 else {"y": y}
    shapes = {"a": (1, 2), "b": (1, 1), "y": (1, 3)}
    made = tuple(Tensor(name, shapes[name], "float32") for name in names)
    return Runtime(run, (Tensor("x", (1, 3), "float32"),), made, Device("cpu", "cpu", "numpy"))
'''

TELLER = PAIR.replace("ways: {long: pair, short: pair-short}\n", "").replace(
    "{target: toy, options: {rounds: 2}}", "{target: divider, options: {}}").replace(
    "  level:", "  adapt: {type: edits, default: {}, help: edits}\n  level:")

TELLER_CONVERTER = '''
"""Reads what the divider made, and tells what it was told."""
import json

import numpy as np
from jobkit import Device, Runtime, Tensor

def convert(job):
    job.facts["told"] = {"edits": job.meaning["edits"], "outputs": job.meaning["outputs"],
                         "named": [[output.name, output.shape and list(output.shape)] for output in job.outputs]}
    (job.out / "model.pair").write_text(job.source.file.read_text())
    return ["model.pair"]

def load(files, job):
    gain = np.float32(json.loads((job.out / files[0]).read_text())["gain"])
    names = [output.name for output in job.outputs]
    def run(inputs):
        y = gain * inputs["x"]
        return {"a": y[:, :2], "b": y[:, 2:]} if len(names) > 1 else {"y": y}
    return Runtime(run, (Tensor("x", (1, 3), "float32"),),
                   tuple(Tensor(output.name, output.shape or (1, 3), "float32") for output in job.outputs),
                   Device("cpu", "cpu", "numpy"))
'''

DECODER = """\
import numpy as np
from modelfarm.decoders.prediction import Column

class Decoder:
    def __init__(self, options):
        pass

    def columns(self, outputs, size):
        y = outputs["y"]
        return [Column(name="pixels", unit="px", values=y[..., :2], output="y"),
                Column(name="score", unit="score", values=y[..., 2], output="y")]

    def decode(self, outputs, placements):
        assert outputs["y"].shape[-1] == 3
        return [[] for _ in placements]
"""


@pytest.fixture
def told(toys: Toys) -> Toys:
    """Return toys with a toolchain that edits, and one that reads."""
    add(toys, "divider", DIVIDER, DIVIDER_CONVERTER.replace("json.dumps({\"gain\": 2 / _factor(job)})",
                                                            "json.dumps({\"gain\": (2 / _factor(job)).tolist()})"))
    add(toys, "teller", TELLER, TELLER_CONVERTER)
    return toys


def run(toys: Toys, adapt: str) -> dict[str, Any]:
    folder = toys.model(gain=2, more="decoder: {module: decoder.py}")
    (folder / "decoder.py").write_text(DECODER)
    recipe = folder / "model.yaml"
    recipe.write_text(recipe.read_text().replace("targets: {toy: {}}", f"targets: {{teller: {{adapt: {adapt}}}}}"))
    farm = toys.farm
    assert farm.convert("teller", "toy", Request(), Console(io.StringIO(), live=False)) == 0
    artifact = farm.artifact("toy", "teller-fp32")
    return {"facts": artifact.manifest["predicate"]["verification"]["facts"], "smoke": artifact.smoke}


def test_the_factor_reaches_the_decoder_the_converter_and_the_manifest(told: Toys) -> None:
    found = run(told, "{normalise_boxes: true}")
    assert found["facts"]["edited"]["normalise_boxes"] == {"factor": 4.0, "columns": {"y": [[0, 2]]}}
    assert found["facts"]["told"]["edits"]["normalise_boxes"]["factor"] == 4.0
    assert "columns 0 to 1 are divided by 4" in found["facts"]["told"]["outputs"]["y"]
    assert [column["column"] for column in found["smoke"]["columns"]] == ["pixels", "score"]


def test_outputs_that_an_edit_renames_are_those_of_the_graph(told: Toys) -> None:
    found = run(told, "{split_outputs: true, normalise_boxes: true}")
    assert found["facts"]["told"]["named"] == [["a", [1, 2]], ["b", [1, 1]]]
    assert [column["column"] for column in found["smoke"]["columns"]] == ["pixels", "score"], "the parts are covered"


def test_without_edits_nothing_is_inherited(told: Toys) -> None:
    found = run(told, "{}")
    assert found["facts"]["told"]["edits"] == {}
    assert found["facts"]["told"]["named"] == [["y", None]]


def test_the_reference_is_that_of_the_edited_graph(told: Toys) -> None:
    run(told, "{normalise_boxes: true}")
    with np.load(told.farm.artifact("toy", "divider-for-teller").path("reference.npz")) as kept:
        first, second = kept["0/y"], kept["1/y"]
    assert first.shape == second.shape == (1, 3)
