"""What a file says of itself, worked out of the recipe's words: normalisation by hand, labels, sentences, factors."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from jobkit import Input, UnusableError
from tfliteparts import ModelWords, TensorWords, check, words_of

PICTURE = {"resize": "stretch", "anchor": "center", "short": None, "pad": [114.0], "interpolation": "linear",
           "color": "rgb", "scale": 1 / 255, "mean": [0.0], "std": [1.0]}
LABELS = ["cat", "dog"]


def words(names: tuple[str, ...] = ("y",), shape: tuple[int, ...] = (1, 3, 4, 6), layout: str = "NCHW",
          picture: dict[str, Any] | None = None, **meaning: Any) -> ModelWords:
    told = {"description": "a toy", "pictures": {"x": {**PICTURE, **(picture or {})}}, **meaning}
    job: Any = SimpleNamespace(model="toy", meaning=told, inputs=(Input("x", shape, "float32", layout),))
    return words_of(job, list(names))


def given(**picture: Any) -> TensorWords:
    return words(picture=picture).inputs[0]


def test_a_pixel_divided_by_255_has_no_mean_and_that_deviation() -> None:
    found = given()
    assert (found.mean, found.std, found.minimum, found.maximum) == ((0.0,), (255.0,), (0.0,), (1.0,))
    assert found.color == "RGB" and found.size == (6, 4)
    assert found.description == "RGB picture, stretch to 6x4"


@pytest.mark.parametrize("pixel", [0.0, 77.0, 255.0])
def test_the_formats_formula_gives_what_the_recipes_gives(pixel: float) -> None:
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    found = given(mean=mean.tolist(), std=std.tolist())
    recipe = (pixel / 255 - mean) / std
    np.testing.assert_allclose((pixel - np.array(found.mean)) / np.array(found.std), recipe, rtol=1e-5, atol=1e-6)
    ends = {0.0: found.minimum, 255.0: found.maximum}
    np.testing.assert_allclose(ends.get(pixel, recipe), recipe, rtol=1e-5)


def test_one_value_stands_for_as_many_channels_as_the_other_has() -> None:
    found = given(mean=[127.0], std=[1.0, 2.0, 4.0], scale=1.0)
    assert (found.mean, found.std) == ((127.0,) * 3, (1.0, 2.0, 4.0))
    assert found.maximum == (128.0, 64.0, 32.0)


def test_the_numbers_are_those_that_the_file_can_hold() -> None:
    assert given(scale=0.017).std == (float(np.float32(1 / 0.017)),)


def test_a_letterbox_says_what_fills_the_rest() -> None:
    assert given(resize="letterbox").description == "RGB picture, letterbox to 6x4, the rest filled with 114"
    assert given(resize="letterbox", pad=[1, 2, 3]).description.endswith("filled with [1, 2, 3]")


def test_an_order_of_colours_that_the_format_has_no_word_for_is_in_the_sentence() -> None:
    found = given(color="bgr")
    assert found.color == "" and found.description.startswith("BGR picture")


def test_a_picture_divided_by_its_own_maximum_has_no_constants() -> None:
    found = given(scale=None)
    assert found.std == () and "divided by its own maximum" in found.description


def test_a_size_is_read_by_the_recipes_layout() -> None:
    assert words(shape=(1, 4, 6, 3), layout="NHWC").inputs[0].size == (6, 4)
    assert words(shape=(1, 8), layout="").inputs[0].size == ()


def test_an_input_that_is_no_picture_has_its_name_alone() -> None:
    assert words(pictures={}).inputs == (TensorWords("x", ""),)


def test_labels_belong_to_the_output_that_the_decoder_reads() -> None:
    decoder = {"name": "classification", "options": {"output": "b", "labels": "labels.txt"}}
    found = words(("a", "b"), labels=LABELS, decoder=decoder)
    assert [output.labels for output in found.outputs] == [False, True] and found.labels == ("cat", "dog")


def test_labels_belong_to_the_only_output_where_no_decoder_tells() -> None:
    assert words(labels=LABELS).outputs[0].labels
    found = words(("a", "b"), labels=LABELS)
    assert found.labels == () and not any(output.labels for output in found.outputs)


def test_outputs_have_their_sentences_and_edits_their_numbers() -> None:
    edits = {"normalise_boxes": {"factor": 640.0, "columns": {"y": [[0, 4]]}}}
    found = words(edits=edits, outputs={"y": "boxes; columns 0 to 3 are divided by 640"}, names=("y",))
    assert json.loads(found.own)["edits"] == edits
    assert found.outputs[0].description == "boxes; columns 0 to 3 are divided by 640"


def test_a_job_without_a_meaning_has_names() -> None:
    job: Any = SimpleNamespace(model="toy", meaning={}, inputs=(Input("x", (1, 2), "float32", None),))
    found = words_of(job, ["y"])
    assert (found.name, found.description, found.own) == ("toy", "", "{}")
    assert (found.inputs, found.outputs) == ((TensorWords("x", ""),), (TensorWords("y", ""),))


def test_the_lines_for_a_report() -> None:
    found = words(labels=LABELS)
    assert found.lines == ["x: RGB picture, stretch to 6x4; (pixel - 0) / 255", "y: 2 labels in labels.txt",
                           "modelfarm: pictures, as JSON"]


@pytest.mark.parametrize(("field", "value"), [
    ("name", "another"), ("description", ""), ("labels", ("dog", "cat")), ("own", "{}"), ("outputs", ()),
])
def test_a_file_that_says_something_else_is_refused_with_what(field: str, value: Any) -> None:
    right = words(labels=LABELS)
    check(right, right)
    with pytest.raises(UnusableError, match=f"has other {field} than the recipe"):
        check(replace(right, **{field: value}), right)


def test_another_deviation_is_refused() -> None:
    right = words()
    wrong = replace(right, inputs=(replace(right.inputs[0], std=(127.5,)),))
    with pytest.raises(UnusableError, match="has other inputs than the recipe"):
        check(wrong, right)


def test_a_file_that_says_nothing_is_refused() -> None:
    with pytest.raises(UnusableError, match="the file has no metadata"):
        check(None, words())
