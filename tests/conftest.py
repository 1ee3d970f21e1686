"""What tests share: the data folder, the toolchain, a farm of their own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelfarm.console import Console
from modelfarm.runners.venv import VenvRunner
from modelfarm.settings import ROOT, from_environment
from modelfarm.target import read_targets

Toolchain = Callable[..., Any]


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of real weights and pictures, or skip."""
    folder = Path(os.environ.get("MODELFARM_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "golden.json").is_file():
        pytest.skip(f"no data in {folder}; MODELFARM_DATA names the folder")
    return folder


@pytest.fixture(scope="session")
def onnx_python() -> Path:
    """Return the interpreter of the onnx toolchain, installed where it is not yet."""
    settings = from_environment()
    runner = VenvRunner(environments=settings.environments, torch_index=settings.torch_index)
    target = read_targets()["onnx"]
    runner.prepare(target, Console())
    return runner.folder(target) / "bin" / "python"


@pytest.fixture(scope="session")
def toolchain(onnx_python: Path) -> Toolchain:
    """Return a function that runs code in the onnx toolchain and returns the JSON of its last line."""

    def run(code: str, *arguments: str) -> Any:
        done = subprocess.run([onnx_python, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
