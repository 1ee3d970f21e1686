"""Job folders written by hand, and jobkit run on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A job's process after its end."""

    code: int
    output: str
    folder: Path

    @property
    def result(self) -> Any:
        return json.loads((self.folder / "out" / "result.json").read_text())

    @property
    def events(self) -> list[Any]:
        return [json.loads(line) for line in (self.folder / "out" / "events.jsonl").read_text().splitlines()]

    def arrays(self, name: str) -> Any:
        return np.load(self.folder / "out" / name)


def write_job(folder: Path, tensors: list[dict[str, Any]], **changes: Any) -> Path:
    """Write a job folder by hand, as the contract says; `changes` replace fields of job.json."""
    (folder / "in" / "source").mkdir(parents=True, exist_ok=True)
    (folder / "out").mkdir()
    arrays = {f"{index}/{name}": array for index, sample in enumerate(tensors) for name, array in sample.items()}
    np.savez(folder / "in" / "samples.npz", **arrays)
    document = {
        "schema": 1,
        "model": "toy",
        "target": "toy",
        "variant": "toy",
        "precision": "fp32",
        "source": {"kind": "toy", "file": "in/source/toy.bin"},
        "options": {},
        "inputs": [{"name": "x", "shape": [1, 3], "dtype": "float32", "layout": None}],
        "outputs": [{"name": "y", "shape": None, "dtype": None}],
        "samples": [f"sample-{index}" for index in range(len(tensors))],
        "calibration": None,
        "promises": ["model.toy"],
        "latency": {"warmup": 1, "runs": 6, "seconds": 1.0},
        "reference": True,
        **changes,
    }
    (folder / "job.json").write_text(json.dumps(document))
    return folder


def job_command(folder: Path, converter: Path, python: str = sys.executable) -> tuple[list[str], dict[str, str]]:
    """Give the command that a runner starts, and its environment."""
    environment = {**os.environ, "PYTHONPATH": str(DOCKER), "MODELFARM_CONVERTER": str(converter)}
    environment.pop("MODELFARM_PARENT", None)
    return [python, "-m", "jobkit", str(folder)], environment


def run_job(folder: Path, converter: Path, python: str = sys.executable, **environment: str) -> Ended:
    """Run the job in `folder` to its end."""
    command, base = job_command(folder, converter, python)
    done = subprocess.run(
        command, cwd=folder, env={**base, **environment}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return Ended(code=done.returncode, output=done.stdout, folder=folder)


def data_folder() -> list[Path]:
    """Give the folder of real weights, alone in a list, or nothing where there is none."""
    folder = Path(os.environ.get("MODELFARM_DATA") or ROOT.parent / "shared" / "data")
    return [folder] if (folder / "golden.json").is_file() else []
