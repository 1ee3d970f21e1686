"""The bundled model: its training gives the committed files again, and they are what they say."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

DIGITS = Path(__file__).parents[2] / "models" / "digits"
Toolchain = Callable[..., Any]

_TRAIN = """
import json, subprocess, sys
import torch

table, out = sys.argv[1:]
command = [sys.executable, "-B", "models/digits/train.py", "--digits", table, "--out", out]
printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
ours = torch.load("models/digits/digits.pt", weights_only=True)
again = torch.load(out + "/digits.pt", weights_only=True)
errors = {name: float((ours[name].double() - again[name].double()).abs().max()) for name in ours}
print(json.dumps({"same names": list(ours) == list(again), "errors": errors, "last": printed.splitlines()[-1]}))
"""

_PREDICT = """
import json, sys
sys.path.insert(0, "tests/models")
import numpy as np
from zoo import eager, load

tensor = np.load("models/digits/samples/heldout.npz")["input"]
print(json.dumps(eager(load("digits", "digits", "models/digits/digits.pt"), tensor)[0].tolist()))
"""


def test_training_again_gives_the_committed_weights_and_samples(toolchain: Toolchain, tmp_path: Path) -> None:
    result = toolchain(_TRAIN, str(table()), str(tmp_path))
    assert result["same names"]
    assert max(result["errors"].values()) <= 1e-6
    assert result["last"] == "accuracy 0.9916 on 359 held-out digits"
    with np.load(DIGITS / "samples" / "heldout.npz") as ours, np.load(tmp_path / "samples" / "heldout.npz") as again:
        assert sorted(ours) == sorted(again) == ["input", "label"]
        assert all(np.array_equal(ours[name], again[name]) for name in ours)
    with np.load(DIGITS / "calibration" / "training.npz") as ours, np.load(
            tmp_path / "calibration" / "training.npz") as again:
        assert sorted(ours) == sorted(again) == ["input"] and np.array_equal(ours["input"], again["input"])
    for digit in range(10):
        files = (DIGITS / "samples" / f"{digit}.png", tmp_path / "samples" / f"{digit}.png")
        assert np.array_equal(*(cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in files))


def test_the_ranges_of_integer_models_are_measured_on_digits_that_judge_nothing() -> None:
    with np.load(DIGITS / "calibration" / "training.npz") as arrays:
        measured = arrays["input"]
    with np.load(DIGITS / "samples" / "heldout.npz") as arrays:
        judging = {row.tobytes() for row in arrays["input"]}
    assert (measured.shape, measured.dtype) == ((100, 1, 8, 8), np.float32)
    assert len({row.tobytes() for row in measured}) == 100
    assert not judging & {row.tobytes() for row in measured}
    assert (measured.min(), measured.max()) == (0, 1)


def test_held_out_digits_are_a_fifth_of_each_class_of_the_data() -> None:
    rows = np.loadtxt(table(), delimiter=",")
    with np.load(DIGITS / "samples" / "heldout.npz") as arrays:
        pictures, labels = arrays["input"], arrays["label"]
    assert pictures.shape == (359, 1, 8, 8)
    assert pictures.dtype == np.float32
    assert labels.dtype == np.int64
    shares = np.bincount(labels) / np.bincount(rows[:, 64].astype(int))
    assert shares == pytest.approx(0.2, abs=0.003)
    known = {(bytes(row[:64].astype(np.uint8)), int(row[64])) for row in rows}
    levels = np.round(pictures * 16).astype(np.uint8)
    assert all((bytes(level.ravel()), int(label)) in known for level, label in zip(levels, labels, strict=True))


def test_the_network_reads_356_of_359_held_out_digits_and_says_so_in_probabilities(toolchain: Toolchain) -> None:
    probabilities = np.array(toolchain(_PREDICT))
    with np.load(DIGITS / "samples" / "heldout.npz") as arrays:
        assert int((probabilities.argmax(1) == arrays["label"]).sum()) == 356
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-5)


def test_sample_pictures_are_held_out_digits_of_their_names() -> None:
    with np.load(DIGITS / "samples" / "heldout.npz") as arrays:
        pictures, labels = arrays["input"], arrays["label"]
    for digit in range(10):
        picture = cv2.imread(str(DIGITS / "samples" / f"{digit}.png"), cv2.IMREAD_UNCHANGED)
        assert (picture.shape, picture.dtype) == ((8, 8), np.uint8)
        same = (pictures[:, 0] == picture.astype(np.float32) / np.float32(255)).all((1, 2))
        assert set(labels[same]) == {digit}


def test_the_committed_files_are_small() -> None:
    assert (DIGITS / "digits.pt").stat().st_size < 1_000_000
    assert (DIGITS / "samples" / "heldout.npz").stat().st_size < 60_000


def table() -> Path:
    """Return the data set as scikit-learn installs it, without importing scikit-learn."""
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        pytest.skip("scikit-learn, whose digits the model learns from, is not installed")
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
