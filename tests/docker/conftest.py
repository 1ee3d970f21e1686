"""The image's half of the contract, tried on the host and in its own toolchain."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobfolder import DOCKER

from modelfarm.console import Console
from modelfarm.runners.venv import VenvRunner
from modelfarm.settings import from_environment
from modelfarm.target import read_target, read_targets

HERE = Path(__file__).parent

# The image's half is no package of the host: it comes behind everything else on the import path.
sys.path.extend([str(DOCKER), str(DOCKER / "onnx"), str(HERE / "toys")])


@pytest.fixture(scope="session")
def script(toolchain: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs one of tests/docker/scripts in the onnx toolchain."""

    def run(name: str, *arguments: object) -> Any:
        paths = f"import sys\nsys.path[:0] = {[str(DOCKER), str(DOCKER / 'onnx'), str(HERE / 'toys'), str(HERE)]!r}\n"
        return toolchain(paths + (HERE / "scripts" / f"{name}.py").read_text(), *map(str, arguments))

    return run


@pytest.fixture(scope="session")
def rtx_python() -> Path:
    """Return the interpreter of the trt-rtx toolchain, installed where it is not yet."""
    settings = from_environment()
    target = read_target(DOCKER / "trt-rtx" / "target.yaml")
    runner = VenvRunner(environments=settings.environments, torch_index="")
    runner.prepare(target, Console())
    return runner.folder(target) / "bin" / "python"


@pytest.fixture(scope="session")
def script_in(interpreter_of: Callable[[str], Path]) -> Callable[..., Any]:
    """Return a function that runs one of tests/docker/scripts in a toolchain; give the JSON of its last line."""
    targets = read_targets()

    def run(target: str, name: str, *arguments: object) -> Any:
        path = [DOCKER, *targets[target].code, HERE, HERE / "toys"]
        words = [interpreter_of(target), HERE / "scripts" / f"{name}.py", *arguments]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
        done = subprocess.run(list(map(str, words)), env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
