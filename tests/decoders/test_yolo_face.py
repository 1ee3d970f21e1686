from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelfarm.decoders import yolo_face
from modelfarm.decoders.prediction import Detection, Placement
from modelfarm.errors import RecipeError

LETTERBOX = Placement(width=200, height=100, input_width=100, input_height=100, scale_x=0.5, scale_y=0.5,
                      offset_x=0, offset_y=25)


def decoder(confidence: float = 0.3, iou: float = 0.5) -> yolo_face.Decoder:
    return yolo_face.Decoder({"confidence": confidence, "iou": iou}, Path())


def row(cx: float, cy: float, w: float, h: float, objectness: float, face: float) -> list[float]:
    return [cx, cy, w, h, objectness, *(value for index in range(5) for value in (cx + index, cy - index)), face]


def test_rows_become_faces_in_pixels_of_the_picture() -> None:
    rows = np.array([[row(30, 45, 20, 10, 0.9, 0.8), row(31, 45, 20, 10, 0.9, 0.5), row(70, 50, 10, 10, 0.9, 0.2)]])
    (face,), = decoder().decode({"output": rows}, [LETTERBOX])
    assert isinstance(face, Detection)
    # By hand: x = 2 * (cx -+ w / 2), y = 2 * (cy -+ h / 2 - 25); the second overlaps, the third scores 0.18.
    assert face.box == pytest.approx((40, 30, 80, 50))
    assert face.score == pytest.approx(0.72)
    assert face.landmarks == tuple((2 * (30 + index), 2 * (45 - index - 25)) for index in range(5))


def test_every_item_of_a_batch_has_its_own_placement() -> None:
    face = row(30, 45, 20, 10, 0.9, 0.8)
    rows = np.array([[face], [face], [row(1, 1, 1, 1, 0, 0)]], np.float32)
    first, second, third = decoder().decode({"output": rows}, [LETTERBOX, Placement.identity(100, 100), LETTERBOX])
    assert [entry.box for entry in second if isinstance(entry, Detection)] == [pytest.approx((20, 40, 40, 50))]
    assert len(first) == 1
    assert third == []


def test_columns_separate_pixels_from_scores() -> None:
    rows = np.array([[row(30, 45, 20, 10, 0.5, 0.25)]])
    columns = {column.name: column for column in decoder().columns({"output": rows}, (100, 100))}
    assert {name: column.unit for name, column in columns.items()} == {
        "box": "px", "landmarks": "px", "objectness": "score", "class": "score", "score": "score"}
    assert columns["box"].values.tolist() == [[[30, 45, 20, 10]]]
    assert columns["landmarks"].values.shape == (1, 1, 10)
    assert columns["score"].values.tolist() == [[0.125]]
    assert {column.output for column in columns.values()} == {"output"}


@pytest.mark.parametrize("outputs", [
    {"a": np.zeros((1, 3, 80, 80, 16)), "b": np.zeros((1, 3, 40, 40, 16))},
    {"a": np.zeros((1, 10, 85))},
    {"a": np.zeros((1, 10, 16)), "b": np.zeros((1, 10, 16))},
])
def test_outputs_of_another_kind_are_refused_with_their_shapes(outputs: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"needs one output of shape \(batch, boxes, 16\); found a \[1,"):
        decoder().columns(outputs, (100, 100))


def test_an_input_without_a_layout_is_refused() -> None:
    with pytest.raises(RecipeError, match="layout"):
        decoder().decode({"output": np.zeros((1, 1, 16))}, [None])
