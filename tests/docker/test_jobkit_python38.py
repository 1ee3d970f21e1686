"""jobkit runs on Python 3.8, as old toolchains have it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jobfolder import DOCKER


def find_old_python() -> str:
    known = [str(path) for path in (Path.home() / ".pyenv" / "versions").glob("3.8.*/bin/python")]
    for path in [*known, shutil.which("python3.8")]:
        # pyenv puts a python3.8 on the path that may only say that it is not switched on.
        if path and subprocess.run([path, "--version"], capture_output=True).returncode == 0:
            return path
    pytest.skip("there is no Python 3.8 on this machine")


def test_every_module_compiles_on_python_3_8(tmp_path: Path) -> None:
    shutil.copytree(DOCKER / "jobkit", tmp_path / "jobkit")
    done = subprocess.run(
        [find_old_python(), "-m", "compileall", "-q", tmp_path / "jobkit"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_the_modules_without_numpy_import_on_python_3_8() -> None:
    code = "import importlib.util, sys\nfor name in sys.argv[1:]:\n    __import__(name)"
    # jobkit/__init__.py imports numpy; where that is absent, the package is entered by its path alone.
    package = (
        f"import sys, types\njobkit = types.ModuleType('jobkit')\njobkit.__path__ = [{str(DOCKER / 'jobkit')!r}]\n"
    )
    package += "sys.modules['jobkit'] = jobkit\n"
    modules = ["jobkit.errors", "jobkit.events", "jobkit.process"]
    done = subprocess.run([find_old_python(), "-B", "-c", package + code, *modules], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_jobkit_needs_nothing_but_the_standard_library_and_numpy() -> None:
    lines = [line for path in (DOCKER / "jobkit").glob("*.py") for line in path.read_text().splitlines()]
    roots = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert roots - {"jobkit", "numpy"} <= set(sys.stdlib_module_names)
    assert {"json", "numpy"} <= roots
