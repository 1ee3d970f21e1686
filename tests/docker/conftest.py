"""The image's half of the contract, tried on the host and in its own toolchain."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobfolder import DOCKER

from modelfarm.console import Console
from modelfarm.runners.venv import VenvRunner
from modelfarm.settings import from_environment
from modelfarm.target import read_target

HERE = Path(__file__).parent

# The image's half is no package of the host: it comes behind everything else on the import path.
sys.path.extend([str(DOCKER), str(DOCKER / "onnx")])


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
