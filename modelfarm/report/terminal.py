"""Pictures in a terminal: two pixels a character, as Unicode half blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from modelfarm.pictures import Pixels, read

_BLOCKS = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}
_GREYS = 24  # of the terminal's 256 colours, from 232 on


def as_text(picture: Path, width: int, *, color: bool = False) -> list[str]:
    """Return a picture in shades of grey as lines of `width` characters.

    With `color` each half block has its own grey (escape codes of 256-colour terminals); without,
    the brighter half of the range is ink.
    """
    pixels = read(picture, "gray")[..., 0]
    height = max(2 * round(pixels.shape[0] * width / pixels.shape[1] / 2), 2)
    enlarging = width > pixels.shape[1]
    shown = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_NEAREST if enlarging else cv2.INTER_AREA)
    grey = np.asarray(shown, np.uint8)
    return [_colored(*rows) if color else _plain(*rows, int(grey.min()), int(grey.max()))
            for rows in zip(grey[0::2], grey[1::2], strict=True)]


def row(pictures: Sequence[Path], captions: Sequence[str], width: int, *, color: bool = False) -> list[str]:
    """Return pictures beside each other, a centred caption below each."""
    blocks = [as_text(picture, width, color=color) for picture in pictures]
    height = max(map(len, blocks), default=0)
    padded = [block + [" " * width] * (height - len(block)) for block in blocks]
    lines = ["  ".join(parts) for parts in zip(*padded, strict=True)]
    return [*lines, "  ".join(caption[:width].center(width) for caption in captions)]


def _plain(upper: Pixels, lower: Pixels, darkest: int, brightest: int) -> str:
    middle = (darkest + brightest) / 2
    return "".join(_BLOCKS[bool(top > middle), bool(bottom > middle)] for top, bottom in zip(upper, lower, strict=True))


def _colored(upper: Pixels, lower: Pixels) -> str:
    return "".join(f"\x1b[38;5;{_grey(top)};48;5;{_grey(bottom)}m▀"
                   for top, bottom in zip(upper.tolist(), lower.tolist(), strict=True)) + "\x1b[0m"


def _grey(value: int) -> int:
    return 232 + value * (_GREYS - 1) // 255
