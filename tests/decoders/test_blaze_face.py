"""blaze_face against the rule written as loops: anchors in cells, offsets in pixels, a logistic score."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelfarm.decoders import blaze_face
from modelfarm.decoders.prediction import Detection, Placement
from modelfarm.errors import RecipeError

OPTIONS = {"confidence": 0.5, "iou": 0.3, "boxes": "rows", "scores": "logits", "strides": [8, 16, 16, 16]}
HERE = Placement.identity(128, 128)


def decoder(**changes: Any) -> blaze_face.Decoder:
    return blaze_face.Decoder({**OPTIONS, **changes}, Path())


def outputs(count: int = 896, batch: int = 1, seed: int = 0) -> dict[str, np.ndarray]:
    """Return random rows, and logits at which nothing is found."""
    rows = np.random.default_rng(seed).normal(0, 20, (batch, count, 16))
    return {"rows": rows, "logits": np.full((batch, count, 1), -9.0)}


def anchors_by_hand(side: int = 128) -> list[tuple[float, float]]:
    """List the anchors: two for each cell of 8 pixels, then two for each of three layers of 16 pixels."""
    found = []
    for stride, count in ((8, 2), (16, 6)):
        for row in range(side // stride):
            for column in range(side // stride):
                found += [(stride * (column + 0.5), stride * (row + 0.5))] * count
    return found


def test_the_published_model_has_896_anchors_in_the_centres_of_their_cells() -> None:
    centres = blaze_face.anchor_centres((8, 16, 16, 16), 128, 128)
    assert centres.shape == (896, 2)
    assert centres.tolist() == [list(place) for place in anchors_by_hand()]


def test_the_model_for_further_faces_has_2304_anchors_of_one_layer() -> None:
    assert blaze_face.anchor_centres((4,), 192, 192).shape == (2 * 48 * 48, 2)


def test_cells_at_the_edge_of_an_odd_picture_are_whole() -> None:
    assert blaze_face.anchor_centres((16,), 20, 40).tolist() == [
        [x, y] for y in (8, 24) for x in (8, 24, 40) for _ in range(2)]


def test_offsets_count_from_the_anchors() -> None:
    given = outputs(batch=2)
    box, landmarks, score, logits = decoder().columns(given, (128, 128))
    for item in range(2):
        for index, (x, y) in enumerate(anchors_by_hand()):
            row = given["rows"][item, index]
            assert box.values[item, index] == pytest.approx([row[0] + x, row[1] + y, row[2], row[3]])
            expected = [value + (x, y)[place % 2] for place, value in enumerate(row[4:])]
            assert landmarks.values[item, index] == pytest.approx(expected)
    assert score.values == pytest.approx(1 / (1 + math.exp(9)))
    assert logits.values is not score.values and (logits.values == -9).all()


def test_columns_have_units_and_name_their_outputs_and_leave_the_outputs_alone() -> None:
    given = outputs()
    before = given["rows"].copy()
    assert [(column.name, column.unit, column.output) for column in decoder().columns(given, (128, 128))] == [
        ("box", "px", "rows"), ("landmarks", "px", "rows"), ("score", "score", "logits"), ("logits", "", "logits")]
    assert np.array_equal(given["rows"], before)


def test_a_face_is_found_where_it_is_in_the_picture() -> None:
    given = outputs()
    index = 2 * (5 * 16 + 3)  # the cell of column 3 and row 5: its centre is at 28, 44
    given["rows"][0, index] = [2, -4, 20, 10, *range(12)]
    given["logits"][0, index] = math.log(0.8 / 0.2)
    placement = Placement(width=400, height=200, input_width=128, input_height=128, scale_x=0.5, scale_y=0.5,
                          offset_x=-8, offset_y=16)
    (face,), = decoder().decode(given, [placement])
    assert isinstance(face, Detection)
    assert face.score == pytest.approx(0.8)
    # The centre is at 30, 40; minus the corner, over the scale.
    assert face.box == pytest.approx(((30 - 10 + 8) * 2, (40 - 5 - 16) * 2, (30 + 10 + 8) * 2, (40 + 5 - 16) * 2))
    assert face.landmarks[0] == pytest.approx(((28 + 0 + 8) * 2, (44 + 1 - 16) * 2))
    assert face.landmarks[5] == pytest.approx(((28 + 10 + 8) * 2, (44 + 11 - 16) * 2))


def test_of_two_boxes_in_one_place_the_better_stays_and_a_batch_is_decoded_item_by_item() -> None:
    given = outputs(batch=2)
    given["rows"][:, :4, :4] = [0, 0, 8, 8]
    given["logits"][0, :2, 0] = [1, 2]  # the two anchors of one cell
    given["logits"][1, [0, 3], 0] = [3, 4]  # two cells beside each other
    one, two = decoder().decode(given, [HERE, HERE])
    assert [face.score for face in one if isinstance(face, Detection)] == pytest.approx([1 / (1 + math.exp(-2))])
    assert len(two) == 2


def test_logits_beyond_what_an_exponential_holds_are_a_certain_score(recwarn: pytest.WarningsRecorder) -> None:
    given = outputs()
    given["logits"][0, :2, 0] = [1e4, -1e4]
    assert decoder().columns(given, (128, 128))[2].values[0, :2].tolist() == [1, 0]
    assert not recwarn.list


@pytest.mark.parametrize(("given", "message"), [
    ({"logits": np.zeros((1, 896, 1))}, "boxes: there is no output 'rows'"),
    ({"rows": np.zeros((1, 896, 16))}, "scores: there is no output 'logits'"),
    ({"rows": np.zeros((1, 896, 4)), "logits": np.zeros((1, 896, 1))}, r"shape \[1, 896, 4\], expected \(batch, boxes"),
    ({"rows": np.zeros((1, 900, 16)), "logits": np.zeros((1, 900, 1))}, "900 boxes, but the strides give 896"),
])
def test_outputs_that_do_not_fit_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        decoder().columns(given, (128, 128))


def test_an_input_without_a_layout_is_refused() -> None:
    with pytest.raises(RecipeError, match="layout"):
        decoder().decode(outputs(), [None])
