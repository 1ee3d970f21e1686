"""Overlays: what source and artifact found on a picture, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from modelfarm.decoders.prediction import Classification, Detection, Prediction
from modelfarm.errors import MachineError
from modelfarm.pictures import Pixels, read
from modelfarm.report.ink import (
    ACCENT,
    DARK,
    LIGHT,
    MUTED,
    PAPER,
    POINTS,
    RULE,
    disc,
    dot,
    frame,
    text,
    text_width,
)

LEAST, GREATEST = 320, 800  # pixels of a panel's longer side
_GAP, _HEADER, _LINE = 12, 40, 26
_NARROWEST = 300  # a panel's width, so that its title fits
_MESH = 20  # with more landmarks than these they are a mesh: small points of one colour


def draw(picture: Path, reference: Sequence[Prediction], artifact: Sequence[Prediction],
         titles: tuple[str, str] = ("reference", "artifact")) -> Pixels:
    """Draw predictions over a picture, the reference's left, the artifact's right; BGR.

    Small pictures are enlarged so that every pixel is a square, large ones reduced.
    """
    pixels = read(picture, "bgr")
    return _beside([_panel(pixels, predictions, title)
                    for predictions, title in zip((reference, artifact), titles, strict=True)])


def _beside(panels: Sequence[Pixels]) -> Pixels:
    height = max(panel.shape[0] for panel in panels)
    sheet = _paper(height + 2 * _GAP, sum(panel.shape[1] for panel in panels) + 3 * _GAP)
    left = _GAP
    for panel in panels:
        sheet[_GAP:_GAP + panel.shape[0], left:left + panel.shape[1]] = panel
        left += panel.shape[1] + _GAP
    return sheet


def save(folder: Path, picture: Path, reference: Sequence[Prediction], artifact: Sequence[Prediction],
         titles: tuple[str, str] = ("reference", "artifact")) -> Path:
    """Write `<picture>.overlay.png` into a folder; raises MachineError where that is not possible."""
    return _save(folder / f"{picture.name}.overlay.png", draw(picture, reference, artifact, titles))


def save_alone(file: Path, picture: Path, predictions: Sequence[Prediction], title: str) -> Path:
    """Write a picture with one artifact's predictions; raises MachineError where that is not possible."""
    return _save(file, _beside([_panel(read(picture, "bgr"), predictions, title)]))


def _save(file: Path, pixels: Pixels) -> Path:
    _, encoded = cv2.imencode(".png", pixels)
    try:
        file.write_bytes(encoded.tobytes())
    except OSError as error:
        raise MachineError(f"{file} cannot be written: {error.strerror}") from error
    return file


def _panel(pixels: Pixels, predictions: Sequence[Prediction], title: str) -> Pixels:
    shown, scale = _sized(pixels)
    for entry in reversed(predictions):  # the best last, on top
        if isinstance(entry, Detection):
            _draw_detection(shown, entry, scale)
    classes = [entry for entry in predictions if isinstance(entry, Classification)]
    lines = sum(len(entry.labels) for entry in classes) or 1
    height, width = shown.shape[:2]
    panel = _paper(_HEADER + height + _LINE * lines + _GAP, max(width, _NARROWEST))
    panel[:_HEADER] = DARK
    text(panel, title, (12, 26), LIGHT, size=17, weight=600)
    panel[_HEADER:_HEADER + height] = RULE
    inset = (panel.shape[1] - width) // 2
    panel[_HEADER:_HEADER + height, inset:inset + width] = shown
    _caption(panel[_HEADER + height:], classes, len(predictions))
    return panel


def _sized(pixels: Pixels) -> tuple[Pixels, float]:
    longest = max(pixels.shape[:2])
    if longest < LEAST:
        scale: float = -(-LEAST // longest)
        shown: NDArray[Any] = np.kron(pixels, np.ones((int(scale), int(scale), 1), np.uint8))
    else:
        scale = min(GREATEST / longest, 1.0)
        size = [max(round(side * scale), 1) for side in pixels.shape[1::-1]]
        shown = cv2.resize(pixels, (size[0], size[1]), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(shown, np.uint8), scale


def _draw_detection(image: Pixels, entry: Detection, scale: float) -> None:
    x1, y1, x2, y2 = (value * scale for value in entry.box)
    frame(image, (x1, y1), (x2, y2), ACCENT)
    mesh = len(entry.landmarks) > _MESH
    for index, (x, y) in enumerate(entry.landmarks):
        place = (x * scale, y * scale)
        dot(image, place, POINTS[1]) if mesh else disc(image, place, POINTS[index % len(POINTS)])
    _tag(image, f"{entry.score:.3f}", round(x1), round(y1))


def _tag(image: Pixels, label: str, left: int, bottom: int) -> None:
    """Write a label on a filled tab above a box, or inside it where the picture ends."""
    width, height = text_width(label, size=14, weight=600) + 12, 21
    left = int(np.clip(left - 1, 0, max(image.shape[1] - width, 0)))
    top = bottom - height if bottom >= height else bottom
    cv2.rectangle(image, (left, top), (left + width, top + height), ACCENT, cv2.FILLED)
    text(image, label, (left + 6, top + 16), LIGHT, size=14, weight=600)


def _caption(area: Pixels, classes: Sequence[Classification], count: int) -> None:
    if not classes:
        found = f"{count} found" if count else "nothing found"
        text(area, found, (4, _LINE), MUTED if not count else DARK, size=15)
    for entry in classes:
        _draw_ranking(area, entry)


def _draw_ranking(area: Pixels, entry: Classification) -> None:
    """Write one line a class: its label, a bar as long as its score, the score."""
    wide, left = area.shape[1], 0
    names = [_shortened(label) for label in entry.labels]
    left = 16 + max(text_width(name, size=15, weight=600) for name in names)
    probable = all(0 <= score <= 1.0001 for score in entry.scores)
    longest = 1.0 if probable else max(map(abs, entry.scores)) or 1.0
    for row, (name, score) in enumerate(zip(names, entry.scores, strict=True)):
        base = _LINE * row + _LINE - 4
        text(area, name, (4, base), DARK, size=15, weight=600 if row == 0 else 400)
        right = left + max(round((wide - left - 76) * min(max(score / longest, 0.0), 1.0)), 1)
        cv2.rectangle(area, (left, base - 11), (right, base - 1), ACCENT if row == 0 else RULE, cv2.FILLED)
        figure = f"{score:.1%}" if probable else f"{score:.3g}"
        text(area, figure, (wide - text_width(figure, size=14) - 4, base), DARK if row == 0 else MUTED, size=14)


def _shortened(label: str, longest: int = 22) -> str:
    return label if len(label) <= longest else label[:longest - 1] + "…"


def _paper(height: int, width: int) -> NDArray[Any]:
    return np.full((height, width, 3), PAPER, np.uint8)


