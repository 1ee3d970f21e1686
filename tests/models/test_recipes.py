"""The recipes of the zoo agree with their networks and with the golden results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

MODELS = Path(__file__).parents[2] / "models"
RECIPES = {file.parent.name: yaml.safe_load(file.read_text()) for file in sorted(MODELS.glob("*/model.yaml"))}
# The digits have results of their own, MediaPipe's files a test of their own.
GOLDEN = {name for name in RECIPES if "expect" in RECIPES[name] and name.split("-")[0] not in ("digits", "mediapipe")}
IN_PYTORCH = [name for name, recipe in RECIPES.items() if "torch" in recipe["source"]]

_SHAPES = """
import json, sys
sys.path.insert(0, "tests/models")
from zoo import build, eager, random

shapes = {}
for name, (source, shape) in json.loads(sys.argv[1]).items():
    model = build(source["module"].removesuffix(".py"), source["factory"], source.get("arguments"))
    shapes[name] = [output.shape for output in eager(model, random(*shape))]
print(json.dumps(shapes))
"""


def test_the_networks_have_the_outputs_that_their_recipes_state(toolchain: Callable[..., Any]) -> None:
    asked = {name: (RECIPES[name]["source"]["torch"], RECIPES[name]["inputs"]["input"]["shape"]) for name in IN_PYTORCH}
    stated = {name: [output["shape"] for output in RECIPES[name]["outputs"].values()] for name in IN_PYTORCH}
    assert toolchain(_SHAPES, json.dumps(asked)) == stated


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_what_a_recipe_expects_is_the_golden_result(golden: dict[str, Any], name: str) -> None:
    images = golden[name.removesuffix("-onnx")]["images"]
    assert RECIPES[name]["expect"] == {picture: expected(result) for picture, result in images.items()}
    assert RECIPES[name]["samples"]["pictures"] == list(images)


@pytest.mark.parametrize("name", [name for name in RECIPES if "sha256" in str(RECIPES[name]["source"])])
def test_the_digest_in_a_recipe_is_that_of_its_file(data: Path, name: str) -> None:
    source = RECIPES[name]["source"]
    named = source["torch"]["weights"] if "torch" in source else next(iter(source.values()))
    assert hashlib.sha256((data / "weights" / named["file"]).read_bytes()).hexdigest() == named["sha256"]


@pytest.mark.parametrize("name", [name for name in RECIPES if "labels" in str(RECIPES[name]["decoder"])])
def test_there_is_a_label_for_every_class(name: str) -> None:
    options = RECIPES[name]["decoder"]["classification"]
    labels = (MODELS / name / options["labels"]).read_text().splitlines()
    assert len(set(labels)) == RECIPES[name]["outputs"][options["output"]]["shape"][1]


def expected(result: Any) -> Any:
    """Return a golden result in the words of a recipe."""
    if isinstance(result, list):
        names = {"lm": "landmarks"}
        return [{names.get(key, key): value for key, value in face.items()} for face in result]
    if "top5" in result:
        return {"top5": [index for index, _ in result["top5"]]}
    return result
