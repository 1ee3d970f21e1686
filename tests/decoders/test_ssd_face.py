"""ssd_face against the plain formula, computed with loops and normalised coordinates as the original does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelfarm.decoders import ssd_face
from modelfarm.decoders.prediction import Detection, Placement
from modelfarm.errors import RecipeError

PRIORS = {"strides": [8, 16], "sizes": [[10, 16], [32]], "variances": [0.1, 0.2]}
HEIGHT, WIDTH = 20, 36  # no multiples of the strides: cells are rounded up


def decoder(priors: dict[str, Any] | None = None, landmarks: str | None = None) -> ssd_face.Decoder:
    return ssd_face.Decoder({"confidence": 0.5, "iou": 0.4, "boxes": "loc", "scores": "conf", "landmarks": landmarks,
                             "priors": priors}, Path())


def normalised_priors() -> list[tuple[float, float, float, float]]:
    """List cx, cy, w, h as fractions, as Face-Detector-1MB's PriorBox does."""
    found = []
    for stride, sizes in ((8, (10, 16)), (16, (32,))):
        for y in range(math.ceil(HEIGHT / stride)):
            for x in range(math.ceil(WIDTH / stride)):
                for size in sizes:
                    found.append(((x + 0.5) * stride / WIDTH, (y + 0.5) * stride / HEIGHT, size / WIDTH, size / HEIGHT))
    return found


def test_offsets_become_boxes_and_landmarks_as_the_formula_says() -> None:
    priors, generator = normalised_priors(), np.random.default_rng(1)
    loc, landms = generator.normal(size=(2, len(priors), 4)), generator.normal(size=(2, len(priors), 10))
    conf = np.zeros((2, len(priors), 2))
    columns = decoder(PRIORS, "landms").columns({"loc": loc, "conf": conf, "landms": landms}, (HEIGHT, WIDTH))
    boxes, marks = columns[0].values, columns[1].values
    for item in range(2):
        for index, (cx, cy, w, h) in enumerate(priors):
            a, b, c, d = loc[item, index]
            x, y, wide, tall = cx + a * 0.1 * w, cy + b * 0.1 * h, w * math.exp(c * 0.2), h * math.exp(d * 0.2)
            expected = [(x - wide / 2) * WIDTH, (y - tall / 2) * HEIGHT,
                        (x + wide / 2) * WIDTH, (y + tall / 2) * HEIGHT]
            assert boxes[item, index] == pytest.approx(expected)
            for point in range(5):
                px, py = landms[item, index, 2 * point:2 * point + 2]
                assert marks[item, index, 2 * point] == pytest.approx((cx + px * 0.1 * w) * WIDTH)
                assert marks[item, index, 2 * point + 1] == pytest.approx((cy + py * 0.1 * h) * HEIGHT)


def test_the_published_configuration_gives_its_number_of_priors() -> None:
    priors = ssd_face.Priors(strides=(8, 16, 32, 64), sizes=((10, 16, 24), (32, 48), (64, 96), (128, 192, 256)),
                             variances=(0.1, 0.2))
    assert len(ssd_face.prior_boxes(priors, 640, 640)) == 23500
    assert len(ssd_face.prior_boxes(priors, 240, 320)) == 4420


def test_corner_fractions_become_boxes_in_the_picture() -> None:
    placement = Placement(width=64, height=48, input_width=32, input_height=24, scale_x=0.5, scale_y=0.5,
                          offset_x=0, offset_y=0)
    outputs = {"loc": np.array([[[0.25, 0.5, 0.5, 0.75], [0, 0, 0.1, 0.1]]]),
               "conf": np.array([[[0.1, 0.9], [0.6, 0.4]]])}
    (face,), = decoder().decode(outputs, [placement])
    assert isinstance(face, Detection)
    assert face.box == pytest.approx((16, 24, 32, 36))
    assert face.score == pytest.approx(0.9)
    assert face.landmarks == ()


def test_landmark_fractions_are_scaled_and_a_batch_is_decoded_item_by_item() -> None:
    outputs = {"loc": np.array([[[0, 0, 0.5, 0.5]], [[0.5, 0.5, 1, 1]]]), "conf": np.array([[[0, 1.0]], [[0, 0.75]]]),
               "marks": np.full((2, 1, 10), 0.5)}
    here = Placement.identity(40, 20)
    (one,), (two,) = decoder(landmarks="marks").decode(outputs, [here, here])
    assert isinstance(one, Detection) and isinstance(two, Detection)
    assert one.box == (0, 0, 20, 10)
    assert two.box == (20, 10, 40, 20)
    assert two.landmarks == ((20, 10),) * 5


def test_columns_have_units_and_name_their_outputs() -> None:
    outputs = {"loc": np.zeros((1, 1, 4)), "conf": np.zeros((1, 1, 2))}
    columns = decoder().columns(outputs, (20, 40))
    assert [(column.name, column.unit, column.output) for column in columns] == [
        ("box", "px", "loc"), ("score", "score", "conf")]


def test_an_absurd_size_is_dropped_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    priors = {"strides": [8], "sizes": [[10]], "variances": [0.1, 0.2]}
    outputs = {"loc": np.array([[[0, 0, 1e5, 0]]]), "conf": np.array([[[0, 1.0]]])}
    assert decoder(priors).decode(outputs, [Placement.identity(8, 8)]) == [[]]
    assert not recwarn.list


@pytest.mark.parametrize(("outputs", "message"), [
    ({"conf": np.zeros((1, 5, 2))}, "no output 'loc'"),
    ({"loc": np.zeros((1, 5, 6)), "conf": np.zeros((1, 5, 2))}, r"shape \[1, 5, 6\], expected \(batch, boxes, 4\)"),
    ({"loc": np.zeros((1, 5, 4)), "conf": np.zeros((1, 5, 2))}, "5 boxes, but the priors give 36 for an input"),
])
def test_outputs_that_do_not_fit_are_named(outputs: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        decoder(PRIORS).columns(outputs, (HEIGHT, WIDTH))


def test_as_many_sizes_as_strides_are_needed() -> None:
    with pytest.raises(RecipeError, match="2 strides, but sizes for 1"):
        decoder({**PRIORS, "sizes": [[10]]})


def test_an_input_without_a_layout_is_refused() -> None:
    with pytest.raises(RecipeError, match="layout"):
        decoder().decode({"loc": np.zeros((1, 1, 4)), "conf": np.zeros((1, 1, 2))}, [None])
