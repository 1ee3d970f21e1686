"""Whole jobs of the onnx target, in processes of their own."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attacks import ATTACKS, zipped
from jobfolder import DOCKER, Ended, run_job, write_job

CONVERTER = DOCKER / "onnx" / "converter.py"
PICTURE = {"name": "picture", "shape": [1, 3, 8, 8], "dtype": "float32", "layout": "NCHW"}


def run_toy(folder: Path, python: Path, weights: bytes | None = None, seed: str = "0", **options: Any) -> Ended:
    rng = np.random.default_rng(0)
    samples = [{"picture": rng.standard_normal((1, 3, 8, 8), dtype=np.float32)} for _ in range(2)]
    source = {
        "kind": "torch",
        "module": "in/source/nets.py",
        "factory": "redundant",
        "arguments": {},
        "weights": "in/source/weights.pt" if weights else None,
        "seed": 0,
    }
    write_job(
        folder,
        samples,
        target="onnx",
        variant="onnx",
        source=source,
        inputs=[PICTURE],
        outputs=[{"name": "scores", "shape": [1, 3], "dtype": "float32"}],
        options={"opset": 12, "simplify": True, "dynamic": {}, "external_data_above": 2**31, **options},
        promises=["model.onnx"],
    )
    shutil.copy(Path(__file__).parent / "toys" / "nets.py", folder / "in" / "source")
    if weights:
        (folder / "in" / "source" / "weights.pt").write_bytes(weights)
    return run_job(folder, CONVERTER, str(python), PYTHONHASHSEED=seed)


def test_a_job_converts_verifies_and_measures(tmp_path: Path, onnx_python: Path) -> None:
    ended = run_toy(tmp_path / "job", onnx_python)
    assert ended.code == 0, ended.output
    result, outputs, reference = ended.result, ended.arrays("outputs.npz"), ended.arrays("reference.npz")
    assert sorted(outputs.files) == sorted(reference.files) == ["0/scores", "1/scores"]
    for name in outputs.files:
        np.testing.assert_allclose(outputs[name], reference[name], atol=1e-6)
        assert reference[name].sum() == pytest.approx(1, abs=1e-6)
    assert result["files"] == ["model.onnx"] and result["facts"]["opset"] == 12
    assert {"torch", "onnx", "onnxruntime", "onnxslim", "numpy", "python"} == set(result["versions"])
    assert result["device"] == {"wanted": "cpu", "used": "cpu", "detail": "CPUExecutionProvider"}
    steps = [event["step"] for event in ended.events if event["event"] == "end"]
    assert "export to ONNX, opset 12" in steps and "check the graph" in steps


def test_two_processes_give_equal_bytes(tmp_path: Path, onnx_python: Path) -> None:
    first, second = (run_toy(tmp_path / seed, onnx_python, seed=seed) for seed in ("1", "2"))
    digests = {hashlib.sha256((ended.folder / "out/model.onnx").read_bytes()).hexdigest() for ended in (first, second)}
    assert first.code == second.code == 0 and len(digests) == 1
    assert first.result["facts"] == second.result["facts"]


def test_a_malicious_checkpoint_ends_the_job_with_its_name(tmp_path: Path, onnx_python: Path) -> None:
    weights = zipped(ATTACKS["os.system"].code(tmp_path / "canary"))
    ended = run_toy(tmp_path / "job", onnx_python, weights)
    error = ended.result["error"]
    assert ended.code == 1 and (error["kind"], error["class"]) == ("refused", "CheckpointError")
    assert f"{os.name}.system" in error["message"]
    assert not (tmp_path / "canary").exists()
    assert sorted(path.name for path in (ended.folder / "out").iterdir()) == ["events.jsonl", "result.json"]


def test_an_onnx_source_needs_no_torch(tmp_path: Path, onnx_python: Path, data: Path) -> None:
    folder = tmp_path / "job"
    picture = {"input": np.random.default_rng(0).standard_normal((1, 3, 240, 320), dtype=np.float32)}
    write_job(
        folder,
        [picture],
        target="onnx",
        source={"kind": "onnx", "file": "in/source/model.onnx"},
        inputs=[{"name": "input", "shape": [1, 3, 240, 320], "dtype": "float32", "layout": "NCHW"}],
        outputs=[{"name": name, "shape": None, "dtype": None} for name in ("scores", "boxes")],
        options={"opset": None, "simplify": False, "dynamic": {}},
        promises=["model.onnx"],
    )
    shutil.copy(data / "weights" / "ultraface-slim-320.onnx", folder / "in" / "source" / "model.onnx")
    (tmp_path / "torch.py").write_text("raise ImportError('torch was imported')")
    ended = run_job(folder, CONVERTER, str(onnx_python), PYTHONPATH=f"{DOCKER}{os.pathsep}{tmp_path}")
    assert ended.code == 0, ended.output
    assert np.abs(ended.arrays("outputs.npz")["0/boxes"] - ended.arrays("reference.npz")["0/boxes"]).max() < 1e-5
