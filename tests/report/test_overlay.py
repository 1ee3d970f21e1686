"""Overlays: read back as pixels, because a picture is all that they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from modelfarm.decoders.prediction import Classification, Detection
from modelfarm.errors import MachineError, RecipeError
from modelfarm.report import overlay
from modelfarm.report.ink import ACCENT, DARK, at
from tests.cases import ranking

GREY = 128
TOP, LEFT = overlay._GAP + overlay._HEADER, overlay._GAP


def painted(folder: Path, height: int = 400, width: int = 500) -> Path:
    file = folder / "a.png"
    assert cv2.imwrite(str(file), np.full((height, width, 3), GREY, np.uint8))
    return file


def near(pixel: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel.astype(int) - color).max() <= 12)


def test_reference_and_artifact_stand_side_by_side(tmp_path: Path) -> None:
    face = Detection(box=(100, 150, 300, 350), score=0.9)
    image = overlay.draw(painted(tmp_path), [face], [])
    left = image[TOP:TOP + 400, LEFT:LEFT + 500]
    right = image[TOP:TOP + 400, 2 * LEFT + 500:2 * LEFT + 1000]
    assert near(left[250, 100], ACCENT) and near(left[350, 200], ACCENT)
    assert near(left[250, 200], (GREY, GREY, GREY))
    assert (right == GREY).all()
    assert near(image[overlay._GAP + 3, LEFT + 200], DARK)


def test_landmarks_are_drawn_where_they_are_and_titles_change_the_header(tmp_path: Path) -> None:
    face = Detection(box=(10, 10, 490, 390), score=0.9, landmarks=((200.0, 150.0),))
    one, other = (overlay.draw(painted(tmp_path), [face], [face], titles) for titles in (("a", "b"), ("a", "c")))
    assert not near(one[TOP + 150, LEFT + 200], (GREY, GREY, GREY))
    assert (one[:, :LEFT + 500] == other[:, :LEFT + 500]).all()
    assert (one != other).any()


def test_a_mesh_leaves_the_picture_to_be_seen(tmp_path: Path) -> None:
    mesh = tuple((100.0 + 10 * column, 100.0 + 10 * row) for row in range(20) for column in range(20))
    image = overlay.draw(painted(tmp_path), [Detection(box=(90, 90, 300, 300), score=0.9, landmarks=mesh)], [])
    inside = image[TOP + 95:TOP + 295, LEFT + 95:LEFT + 295]
    untouched = (inside == GREY).all(axis=2).mean()
    assert 0.75 < untouched < 0.99
    for x, y in mesh[::37]:
        assert not near(image[TOP + int(y), LEFT + int(x)], (GREY, GREY, GREY))


def test_small_pictures_are_enlarged_in_squares_and_large_ones_reduced(tmp_path: Path) -> None:
    small = overlay.draw(painted(tmp_path, 8, 8), [], [])
    assert (small[TOP:TOP + 320, LEFT:LEFT + 320] == GREY).all()
    large = overlay.draw(painted(tmp_path, 400, 1600), [Detection(box=(800, 200, 1200, 300), score=0.5)], [])
    assert large.shape[1] == 2 * overlay.GREATEST + 3 * overlay._GAP
    assert near(large[TOP + 125, LEFT + 400], ACCENT)  # half of 1600


def test_a_narrow_picture_lies_in_the_middle_of_its_panel(tmp_path: Path) -> None:
    image = overlay.draw(painted(tmp_path, 800, 20), [], [])
    middle = LEFT + overlay._NARROWEST // 2
    assert (image[TOP + 400, middle] == GREY).all()
    assert not (image[TOP + 400, LEFT + 10] == GREY).all()


def test_a_class_has_a_bar_as_long_as_its_score(tmp_path: Path) -> None:
    file = painted(tmp_path)
    lengths = []
    for score in (0.25, 0.5, 1.0):
        image = overlay.draw(file, [ranking(score, 0.0)], [])
        line = image[TOP + 400 + 16, LEFT:LEFT + 500]
        lengths.append(int((np.abs(line.astype(int) - ACCENT).max(axis=1) <= 3).sum()))
    assert lengths[1] == pytest.approx(2 * lengths[0], abs=4)
    assert lengths[2] == pytest.approx(4 * lengths[0], abs=8)


def test_scores_that_are_no_probabilities_and_long_or_foreign_labels_are_drawn_too(tmp_path: Path) -> None:
    labels = ("ein äußerst langer Name für eine Klasse", "日本")
    entry = Classification(ranking=(0, 1), labels=labels, scores=(20.5, -3.0))
    image = overlay.draw(painted(tmp_path), [entry], [entry])
    assert (image[TOP + 400:] < 100).any()


def test_a_tag_stays_within_the_picture(tmp_path: Path) -> None:
    corner = Detection(box=(490, 0, 500, 8), score=0.5)
    image = overlay.draw(painted(tmp_path), [corner], [])
    inside = image[TOP:TOP + 400, LEFT:LEFT + 500]
    assert near(inside[3, 460], ACCENT)


def test_it_is_written_beside_the_artifact(tmp_path: Path) -> None:
    file = overlay.save(tmp_path, painted(tmp_path), [], [])
    assert file.name == "a.png.overlay.png"
    assert cv2.imread(str(file)).shape == overlay.draw(tmp_path / "a.png", [], []).shape


def test_a_folder_that_cannot_be_written_and_a_picture_that_cannot_be_read_are_errors(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"a\.png\.overlay\.png cannot be written"):
        overlay.save(tmp_path / "none", painted(tmp_path), [], [])
    with pytest.raises(RecipeError, match="cannot be read"):
        overlay.draw(tmp_path / "none.png", [], [])


def test_points_are_counted_from_the_first_pixels_centre() -> None:
    assert at((0.5, 1.5)) == (0, 16)
