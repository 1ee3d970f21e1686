"""Toy toolchains for tests: a target's folder, and packages made here, so that nothing is fetched."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

from modelfarm.target import Target, read_target

TARGET = """\
title: Toy
reads: [torch]
makes: toy
python: "{python}"
precisions: [fp32]
promises: [model.toy]
seconds: 3
"""

# Builds a wheel without any tool, notes each build, and hangs the first time that it is asked to.
BACKEND = """
import os, time, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    marks = os.environ["SLOW_MARKS"]
    first = not os.path.exists(marks)
    with open(marks, "a") as file:
        file.write(f"{os.getpgid(0)}\\n")
    time.sleep(float(os.environ["SLOW_SECONDS"]) if first else 0)
    name = "slow-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("slow.py", "VALUE = 1")
        wheel.writestr("slow-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: slow\\nVersion: 1.0\\n")
        wheel.writestr("slow-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("slow-1.0.dist-info/RECORD", "")
    return name
"""


def make_target(folder: Path, requirements: str, python: str = "3.11") -> Target:
    """Write docker/toy and docker/jobkit below a folder."""
    toy, jobkit = folder / "docker" / "toy", folder / "docker" / "jobkit"
    toy.mkdir(parents=True, exist_ok=True)
    jobkit.mkdir(exist_ok=True)
    (toy / "target.yaml").write_text(TARGET.format(python=python))
    (toy / "requirements.txt").write_text(requirements)
    (toy / "converter.py").write_text("def convert(job): ...\n")
    (jobkit / "__init__.py").touch()
    return read_target(toy / "target.yaml")


def make_wheel(folder: Path, name: str = "toy", version: str = "1.0", requires: tuple[str, ...] = ()) -> Path:
    """Write a wheel with one module, VALUE = 1, that `requires` others."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr(f"{name}.py", "VALUE = 1\n")
        asked = "".join(f"Requires-Dist: {other}\n" for other in requires)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{asked}")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return file


def make_slow_package(folder: Path) -> Path:
    """Write a source package whose build takes SLOW_SECONDS the first time, and notes its group in SLOW_MARKS."""
    folder.mkdir(exist_ok=True)
    files = {"pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
                               '[project]\nname = "slow"\nversion = "1.0"\n',
             "backend.py": BACKEND, "PKG-INFO": "Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n"}
    with tarfile.open(folder / "slow-1.0.tar.gz", "w:gz") as package:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"slow-1.0/{name}")
            entry.size = len(text.encode())
            package.addfile(entry, io.BytesIO(text.encode()))
    return folder
