"""Preprocessing: every way a picture becomes a tensor, and that every placement leads back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from modelfarm.errors import RecipeError
from modelfarm.pictures import Pixels, fit, normalise, part, read, size_of
from tests.cases import entry, picture

SIZES = [(480, 640), (300, 451), (131, 77), (240, 700)]
RESIZES: list[dict[str, Any]] = [
    {"resize": "letterbox"}, {"resize": "letterbox", "anchor": "top-left"}, {"resize": "stretch"}, {"resize": "crop"},
    {"resize": "short", "short": 300}]


def dot(height: int, width: int, x: float, y: float) -> Pixels:
    """Draw a soft dot whose centre of mass is at x, y (pixel i covers i to i + 1)."""
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    spread = min(height, width) / 16
    values = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread**2))
    return np.repeat(values[..., None], 3, axis=2).round().astype(np.uint8)


def centre_of_mass(pixels: Pixels) -> tuple[float, float]:
    values = pixels[..., 0].astype(float)
    rows, columns = np.mgrid[0:values.shape[0], 0:values.shape[1]] + 0.5
    return float((columns * values).sum() / values.sum()), float((rows * values).sum() / values.sum())


def test_a_region_is_cut_out_of_a_picture() -> None:
    pixels = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    assert np.array_equal(part(pixels, (2, 1, 7, 5), "a.png"), pixels[1:5, 2:7])
    assert np.array_equal(part(pixels, (0, 0, 8, 6), "a.png"), pixels)


@pytest.mark.parametrize("region", [
    (2, 1, 9, 5), (2, 1, 7, 7), (7, 1, 2, 5), (2, 5, 7, 1), (2, 1, 2, 5), (-1, 0, 4, 4)])
def test_a_region_that_is_no_part_of_the_picture_is_refused(region: tuple[int, int, int, int]) -> None:
    with pytest.raises(RecipeError, match=r"a.png: \[.*\] is no part of a picture of 8x6 pixels"):
        part(np.zeros((6, 8, 3), np.uint8), region, "a.png")


@pytest.mark.parametrize("how", RESIZES, ids=lambda how: "-".join(map(str, how.values())))
def test_a_point_of_a_region_is_found_again_in_the_whole_picture(how: dict[str, Any]) -> None:
    left, top, right, bottom = 100, 40, 420, 360
    pixels = dot(400, 600, 250, 210)
    entry_ = entry(shape=(1, 3, 64, 64), how=picture(**{**how, **({"short": 80} if "short" in how else {})}))
    assert entry_.picture is not None
    fitted, placement = fit(part(pixels, (left, top, right, bottom), "a.png"), (64, 64), entry_.picture)
    whole = placement.inside(600, 400, left, top)
    assert (whole.width, whole.height) == (600, 400)
    weights = fitted[..., :1].astype(float) - (114 if how.get("resize") == "letterbox" and fitted.min() == 114 else 0)
    found = whole.to_picture(np.array(centre_of_mass(np.maximum(weights, 0))))
    assert found == pytest.approx([250, 210], abs=2.5)


@pytest.mark.parametrize("how", RESIZES, ids=lambda how: "-".join(map(str, how.values())))
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_point_of_the_picture_is_found_again(size: tuple[int, int], how: dict[str, Any]) -> None:
    height, width = size
    x, y = width * 0.52, height * 0.47
    fitted, placement = fit(dot(height, width, x, y), (224, 288), picture(pad=(0.0,), interpolation="area", **how))
    assert fitted.shape == (224, 288, 3)
    back = placement.to_picture(np.array(centre_of_mass(fitted)))
    assert back == pytest.approx([x, y], abs=0.5)
    assert (placement.width, placement.height) == (width, height)
    assert (placement.input_width, placement.input_height) == (288, 224)


def test_a_centred_letterbox_has_its_odd_border_right_and_below() -> None:
    fitted, placement = fit(np.full((3, 10, 3), 200, np.uint8), (10, 10), picture(resize="letterbox"))
    assert (fitted[3:6] == 200).all()
    assert (fitted[:3] == 114).all() and (fitted[6:] == 114).all()
    assert (placement.offset_x, placement.offset_y) == (0, 3)


def test_a_letterbox_at_the_top_left_has_its_border_in_the_tensors_colour_order() -> None:
    fitted, placement = fit(np.zeros((5, 10, 3), np.uint8), (10, 10),
                            picture(resize="letterbox", anchor="top-left", pad=(1.0, 2.0, 3.0)))
    assert fitted[9, 9].tolist() == [1, 2, 3]
    assert not fitted[:5].any()
    assert (placement.offset_x, placement.offset_y) == (0, 0)


def test_a_line_stays_a_line_in_a_letterbox() -> None:
    fitted, _ = fit(np.full((1, 4000, 3), 9, np.uint8), (64, 64), picture(resize="letterbox"))
    assert (fitted == 9).any()


def test_a_crop_is_the_largest_centred_part_of_the_inputs_proportions() -> None:
    pixels = np.zeros((10, 40, 3), np.uint8)
    pixels[:, 10:30] = 50  # the middle 20 columns: 2:1 like the input
    fitted, placement = fit(pixels, (20, 40), picture(resize="crop", interpolation="nearest"))
    assert (fitted == 50).all()
    assert (placement.scale_x, placement.offset_x, placement.offset_y) == (2, -20, 0)


def test_the_short_side_is_resized_and_the_centre_cropped() -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[5:15, 15:25] = 70
    fitted, placement = fit(pixels, (20, 20), picture(resize="short", short=40, interpolation="nearest"))
    assert (fitted == 70).all()
    assert (placement.scale_x, placement.offset_x, placement.offset_y) == (2, -30, -10)


def test_a_short_side_under_the_inputs_is_refused() -> None:
    with pytest.raises(RecipeError, match="60x30: too small to crop 32x32"):
        fit(np.zeros((100, 200, 3), np.uint8), (32, 32), picture(resize="short", short=30))


@pytest.mark.parametrize(("name", "expected"), [("nearest", 200), ("linear", 0), ("area", 22)])
def test_interpolations_differ_as_they_should(name: str, expected: int) -> None:
    pixels = np.zeros((3, 3, 3), np.uint8)
    pixels[0, 0] = 200  # one of nine: nearest takes just this one, linear the middle, area the mean
    reduced, _ = fit(pixels, (1, 1), picture(interpolation=name))
    assert int(reduced[0, 0, 0]) == expected


def test_values_are_scaled_then_shifted_then_divided_per_channel() -> None:
    pixels = np.array([[[10, 20, 30], [255, 0, 1]]], np.uint8)
    how = picture(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    tensor = normalise(pixels, entry(shape=(1, 3, 1, 2), how=how))
    assert tensor.shape == (3, 1, 2)
    assert tensor.dtype == np.float32
    for channel, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        for column in range(2):
            expected = (int(pixels[0, column, channel]) / 255 - mean) / std
            assert tensor[channel, 0, column] == pytest.approx(expected, rel=1e-6)


def test_channels_last_stay_last() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    tensor = normalise(pixels, entry(shape=(1, 2, 2, 3), layout="NHWC", how=picture()))
    assert tensor.tolist() == pixels.tolist()


def test_a_picture_can_be_divided_by_its_own_maximum_and_black_stays_black() -> None:
    how = picture(scale=None, color="gray")
    pixels = np.array([[[50], [100]]], np.uint8)
    assert normalise(pixels, entry(shape=(1, 1, 1, 2), how=how)).tolist() == [[[0.5, 1.0]]]
    assert not normalise(np.zeros((2, 2, 1), np.uint8), entry(shape=(1, 1, 2, 2), how=how)).any()


def test_integer_inputs_get_raw_pixels_rounded_and_kept_in_range() -> None:
    pixels = np.array([[[0], [3], [255]]], np.uint8)
    raw = normalise(pixels, entry(shape=(1, 1, 1, 3), dtype="uint8", how=picture(color="gray")))
    assert (raw.dtype, raw.tolist()) == (np.uint8, [[[0, 3, 255]]])
    signed = normalise(pixels, entry(shape=(1, 1, 1, 3), dtype="int8", how=picture(color="gray", mean=(128.0,))))
    assert (signed.dtype, signed.tolist()) == (np.int8, [[[-128, -125, 127]]])
    halved = normalise(pixels, entry(shape=(1, 1, 1, 3), dtype="uint8", how=picture(color="gray", scale=2.0)))
    assert halved.tolist() == [[[0, 6, 255]]]


def write(file: Path, pixels: Any) -> Path:
    assert cv2.imwrite(str(file), pixels)
    return file


def test_colours_come_in_the_order_asked_for(tmp_path: Path) -> None:
    file = write(tmp_path / "a.png", np.full((2, 2, 3), (1, 2, 3), np.uint8))  # OpenCV writes blue, green, red
    assert read(file, "bgr")[0, 0].tolist() == [1, 2, 3]
    assert read(file, "rgb")[0, 0].tolist() == [3, 2, 1]
    # 0.299 red + 0.587 green + 0.114 blue
    assert read(file, "gray").tolist() == [[[2], [2]], [[2], [2]]]


def test_grey_pictures_fill_three_channels_and_stay_what_they_are_as_one(tmp_path: Path) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    file = write(tmp_path / "a.png", values)
    assert (read(file, "rgb") == values[..., None]).all()
    assert (read(file, "gray")[..., 0] == values).all()


def test_transparency_is_dropped_and_sixteen_bits_become_eight(tmp_path: Path) -> None:
    clear = write(tmp_path / "a.png", np.full((2, 2, 4), (10, 20, 30, 0), np.uint8))
    assert read(clear, "bgr")[0, 0].tolist() == [10, 20, 30]
    deep = write(tmp_path / "b.png", np.full((2, 2, 3), 0x8000, np.uint16))
    assert read(deep, "bgr")[0, 0].tolist() == [128, 128, 128]


@pytest.mark.parametrize(("content", "message"), [(b"", "is empty"), (b"no picture", "is not a picture"),
                                                  (b"\x89PNG\r\n\x1a\n1234", "is not a picture")])
def test_files_that_are_no_pictures_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(RecipeError, match=f"broken.png {message}"):
        read(tmp_path / "broken.png", "rgb")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.png: cannot be read as a picture"):
        read(tmp_path / "none.png", "rgb")


def test_height_and_width_of_both_layouts() -> None:
    assert size_of((1, 3, 20, 30), "NCHW") == size_of((1, 20, 30, 3), "NHWC") == (20, 30)
