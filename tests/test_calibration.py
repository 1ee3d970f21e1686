"""Calibration sets: real files in, an .npz out, and what is said of those that are no good."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from modelfarm.calibration import ENOUGH, LEAST, variation, write
from modelfarm.errors import RecipeError
from modelfarm.recipe import CalibrationChoice
from modelfarm.samples import prepare
from tests.cases import choice, entry, picture

LETTERBOX = entry(how=picture(resize="letterbox", scale=1 / 255))


def photograph(folder: Path, name: str, seed: int = 0, size: tuple[int, int] = (24, 40)) -> Path:
    """Write a picture of soft patches: a hash of its name would do, but cuts of it must differ."""
    rough = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    assert cv2.imwrite(str(folder / name), cv2.resize(rough, size[::-1], interpolation=cv2.INTER_LINEAR))
    return folder / name


def photographs(folder: Path, count: int) -> list[Path]:
    return [photograph(folder, f"{index:02}.png", index) for index in range(count)]


def calibrate(folder: Path, pictures: list[Path], arrays: list[Path] | None = None, inputs: Any = (LETTERBOX,),
              **changes: Any) -> tuple[dict[str, np.ndarray], int, list[str]]:
    file = folder / "calibration.npz"
    count, notes = write(inputs, CalibrationChoice(**changes), pictures, arrays or [], file)
    with np.load(file) as archive:
        return {name: archive[name] for name in archive.files}, count, notes


def test_pictures_are_prepared_as_at_inference(tmp_path: Path) -> None:
    pictures = photographs(tmp_path, ENOUGH)
    arrays, count, notes = calibrate(tmp_path, pictures)
    samples = prepare([LETTERBOX], choice(), pictures, [], {})
    assert (count, notes) == (ENOUGH, [])
    assert list(arrays) == [f"{index}/input" for index in range(ENOUGH)]
    for index, sample in enumerate(samples):
        assert np.array_equal(arrays[f"{index}/input"], sample.tensors["input"])


def test_of_a_picture_with_a_region_only_that_part_is_measured(tmp_path: Path) -> None:
    pictures = photographs(tmp_path, LEAST)
    pixels = cv2.imread(str(pictures[0]))
    pixels[:8, :8] = 255
    cv2.imwrite(str(pictures[0]), pixels)
    plain, _, _ = calibrate(tmp_path, pictures)
    region = {pictures[0].name: (8, 8, 40, 24)}
    arrays, count, _ = calibrate(tmp_path, pictures, regions=region, variations=1)
    sample, = prepare([LETTERBOX], replace(choice(), regions=region), pictures[:1], [], {})
    assert count == 2 * LEAST
    assert np.array_equal(arrays["0/input"], sample.tensors["input"])
    assert plain["0/input"].max() == 1 > arrays["0/input"].max(), "the white corner is no part of it"
    with pytest.raises(RecipeError, match=r"shows? one|different inputs") as caught:
        calibrate(tmp_path, pictures, regions={pictures[0].name: (0, 0, 8, 8)})
    assert "00.png shows one value only" in str(caught.value)
    with pytest.raises(RecipeError, match=r"calibration\.regions: there is no picture 'x\.png'"):
        calibrate(tmp_path, pictures, regions={"x.png": (0, 0, 8, 8)})


def test_equal_sets_are_equal_files(tmp_path: Path) -> None:
    pictures = photographs(tmp_path, LEAST)
    calibrate(tmp_path, pictures, variations=2)
    first = (tmp_path / "calibration.npz").read_bytes()
    calibrate(tmp_path, pictures, variations=2)
    assert (tmp_path / "calibration.npz").read_bytes() == first
    calibrate(tmp_path, pictures, variations=2, seed=1)
    assert (tmp_path / "calibration.npz").read_bytes() != first


def test_variations_make_much_of_few_pictures(tmp_path: Path) -> None:
    arrays, count, notes = calibrate(tmp_path, photographs(tmp_path, 3), variations=10)
    assert (count, notes) == (33, [])
    assert len({array.tobytes() for array in arrays.values()}) == 33
    assert all(array.min() >= 0 and array.max() <= 1 for array in arrays.values())


def test_a_variation_is_a_part_of_the_picture_in_other_light() -> None:
    pixels = np.random.default_rng(0).integers(60, 120, (50, 80, 3), np.uint8)
    sizes, lights, sides = set(), [], set()
    for number in range(40):
        changed = variation(0, "a.png", number)(pixels)
        assert changed.dtype == np.uint8
        assert 30 <= changed.shape[0] <= 50 and 48 <= changed.shape[1] <= 80
        sizes.add(changed.shape)
        lights.append(changed.mean() / pixels.mean())
        sides.add(_mirrored(pixels, changed))
    assert len(sizes) > 30
    assert sides == {True, False}
    assert 0.79 <= min(lights) < 0.87 and 1.13 < max(lights) <= 1.21


def _mirrored(pixels: np.ndarray, changed: np.ndarray) -> bool:
    """Say whether a part of a picture, in other light, fits into it better when it is turned round."""
    grey = pixels.mean(axis=2).astype(np.float32)
    fits = [cv2.matchTemplate(grey, np.ascontiguousarray(part.mean(axis=2), np.float32), cv2.TM_CCOEFF_NORMED).max()
            for part in (changed, changed[:, ::-1])]
    assert max(fits) > 0.99 > min(fits)
    return bool(fits[1] > fits[0])


def test_inputs_in_grey_and_in_colour_see_the_same_part(tmp_path: Path) -> None:
    grey = entry("grey", (1, 1, 8, 8), how=picture(color="gray"))
    file = tmp_path / "a.png"
    pixels = np.repeat(np.random.default_rng(1).integers(0, 256, (30, 30, 1), np.uint8), 3, axis=2)
    assert cv2.imwrite(str(file), pixels)
    arrays, _, _ = calibrate(tmp_path, [file], inputs=[entry(how=picture()), grey], variations=LEAST)
    for index in range(LEAST + 1):
        assert np.abs(arrays[f"{index}/input"][:, :1] - arrays[f"{index}/grey"]).max() <= 1


def test_a_picture_of_one_colour_is_left_out_by_name(tmp_path: Path) -> None:
    flat = tmp_path / "wall.png"
    assert cv2.imwrite(str(flat), np.full((9, 16, 3), (10, 200, 30), np.uint8))
    arrays, count, notes = calibrate(tmp_path, [flat, *photographs(tmp_path, ENOUGH)], variations=0)
    assert count == len(arrays) == ENOUGH
    assert notes == ["calibration: wall.png shows one value only: it tells nothing of ranges, and is left out"]


def test_the_same_picture_under_two_names_counts_once(tmp_path: Path) -> None:
    pictures = photographs(tmp_path, ENOUGH)
    copy = tmp_path / "copy.png"
    copy.write_bytes(pictures[1].read_bytes())
    _, count, notes = calibrate(tmp_path, [*pictures, copy])
    assert count == ENOUGH
    assert notes == ["calibration: copy.png is the same as 01.png, and is left out"]


def test_few_inputs_are_warned_of_and_too_few_refused(tmp_path: Path) -> None:
    pictures = photographs(tmp_path, LEAST)
    _, count, notes = calibrate(tmp_path, pictures)
    assert count == LEAST
    assert notes == [f"calibration: {LEAST} inputs are few to measure ranges on: {ENOUGH} or more are better"]
    with pytest.raises(RecipeError, match=f"{LEAST - 1} different inputs, of at least {LEAST}") as caught:
        calibrate(tmp_path, pictures[1:])
    assert "variations: 10" in caught.value.remedy


def test_who_was_left_out_is_told_with_the_refusal(tmp_path: Path) -> None:
    flat = tmp_path / "wall.png"
    assert cv2.imwrite(str(flat), np.zeros((9, 16, 3), np.uint8))
    with pytest.raises(RecipeError, match=r"wall\.png shows one value only"):
        calibrate(tmp_path, [flat])


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n damaged"])
def test_a_picture_that_cannot_be_read_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(content)
    with pytest.raises(RecipeError, match=r"broken\.png is (empty|not a picture)"):
        calibrate(tmp_path, [*photographs(tmp_path, LEAST), broken])


def test_rows_of_arrays_are_calibration_inputs_too(tmp_path: Path) -> None:
    plain = entry("x", (1, 3), layout=None)
    rows = np.arange(3 * (ENOUGH + 2), dtype=np.float32).reshape(-1, 3)
    rows[1], rows[2] = 7, rows[0]
    np.savez(tmp_path / "rows.npz", x=rows)
    arrays, count, notes = calibrate(tmp_path, [], [tmp_path / "rows.npz"], [plain])
    assert count == ENOUGH
    assert arrays["0/x"].tolist() == [[0, 1, 2]] and arrays["1/x"].tolist() == [[9, 10, 11]]
    assert notes == ["calibration: rows.npz#1 shows one value only: it tells nothing of ranges, and is left out",
                     "calibration: rows.npz#2 is the same as rows.npz#0, and is left out"]


def test_rows_that_do_not_fill_a_batch_are_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=np.arange(99, dtype=np.float32).reshape(-1, 3))
    arrays, count, _ = calibrate(tmp_path, [], [tmp_path / "rows.npz"], [entry("x", (4, 3), layout=None)])
    assert (count, arrays["0/x"].shape) == (8, (4, 3))


def test_an_array_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=np.zeros((20, 4), np.float32))
    with pytest.raises(RecipeError, match=r"rows\.npz: array 'x' has shape \[20, 4\]"):
        calibrate(tmp_path, [], [tmp_path / "rows.npz"], [entry("x", (1, 3), layout=None)])
