"""landmarks: points of one object, with and without a depth and a score."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelfarm.decoders import landmarks
from modelfarm.decoders.prediction import Detection, Placement
from modelfarm.errors import RecipeError

OPTIONS = {"confidence": 0.5, "points": "mesh", "dimensions": 3, "score": "presence"}
HERE = Placement.identity(192, 192)
POINTS = np.array([[10.0, 20.0, -3.0], [50.0, 5.0, 1.0], [30.0, 90.0, 0.0]])


def decoder(**changes: Any) -> landmarks.Decoder:
    return landmarks.Decoder({**OPTIONS, **changes}, Path())


def outputs(*logits: float, shape: tuple[int, ...] = (1, 1, 9)) -> dict[str, np.ndarray]:
    return {"mesh": np.stack([POINTS.reshape(shape)] * len(logits)),
            "presence": np.array(logits, np.float32).reshape(-1, 1, 1, 1)}


@pytest.mark.parametrize("shape", [(1, 1, 9), (9,), (3, 3)])
def test_points_are_read_whatever_the_shape_of_their_output(shape: tuple[int, ...]) -> None:
    (face,), = decoder().decode(outputs(2.0, shape=shape), [HERE])
    assert isinstance(face, Detection)
    assert face.landmarks == ((10, 20), (50, 5), (30, 90))
    assert face.box == (10, 5, 50, 90)
    assert face.score == pytest.approx(1 / (1 + math.exp(-2)))


def test_points_are_mapped_back_into_the_picture() -> None:
    placement = Placement(width=500, height=400, input_width=192, input_height=192, scale_x=0.5, scale_y=2,
                          offset_x=-40, offset_y=10)
    (face,), = decoder().decode(outputs(2.0), [placement])
    assert isinstance(face, Detection)
    assert face.landmarks[0] == (100, 5)
    assert face.box == (100, -2.5, 180, 40), "a point may lie beyond the picture, and is not moved"


def test_an_object_that_is_not_there_is_not_found_and_a_batch_is_decoded_item_by_item() -> None:
    found = decoder().decode(outputs(-0.1, 0.1, -9.0), [HERE] * 3)
    assert [len(item) for item in found] == [0, 1, 0]


def test_without_a_score_the_object_is_there() -> None:
    (face,), = decoder(score=None).decode({"mesh": POINTS.reshape(1, -1)}, [HERE])
    assert isinstance(face, Detection)
    assert face.score == 1


def test_points_of_two_numbers_have_no_depth() -> None:
    columns = decoder(dimensions=2, score=None).columns({"mesh": np.arange(8.0).reshape(1, 8)}, (192, 192))
    assert [(column.name, column.unit, column.output) for column in columns] == [("landmarks", "px", "mesh")]
    assert columns[0].values.tolist() == [[[0, 1], [2, 3], [4, 5], [6, 7]]]


def test_columns_have_units_and_name_their_outputs() -> None:
    columns = decoder().columns(outputs(0.0), (192, 192))
    assert [(column.name, column.unit, column.output) for column in columns] == [
        ("landmarks", "px", "mesh"), ("depth", "px", "mesh"), ("score", "score", "presence")]
    assert columns[0].values.tolist() == [[[10, 20], [50, 5], [30, 90]]]
    assert columns[1].values.tolist() == [[[-3], [1], [0]]]
    assert columns[2].values.tolist() == [0.5]


@pytest.mark.parametrize(("given", "message"), [
    ({"presence": np.zeros((1, 1))}, "points: there is no output 'mesh'"),
    ({"mesh": np.zeros((1, 9))}, "score: there is no output 'presence'"),
    ({"mesh": np.zeros((1, 8)), "presence": np.zeros((1, 1))}, r"shape \[1, 8\], no points of 3 numbers"),
    ({"mesh": np.zeros((1, 0)), "presence": np.zeros((1, 1))}, r"shape \[1, 0\], no points of 3 numbers"),
    ({"mesh": np.zeros((1, 9)), "presence": np.zeros((1, 2))}, r"shape \[1, 2\], expected one number per item"),
])
def test_outputs_that_do_not_fit_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        decoder().columns(given, (192, 192))


def test_an_input_without_a_layout_is_refused() -> None:
    with pytest.raises(RecipeError, match="layout"):
        decoder().decode(outputs(2.0), [None])
