from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from modelfarm.report.terminal import as_text, row


def painted(folder: Path, values: list[list[int]], name: str = "a.png") -> Path:
    assert cv2.imwrite(str(folder / name), np.array(values, np.uint8))
    return folder / name


def test_two_pixels_share_a_character(tmp_path: Path) -> None:
    file = painted(tmp_path, [[0, 255, 0, 255], [0, 0, 255, 255], [200, 0, 0, 0], [0, 90, 0, 0]])
    assert as_text(file, 4) == [" ▀▄█", "▀   "]


def test_a_picture_is_enlarged_or_reduced_to_the_width(tmp_path: Path) -> None:
    assert as_text(painted(tmp_path, [[0, 255], [0, 255]]), 4) == ["  ██", "  ██"]
    large = np.zeros((40, 80), int)
    large[:, 40:] = 255
    assert as_text(painted(tmp_path, large.tolist()), 8) == ["    ████"] * 2
    assert as_text(painted(tmp_path, [[0] * 50 + [255] * 50]), 4) == ["  ██"]


def test_greys_use_the_terminals_ramp(tmp_path: Path) -> None:
    line, = as_text(painted(tmp_path, [[0, 255], [255, 0]]), 2, color=True)
    assert line == "\x1b[38;5;232;48;5;255m▀\x1b[38;5;255;48;5;232m▀\x1b[0m"


def test_pictures_stand_in_a_row_over_their_captions(tmp_path: Path) -> None:
    tall = painted(tmp_path, [[0, 255, 0, 255]] * 4)
    flat = painted(tmp_path, [[255, 0, 0, 0]] * 2, "b.png")
    assert row([tall, flat], ["3", "seven"], 4) == [" █ █  █   ", " █ █      ", " 3    seve"]
    assert row([], [], 4) == [""]
