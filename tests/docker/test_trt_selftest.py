"""The small job of TensorRT's images: one source for all of them, and it is what each job.json says."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jobfolder import DOCKER

TARGETS = ["trt", "trt-onnx2trt", "trt10"]
LOOK = """
import json, onnx, onnxruntime, numpy as np
session = onnxruntime.InferenceSession("in/source/model.onnx")
(scores,) = session.run(None, {"picture": np.ones((1, 3, 16, 16), np.float32)})
print(json.dumps({
    "inputs": [[item.name, item.shape] for item in session.get_inputs()],
    "outputs": [[item.name, item.shape] for item in session.get_outputs()],
    "opset": onnx.load("in/source/model.onnx").opset_import[0].version,
    "scores": scores.tolist(),
}))
"""


@pytest.fixture(scope="module")
def made(onnx_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the digest of each target's source, and what it is, made as an image makes it."""
    found = {}
    for target in TARGETS:
        folder = tmp_path_factory.mktemp(target)
        subprocess.run([onnx_python, DOCKER / target / "self_test" / "make_source.py"], cwd=folder, check=True,
                       env={"PYTHONPATH": f"{DOCKER}:{DOCKER / 'trt'}"})
        told = subprocess.run([onnx_python, "-c", LOOK], cwd=folder, check=True, capture_output=True, text=True).stdout
        found[target] = (hashlib.sha256((folder / "in" / "source" / "model.onnx").read_bytes()).hexdigest(),
                         json.loads(told))
    return found


def test_there_is_one_source(made: dict[str, Any]) -> None:
    assert len({digest for digest, _ in made.values()}) == 1
    assert len({(DOCKER / target / "self_test" / "make_source.py").read_text() for target in TARGETS}) == 1


@pytest.mark.parametrize("target", TARGETS)
def test_it_is_what_the_job_says(made: dict[str, Any], target: str) -> None:
    job = json.loads((DOCKER / target / "self_test" / "job.json").read_text())
    told = made[target][1]
    assert told["inputs"] == [[item["name"], item["shape"]] for item in job["inputs"]]
    assert told["outputs"] == [[item["name"], item["shape"]] for item in job["outputs"]]
    assert told["opset"] == 13, "the newest that TensorRT 8.2 takes"


def test_its_scores_tell_weights_apart(made: dict[str, Any]) -> None:
    (scores,) = made["trt"][1]["scores"]
    assert len({round(score, 3) for score in scores}) == 3
