from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modelfarm import decoders
from modelfarm.decoders import blaze_face, classification, landmarks, ssd_face, yolo_face
from modelfarm.errors import RecipeError
from modelfarm.recipe import DecoderChoice

OWN = """
class Decoder:
    def __init__(self, options): self.factor = options["factor"]
    def columns(self, outputs, size): return []
    def decode(self, outputs, placements): return [[self.factor]]
"""


def own(folder: Path, text: str) -> DecoderChoice:
    (folder / "decoder.py").write_text(text)
    return DecoderChoice(name="module", options={"factor": 3}, module=folder / "decoder.py")


def test_the_farms_decoders_load_by_name(tmp_path: Path) -> None:
    common = {"confidence": 0.3, "iou": 0.5}
    ssd = {**common, "boxes": "b", "scores": "s", "landmarks": None, "priors": None}
    plain = {"output": None, "labels": None, "activation": "none"}
    blaze = {**common, "boxes": "b", "scores": "s", "strides": [8, 16, 16, 16]}
    points = {"confidence": 0.5, "points": "p", "dimensions": 3, "score": None}
    for name, options, kind in (("blaze_face", blaze, blaze_face.Decoder), ("landmarks", points, landmarks.Decoder),
                                ("yolo_face", common, yolo_face.Decoder), ("ssd_face", ssd, ssd_face.Decoder),
                                ("classification", plain, classification.Decoder)):
        assert isinstance(decoders.load(DecoderChoice(name=name, options=options), tmp_path), kind)


def test_a_models_own_module_defines_a_decoder(tmp_path: Path) -> None:
    decoder = decoders.load(own(tmp_path, OWN), tmp_path)
    assert decoder.decode({"x": np.zeros(1)}, []) == [[3]]


@pytest.mark.parametrize(("text", "message"), [
    ("import nowhere_at_all", "cannot be imported: ModuleNotFoundError"),
    ("def (", "cannot be imported: SyntaxError"),
    ("x = 1", "defines no Decoder"),
    ("class Decoder:\n    def __init__(self, options): options['missing']", r"Decoder\(options\) failed: KeyError"),
    ("class Decoder:\n    def __init__(self, options): pass\n    def columns(self): pass", "no method decode"),
])
def test_what_is_wrong_with_an_own_module_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        decoders.load(own(tmp_path, text), tmp_path)


def test_a_module_that_is_no_python_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "decoder.txt").write_text(OWN)
    with pytest.raises(RecipeError, match="is no Python module"):
        decoders.load(DecoderChoice(name="module", options={}, module=tmp_path / "decoder.txt"), tmp_path)


def test_options_are_read_without_numpy() -> None:
    code = "import sys, modelfarm.decoders.options; sys.exit('numpy' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
