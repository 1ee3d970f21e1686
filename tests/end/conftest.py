"""End to end: the real commands, in stores of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelfarm.settings import ROOT

INVOKE = [sys.executable, "-m", "invoke"]


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A store, and a way to run tasks on it."""

    artifacts: Path
    models: Path = ROOT / "models"

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a command."""
        return {**os.environ, "ARTIFACTS": str(self.artifacts), "MODELS_DIR": str(self.models)}

    def run(self, *words: str, **settings: str) -> Ran:
        """Run a task to its end."""
        done = subprocess.run([*INVOKE, *words], cwd=ROOT, env={**self.environment, **settings},
                              capture_output=True, text=True, timeout=600)
        return Ran(code=done.returncode, out=done.stdout, err=done.stderr)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a task."""
        return subprocess.Popen([*INVOKE, *words], cwd=ROOT, env=self.environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def latest(self, model: str, variant: str = "onnx") -> Path:
        """Return the folder that `latest` points to."""
        return (self.artifacts / model / variant / "latest").resolve(strict=True)


@pytest.fixture
def shop(tmp_path: Path, onnx_python: Path) -> Shop:
    """Return an empty store."""
    return Shop(artifacts=tmp_path / "artifacts")


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory, onnx_python: Path) -> Shop:
    """Return a store in which the digits have been converted; tests only read it."""
    shop = Shop(artifacts=tmp_path_factory.mktemp("stocked") / "artifacts")
    ran = shop.run("convert", "--model", "digits")
    assert ran.code == 0, ran.out + ran.err
    return shop


@pytest.fixture
def own_models(tmp_path: Path) -> Callable[[str, str], Path]:
    """Return a function that copies the digits model, replaces a text in its recipe, and returns the models folder."""

    def copy(old: str, new: str) -> Path:
        folder = tmp_path / "models"
        shutil.copytree(ROOT / "models" / "digits", folder / "digits", dirs_exist_ok=True)
        recipe = folder / "digits" / "model.yaml"
        text = recipe.read_text()
        assert old in text
        recipe.write_text(text.replace(old, new))
        return folder

    return copy
