"""The README: every command in it does what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from modelfarm.settings import ROOT

_BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
_LINK = re.compile(r"\]\(([^)#:]+)\)")


def commands() -> list[str]:
    blocks = _BLOCK.findall((ROOT / "README.md").read_text())
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, onnx_python: Path) -> Path:
    """Return a copy of what git tracks or would track, with the environment of this checkout."""
    folder = tmp_path_factory.mktemp("clone") / "modelfarm"
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


@pytest.mark.skipif(not (ROOT / ".venv" / "ready-dev").exists(), reason="not run by `make test`: there is no .venv")
def test_every_command_ends_well_in_the_order_of_the_readme(clone: Path) -> None:
    found = commands()
    assert {"make demo", "make test"} <= set(found)
    for command in found:
        # The whole suite is what runs here; one file of it stands for the rest, whatever an outer make was told.
        outer = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKEOVERRIDES")}
        environment = {**outer, "TESTS": "tests/test_errors.py"}
        done = subprocess.run(["sh", "-c", command], cwd=clone, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    assert (clone / "artifacts" / "mine" / "onnx" / "latest" / "model.onnx").is_file()


def test_every_link_and_picture_of_the_documents_exists() -> None:
    for document in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        for link in _LINK.findall(document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_continuous_integration_calls_the_readmes_test_command() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert "make test" in lines
    assert "make check" in lines


def test_make_help_names_every_target() -> None:
    text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    wanted = ["demo", "onnx", "models", "status", "show", "report", "doctor", "view", "gc", "clean", "test",
              "check", "bench"]
    assert [target for target in wanted if f"make {target} " not in text] == []


def test_make_help_names_every_command_and_every_target_once() -> None:
    text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    commands = set(phony[1].split()) - {"$(TARGETS)", "setup", "setup-dev"} | {"onnx"}
    assert sorted(re.findall(r"^  make (\S+) ", text, re.MULTILINE)) == sorted(commands)
    targets = [file.parent.name for file in ROOT.glob("docker/*/target.yaml") if "way_of:" not in file.read_text()]
    line = next(line for line in text.splitlines() if line.startswith("  make onnx "))
    assert set(line.partition("the same with ")[2].split()) == set(targets) - {"onnx"}


def test_make_help_has_the_variables_that_the_guide_explains() -> None:
    text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    guide = set(re.findall(r"`([A-Z][A-Z_]+)`", (ROOT / "docs" / "user-guide.md").read_text()))
    images = (ROOT / "docs" / "images.md").read_text()
    told = re.findall(r"([A-Z][A-Z_]+)(?:_<NAME>)?=", text.partition("Variables")[2])
    assert {"MODEL", "ENGINE", "REGISTRY", "REGRESSION", "STRICT"} <= set(told)
    assert [name for name in told if name not in guide and name not in images] == []
