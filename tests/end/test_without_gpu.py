"""TensorRT asked for where there is no GPU: a code and a message that a person can act on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from modelfarm import gpu
from modelfarm.settings import ROOT

pytestmark = pytest.mark.skipif(bool(gpu.devices()), reason="this machine has a GPU")


def invoke(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "invoke", *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("words", [
    ("--target", "trt"), ("--target", "trt10"), ("--target", "trt", "--via", "onnx2trt", "--precision", "fp16"),
    ("--target", "trt", "--via", "torch2trt"), ("--target", "trt", "--batch", "1,4,8"),
])
def test_every_way_to_an_engine_says_at_once_that_there_is_no_gpu(words: tuple[str, ...]) -> None:
    done = invoke("convert", "--model", "digits", *words)
    assert done.returncode == 4
    said = done.stderr
    assert f"{words[1]} needs an NVIDIA GPU, and this machine has none that works" in said
    for looked in ("device files: ", "driver: ", "driver's tool: ", "container toolkit: "):
        assert looked in said
    assert "make trt-rtx MODEL=... builds portable engines for RTX GPUs on any machine" in said
    assert done.stdout == "", "nothing else was begun"


def test_wrong_words_are_told_first() -> None:
    done = invoke("convert", "--model", "digitz", "--target", "trt")
    assert (done.returncode, "did you mean digits?" in done.stderr) == (2, True)
