"""The metadata of real files of both ways, shown by tflite-support's own reader; what lies of its recipe is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

LABELS = ["hum", "hiss", "Geräusch", "rumble", "none"]


@pytest.fixture(scope="module", params=["tflite", "tflite-onnx2tf"])
def found(request: pytest.FixtureRequest, script_in: Callable[..., Any],
          tmp_path_factory: pytest.TempPathFactory) -> Any:
    return script_in(str(request.param), "tflite_metadata", tmp_path_factory.mktemp("metadata"))


def graph(case: Any) -> Any:
    (only,) = case["shown"]["json"]["subgraph_metadata"]
    return only


@pytest.mark.parametrize("precision", ["fp32", "uint8"])
def test_the_input_says_how_a_picture_enters(found: Any, precision: str) -> None:
    (fed,) = graph(found[precision])["input_tensor_metadata"]
    assert fed["name"] == "x" and fed["description"].startswith("RGB picture, letterbox to 8x8")
    image = fed["content"]["content_properties"]
    assert (image["color_space"], image["default_size"]) == ("RGB", {"width": 8, "height": 8})
    (unit,) = fed["process_units"]
    # (pixel / 255 - 0.5) / 0.5 = (pixel - 127.5) / 127.5, and so for the other two channels.
    assert unit["options_type"] == "NormalizationOptions"
    assert unit["options"] == {"mean": [127.5, 63.75, 31.875], "std": [127.5, 127.5, 63.75]}
    assert fed["stats"] == {"min": [-1.0, -0.5, -0.5], "max": [1.0, 1.5, 3.5]}


@pytest.mark.parametrize("precision", ["fp32", "uint8"])
def test_the_output_has_its_sentence_and_its_labels(found: Any, precision: str) -> None:
    (given,) = graph(found[precision])["output_tensor_metadata"]
    assert given["name"] == "y" and given["description"] == "one score per class; columns 0 to 3 are divided by 640"
    (file,) = given["associated_files"]
    assert (file["name"], file["type"]) == ("labels.txt", "TENSOR_AXIS_LABELS")
    assert found[precision]["shown"]["files"] == {"labels.txt": "".join(f"{label}\n" for label in LABELS)}


def test_the_model_has_its_name_and_what_the_format_has_no_place_for(found: Any) -> None:
    said = found["fp32"]["shown"]["json"]
    assert (said["name"], said["description"]) == ("toy", "five kinds of noise")
    assert said["min_parser_version"]
    (own,) = graph(found["fp32"])["custom_metadata"]
    told = json.loads(bytes(own["data"]).decode())
    assert own["name"] == "modelfarm" and set(told) == {"pictures", "decoder", "edits"}
    assert told["edits"]["normalise_boxes"]["factor"] == 640.0


def test_equal_jobs_give_equal_bytes_also_another_day(found: Any) -> None:
    assert found["again"]["digest"] == found["uint8"]["digest"]
    assert found["uint8"]["shown"]["dates"] == [[1980, 1, 1, 0, 0, 0]]


def test_the_file_gives_what_it_gave_without(found: Any) -> None:
    assert found["fp32"]["errors"]["y"] < 1e-5 and found["fp32"]["values"] == found["plain"]["values"]
    assert found["same"] is True and found["not same"] is False


def test_what_was_read_back_is_told(found: Any) -> None:
    fed, given, own = found["fp32"]["facts"]["metadata"]
    assert fed.startswith("x: RGB picture, letterbox to 8x8, the rest filled with 114; (pixel - [127.5, 63.75, 31.88])")
    assert given == "y: one score per class; columns 0 to 3 are divided by 640; 5 labels in labels.txt"
    assert own == "modelfarm: decoder, edits, pictures, as JSON"


def test_a_recipe_that_says_little_gives_names(found: Any) -> None:
    assert found["plain words"]["facts"]["metadata"] == ["x: nothing", "y: nothing", "modelfarm: nothing, as JSON"]


@pytest.mark.parametrize(("case", "what"), [
    ("other labels", "labels ('hum', 'hiss'"), ("other scale", "inputs"), ("other factor", "own"),
])
def test_a_file_that_says_something_else_than_the_recipe_is_refused(found: Any, case: str, what: str) -> None:
    refused = found[case]
    assert refused["class"] == "UnusableError"
    assert refused["message"].startswith("the metadata of the file has other " + what.split(" ")[0])
    assert what.partition(" ")[2] in refused["message"]


def test_a_file_without_metadata_is_refused_unless_it_is_given(found: Any) -> None:
    assert found["bare"] == {"class": "UnusableError", "message": "the file has no metadata"}
    assert "metadata" not in found["bare and given"]["facts"]


def test_a_file_that_is_given_is_held_against_what_is_known_of_it(found: Any) -> None:
    assert found["given"]["facts"]["metadata"] == found["fp32"]["facts"]["metadata"]
    assert "has other labels than the recipe" in found["given, other labels"]["message"]
    assert "metadata" not in found["given, no meaning"]["facts"]
