"""Modules of docker/tflite for tests in this process; its folder leaves the path again: others have its names too."""

from __future__ import annotations

import sys
from pathlib import Path

_PLACE = str(Path(__file__).resolve().parents[3] / "docker" / "tflite")
sys.path.insert(0, _PLACE)
from child import Child, ChildError  # noqa: E402
from diagnosis import FIXED, LIMIT, losses  # noqa: E402
from inside import Part  # noqa: E402
from noise import MOST, Row, Tally  # noqa: E402
from signature import Held, dequantised, match, port, ports, quantised  # noqa: E402
from words import ModelWords, TensorWords, check, words_of  # noqa: E402

sys.path.remove(_PLACE)

__all__ = ["FIXED", "LIMIT", "MOST", "Child", "ChildError", "Held", "ModelWords", "Part", "Row", "Tally", "TensorWords",
           "check", "dequantised", "losses", "match", "port", "ports", "quantised", "words_of"]
