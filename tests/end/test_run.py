"""`make run`: what an artifact sees in a picture of the user's own, drawn."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from modelfarm.settings import ROOT

PICTURE = ROOT / "models" / "digits" / "samples" / "7.png"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with the bundled model as ONNX."""
    store = tmp_path_factory.mktemp("store")
    done = invoke(store, "convert", "--model", "digits")
    assert done.returncode == 0, done.stderr
    return store


def invoke(store: Path, *words: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ARTIFACTS": str(store), "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", "invoke", "--search-root", str(ROOT), *words], cwd=folder,
                          env=environment, capture_output=True, text=True)


def test_it_prints_what_it_sees_and_draws_it(store: Path, tmp_path: Path) -> None:
    done = invoke(store, "look", "--model", "digits", "--picture", str(PICTURE), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    first = next(line for line in done.stdout.splitlines() if ", " in line and "ms" not in line)
    assert first.split()[0] == "7" and float(first.split()[1].rstrip(",")) > 0.9
    assert "ms median" in done.stdout and "CPUExecutionProvider" in done.stdout
    drawn = cv2.imread(str(tmp_path / "7.onnx.png"))
    assert drawn is not None and min(drawn.shape[:2]) > 100 and len(np.unique(drawn)) > 10
    assert done.stdout.rstrip().endswith("7.onnx.png")


def test_the_store_stays_as_it_was(store: Path, tmp_path: Path) -> None:
    before = sorted(str(file) for file in store.rglob("*"))
    assert invoke(store, "look", "--model", "digits", "--picture", str(PICTURE), folder=tmp_path).returncode == 0
    after = sorted(str(file) for file in store.rglob("*"))
    assert before == after


@pytest.mark.parametrize(("words", "code", "said"), [
    (("--model", "digits"), 2, "which picture?"),
    (("--model", "digits", "--picture", "nowhere.png"), 2, "PICTURE=nowhere.png: there is no such file"),
    (("--model", "digits", "--variant", "trt-fp32", "--picture", str(PICTURE)), 7,
     "digits has no trt-fp32 artifact yet"),
    (("--model", "digitz", "--picture", str(PICTURE)), 2, "did you mean digits?"),
])
def test_wrong_words_have_their_own_code_and_say_what_to_do(store: Path, words: tuple[str, ...], code: int,
                                                            said: str) -> None:
    done = invoke(store, "look", *words)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_a_file_that_is_no_picture_is_named(store: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("words")
    done = invoke(store, "look", "--model", "digits", "--picture", str(tmp_path / "a.png"))
    assert done.returncode in (2, 3) and "a.png" in done.stderr
