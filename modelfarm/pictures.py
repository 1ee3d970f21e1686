"""Pictures: from a file to an input tensor, as the model's training prepared them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from modelfarm.decoders.prediction import Placement
from modelfarm.errors import RecipeError
from modelfarm.recipe import Input, Picture, Region

Pixels = NDArray[np.uint8]  # (height, width, channels)

_INTERPOLATIONS = {"nearest": cv2.INTER_NEAREST, "linear": cv2.INTER_LINEAR,
                   "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}
_COLORS = {"rgb": cv2.COLOR_BGR2RGB, "gray": cv2.COLOR_BGR2GRAY}


def size_of(shape: tuple[int, ...], layout: str | None) -> tuple[int, int]:
    """Return (height, width) of a picture tensor's shape."""
    return (shape[1], shape[2]) if layout == "NHWC" else (shape[2], shape[3])


def read(file: Path, color: str) -> Pixels:
    """Read a picture as (height, width, channels) in a colour order: rgb, bgr or gray.

    Transparency is dropped, 16-bit values become 8-bit, and a camera's orientation is applied.
    Raises RecipeError where the file is no picture.
    """
    try:
        content = np.frombuffer(file.read_bytes(), np.uint8)
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    except (OSError, cv2.error) as error:
        raise RecipeError(f"{file}: cannot be read as a picture: {error}") from error
    if picture is None:
        what = "is empty" if not content.size else "is not a picture that OpenCV can read, or it is damaged"
        raise RecipeError(f"{file} {what}", remedy="samples.pictures takes PNG, JPEG, BMP, WebP or TIFF files")
    if color in _COLORS:
        picture = cv2.cvtColor(picture, _COLORS[color])
    return np.asarray(picture, np.uint8).reshape(*picture.shape[:2], -1)


def fit(pixels: Pixels, size: tuple[int, int], how: Picture) -> tuple[Pixels, Placement]:
    """Bring a picture to (height, width) in the recipe's way; returns it and where it came to lie."""
    return {"letterbox": _letterbox, "stretch": _stretch, "crop": _crop, "short": _short}[how.resize](pixels, size, how)


def part(pixels: Pixels, region: Region, name: str) -> Pixels:
    """Cut the region out of a picture; raises RecipeError where it is none, or reaches beyond the picture."""
    (left, top, right, bottom), (height, width) = region, pixels.shape[:2]
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise RecipeError(f"regions: {name}: {list(region)} is no part of a picture of {width}x{height} pixels",
                          remedy="a region is x1, y1, x2, y2 in pixels: the top left corner, then the bottom right one")
    return pixels[top:bottom, left:right]


def normalise(pixels: Pixels, entry: Input) -> NDArray[Any]:
    """Compute (pixel * scale - mean) / std in the input's dtype and layout, without the batch axis.

    A scale of None divides by the greatest value of the resized picture, its border included.
    Integer dtypes are rounded and kept within their range; computed in float64, so rounded once.
    """
    how = entry.picture
    assert how is not None  # the caller chose an input that takes pictures
    scale = how.scale if how.scale is not None else 1 / max(int(pixels.max()), 1)
    channels = pixels.shape[2]
    mean, std = (np.resize(np.array(values), channels) for values in (how.mean, how.std))
    # A byte has 256 values: one look-up per pixel instead of three operations.
    table = _cast((np.arange(256)[:, None] * scale - mean) / std, entry.dtype)
    planes = [table[pixels[..., channel], channel] for channel in range(channels)]
    return np.stack(planes, axis=2 if entry.layout == "NHWC" else 0)


def _cast(values: NDArray[np.float64], dtype: str) -> NDArray[Any]:
    if not np.issubdtype(np.dtype(dtype), np.integer):
        return values.astype(dtype)
    bounds = np.iinfo(dtype)
    return np.clip(np.rint(values), bounds.min, bounds.max).astype(dtype)


def _resize(pixels: Pixels, height: int, width: int, how: Picture) -> Pixels:
    if pixels.shape[:2] == (height, width):
        return pixels
    resized = cv2.resize(pixels, (width, height), interpolation=_INTERPOLATIONS[how.interpolation])
    return np.asarray(resized, np.uint8).reshape(height, width, -1)


def _placement(pixels: Pixels, size: tuple[int, int], scale: tuple[float, float],
               offset: tuple[float, float]) -> Placement:
    return Placement(width=pixels.shape[1], height=pixels.shape[0], input_width=size[1], input_height=size[0],
                     scale_x=scale[0], scale_y=scale[1], offset_x=offset[0], offset_y=offset[1])


def _letterbox(pixels: Pixels, size: tuple[int, int], how: Picture) -> tuple[Pixels, Placement]:
    (height, width), (tall, wide) = pixels.shape[:2], size
    ratio = min(tall / height, wide / width)
    inner_height, inner_width = max(round(height * ratio), 1), max(round(width * ratio), 1)
    top, left = 0, 0
    if how.anchor == "centre":
        # An odd border has its greater half right and below, as in YOLOv5's letterbox.
        top, left = round((tall - inner_height) / 2 - 0.1), round((wide - inner_width) / 2 - 0.1)
    canvas = np.empty((tall, wide, pixels.shape[2]), np.uint8)
    canvas[:] = _cast(np.array(how.pad), "uint8")
    canvas[top:top + inner_height, left:left + inner_width] = _resize(pixels, inner_height, inner_width, how)
    return canvas, _placement(pixels, size, (inner_width / width, inner_height / height), (left, top))


def _stretch(pixels: Pixels, size: tuple[int, int], how: Picture) -> tuple[Pixels, Placement]:
    scale = size[1] / pixels.shape[1], size[0] / pixels.shape[0]
    return _resize(pixels, *size, how), _placement(pixels, size, scale, (0, 0))


def _crop(pixels: Pixels, size: tuple[int, int], how: Picture) -> tuple[Pixels, Placement]:
    """Cut out the largest centred rectangle of the input's proportions, then resize it."""
    (height, width), (tall, wide) = pixels.shape[:2], size
    ratio = min(height / tall, width / wide)
    inner_height, inner_width = max(round(tall * ratio), 1), max(round(wide * ratio), 1)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    inner = pixels[top:top + inner_height, left:left + inner_width]
    scale = wide / inner_width, tall / inner_height
    return _resize(inner, tall, wide, how), _placement(pixels, size, scale, (-left * scale[0], -top * scale[1]))


def _short(pixels: Pixels, size: tuple[int, int], how: Picture) -> tuple[Pixels, Placement]:
    """Resize the short side to `short` pixels, then crop the centre."""
    (height, width), (tall, wide), short = pixels.shape[:2], size, how.short or min(size)
    inner_height, inner_width = (round(short * side / min(height, width)) for side in (height, width))
    if inner_height < tall or inner_width < wide:
        raise RecipeError(f"a {width}x{height} picture with its short side at {short} is {inner_width}x{inner_height}: "
                          f"too small to crop {wide}x{tall} from", remedy="raise picture.short in the recipe")
    top, left = (inner_height - tall) // 2, (inner_width - wide) // 2
    inner = _resize(pixels, inner_height, inner_width, how)[top:top + tall, left:left + wide]
    return inner, _placement(pixels, size, (inner_width / width, inner_height / height), (-left, -top))
