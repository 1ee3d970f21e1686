"""Contact sheets: several pictures of one size, reduced and beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from modelfarm.pictures import read


def save_sheet(file: Path, pictures: Sequence[Path], *, columns: int, scale: float) -> None:
    """Write the pictures in rows of `columns`, each reduced by `scale`; the last row may be shorter."""
    tiles = [cv2.resize(read(picture, "bgr"), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
             for picture in pictures]
    paper = tiles[0][:1, :1]  # an overlay's corner has the colour of its paper
    tiles += [np.broadcast_to(paper, tiles[0].shape)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start:start + columns]) for start in range(0, len(tiles), columns)]
    _, encoded = cv2.imencode(".png", np.vstack(rows))
    file.write_bytes(encoded.tobytes())
