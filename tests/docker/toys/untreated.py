"""The translation as tf2onnx does it by itself, with what it gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import translate as treated


def translate(source: str, folder: str, opset: int, tensors: Sequence[str]) -> Any:
    treated.give_back_biases = list
    return treated.translate(source, folder, opset, tensors)
