"""Ink: colours, text and smooth shapes for drawings, all in BGR."""

from __future__ import annotations

from functools import lru_cache

import cv2

from modelfarm.pictures import Pixels

Color = tuple[int, int, int]

PAPER: Color = (248, 249, 250)
DARK: Color = (59, 47, 40)
LIGHT: Color = (255, 255, 255)
MUTED: Color = (136, 126, 118)
RULE: Color = (224, 218, 212)
ACCENT: Color = (138, 148, 24)  # teal
# Eyes, nose, corners of the mouth: told apart, so that swapped landmarks are seen.
POINTS: tuple[Color, ...] = ((230, 159, 86), (66, 196, 240), (115, 209, 143), (167, 121, 204), (80, 94, 213))

_SHIFT = 4  # bits of a pixel's fraction in OpenCV's drawing functions


@lru_cache(maxsize=1)
def _font() -> cv2.FontFace:
    return cv2.FontFace("sans")  # comes with OpenCV 5, and knows more than ASCII


def text(image: Pixels, words: str, corner: tuple[int, int], color: Color, *, size: int, weight: int = 400) -> None:
    """Write words, their baseline starting at `corner`; `size` in pixels, `weight` 400 regular, 600 semibold."""
    cv2.putText(image, words, corner, color, _font(), size, weight)


def text_width(words: str, *, size: int, weight: int = 400) -> int:
    """Return how many pixels wide the words are."""
    return int(cv2.getTextSize((0, 0), words, (0, 0), _font(), size, weight)[2])


def frame(image: Pixels, first: tuple[float, float], second: tuple[float, float], color: Color) -> None:
    """Draw a rectangle's outline at fractions of pixels."""
    cv2.rectangle(image, at(first), at(second), color, 2, cv2.LINE_AA, _SHIFT)


def disc(image: Pixels, centre: tuple[float, float], color: Color) -> None:
    """Draw a small filled circle with a light rim at a fraction of a pixel."""
    cv2.circle(image, at(centre), round(4.2 * 2**_SHIFT), LIGHT, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    cv2.circle(image, at(centre), round(3 * 2**_SHIFT), color, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def dot(image: Pixels, centre: tuple[float, float], color: Color) -> None:
    """Draw a point of a mesh, small enough that hundreds of them leave the picture to be seen."""
    cv2.circle(image, at(centre), 2**_SHIFT, color, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def at(point: tuple[float, float]) -> tuple[int, int]:
    """Return a point, in pixels from the picture's corner, as OpenCV counts: from the first pixel's centre."""
    return round((point[0] - 0.5) * 2**_SHIFT), round((point[1] - 0.5) * 2**_SHIFT)
