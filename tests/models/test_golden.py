"""The networks with their trained weights find what independent code found, decoded here in plain numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

Infer = Callable[[str, str, str, np.ndarray], list[np.ndarray]]
MODELS = Path(__file__).parents[2] / "models"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_yolov5_face_finds_the_golden_faces(infer: Infer, data: Path, golden: dict[str, Any]) -> None:
    faces = golden["yolov5n-0.5-face"]["images"]
    tensors, places = [], []
    for name in faces:
        picture = cv2.imread(str(data / "images" / name))[..., ::-1]
        resized, ratio = fit(picture, 640)
        high, wide = resized.shape[:2]
        left, top = (640 - wide) // 2, (640 - high) // 2
        canvas = np.full((640, 640, 3), 114, np.uint8)
        canvas[top : top + high, left : left + wide] = resized
        tensors.append(planes(canvas / 255))
        places.append(((left, top), ratio))
    [output] = infer("yolov5_face", "yolov5n_05_face", "yolov5n-0.5-face.state_dict.pt", np.concatenate(tensors))
    for rows, (corner, ratio), wanted in zip(output.astype(float), places, faces.values(), strict=True):
        centre, half = rows[:, :2], rows[:, 2:4] / 2
        points = np.hstack((centre - half, centre + half, rows[:, 5:15])).reshape(-1, 7, 2)
        compare(keep((points - corner) / ratio, rows[:, 4] * rows[:, 15], 0.3, 0.5), wanted)


def test_slim_finds_the_golden_faces(infer: Infer, data: Path, golden: dict[str, Any]) -> None:
    faces = golden["slim-face-landmark"]["images"]
    tensors, ratios = [], []
    for name in faces:
        resized, ratio = fit(cv2.imread(str(data / "images" / name)), 640)
        canvas = np.zeros((640, 640, 3))
        canvas[: resized.shape[0], : resized.shape[1]] = resized - np.array((104.0, 117.0, 123.0))
        tensors.append(planes(canvas))
        ratios.append(ratio)
    outputs = infer("slim_face_landmark", "slim_face_landmark", "slim-face-landmark.pth", np.concatenate(tensors))
    place = priors(640)
    for loc, conf, landms, ratio, wanted in zip(*outputs, ratios, faces.values(), strict=True):
        centre = place[:, :2] + loc[:, :2] * 0.1 * place[:, 2:]
        half = np.exp(loc[:, 2:] * 0.2) * place[:, 2:] / 2
        marks = place[:, None, :2] + landms.reshape(-1, 5, 2) * 0.1 * place[:, None, 2:]
        points = np.concatenate((np.stack((centre - half, centre + half), 1), marks), 1)
        compare(keep(points / ratio, conf[:, 1], 0.6, 0.4), wanted)


def test_ultraface_finds_the_golden_faces(infer: Infer, data: Path, golden: dict[str, Any]) -> None:
    faces = golden["ultraface-slim-320"]["images"]
    pictures = [cv2.imread(str(data / "images" / name))[..., ::-1] for name in faces]
    tensor = np.concatenate([planes((cv2.resize(picture, (320, 240)) - 127.0) / 128) for picture in pictures])
    outputs = infer("ultraface", "ultraface_slim", "ultraface-slim-320.pth", tensor)
    for scores, boxes, picture, wanted in zip(*outputs, pictures, faces.values(), strict=True):
        points = boxes.reshape(-1, 2, 2) * picture.shape[1::-1]
        compare(keep(points, scores[:, 1], 0.7, 0.5), wanted)


@pytest.mark.parametrize("depth", [20, 56])
def test_resnets_for_cifar_see_a_cat(infer: Infer, data: Path, golden: dict[str, Any], depth: int) -> None:
    picture = cv2.imread(str(data / "images" / "chelsea.png"))[..., ::-1]
    height, width = picture.shape[:2]
    left = (width - height) // 2
    small = cv2.resize(picture[:, left : left + height], (32, 32), interpolation=cv2.INTER_AREA)
    tensor = planes((small / 255 - IMAGENET_MEAN) / IMAGENET_STD)
    logits = infer("resnet", f"resnet{depth}_cifar10", f"resnet{depth}-cifar10.th", tensor)[0]
    labels = (MODELS / f"resnet{depth}-cifar10" / "labels.txt").read_text().split()
    assert labels[int(logits.argmax())] == golden[f"resnet{depth}-cifar10"]["images"]["chelsea.png"]["top1"]


def fit(picture: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """Resize so that the longer side is `side`; return also the ratio."""
    height, width = picture.shape[:2]
    ratio = side / max(height, width)
    return cv2.resize(picture, (round(width * ratio), round(height * ratio))), ratio


def priors(side: int) -> np.ndarray:
    """Return the prior squares of slim on a square input as centre x and y and side, in pixels."""
    squares = ((8, (10, 16, 24)), (16, (32, 48)), (32, (64, 96)), (64, (128, 192, 256)))
    return np.array([((x + 0.5) * stride, (y + 0.5) * stride, square)
                     for stride, sizes in squares for y in range(side // stride) for x in range(side // stride)
                     for square in sizes])


def planes(picture: np.ndarray) -> np.ndarray:
    """Return (height, width, channels) as (1, channels, height, width)."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)


def keep(points: np.ndarray, scores: np.ndarray, confidence: float, limit: float) -> list[tuple[float, np.ndarray]]:
    """Suppress what overlaps a better one; points are (rows, corners and landmarks, 2)."""
    kept: list[tuple[float, np.ndarray]] = []
    for row in np.argsort(-scores):
        if scores[row] > confidence and all(overlap(points[row], other) <= limit for _, other in kept):
            kept.append((float(scores[row]), points[row]))
    return kept


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the intersection over union of two boxes, each in the first two points."""
    shared = np.prod(np.clip(np.minimum(a[1], b[1]) - np.maximum(a[0], b[0]), 0, None))
    return float(shared / (np.prod(a[1] - a[0]) + np.prod(b[1] - b[0]) - shared))


def compare(found: list[tuple[float, np.ndarray]], expected: list[dict[str, Any]]) -> None:
    """Require the same faces: score within 0.01, every point within a pixel."""
    assert len(found) == len(expected)
    for (score, points), face in zip(found, expected, strict=True):
        assert score == pytest.approx(face["score"], abs=0.01)
        wanted = np.vstack((np.reshape(face["box"], (2, 2)), np.reshape(face.get("lm", []), (-1, 2))))
        np.testing.assert_allclose(points, wanted, atol=1)
