"""ci/clients says where the programs are; what is there already is not fetched."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from modelfarm.settings import ROOT

_NEEDED = ("bash", "realpath", "dirname", "sed", "tr", "id", "env")


def folder_of(place: Path, *programs: str) -> Path:
    """Make a folder of programs that do nothing but tell their version."""
    place.mkdir()
    for name in programs:
        (place / name).write_text("#!/bin/sh\necho Version: 0\n")
        (place / name).chmod(0o755)
    return place


def run(path: str, home: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "ci" / "clients"], capture_output=True, text=True, timeout=60,
                          env={"PATH": path, "HOME": str(home), **settings})


def test_programs_that_are_there_are_named_and_nothing_is_fetched(tmp_path: Path) -> None:
    there = folder_of(tmp_path / "there", "oras", "cosign", "skopeo", "docker-registry")
    done = run(f"{there}:{os.environ['PATH']}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "downloading" not in done.stderr and "installing" not in done.stderr
    assert f"export MODELFARM_REGISTRY={there}/docker-registry" in done.stdout.splitlines()
    assert f"export MODELFARM_CLIENTS={tmp_path}/.cache/modelfarm-clients" in done.stdout.splitlines()


def test_a_registry_that_is_named_is_kept(tmp_path: Path) -> None:
    there = folder_of(tmp_path / "there", "oras", "cosign", "skopeo")
    done = run(f"{there}:{os.environ['PATH']}", tmp_path, MODELFARM_REGISTRY="/some/registry",
               MODELFARM_CLIENTS=str(tmp_path / "own place"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == (f"export MODELFARM_CLIENTS={tmp_path}/own\\ place\n"
                           "export MODELFARM_REGISTRY=/some/registry\n")


def test_without_apt_it_is_told_what_lacks(tmp_path: Path) -> None:
    """Only the few programs that the script itself needs are on the PATH."""
    few = tmp_path / "few"
    few.mkdir()
    for name in (*_NEEDED, "mktemp", "rm"):
        real = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (few / name).symlink_to(real)
    done = run(str(few), tmp_path)
    assert done.returncode == 4
    assert "clients: there is no apt-get here to fetch oras cosign docker-registry with" in done.stderr
    assert done.stdout == ""


def test_continuous_integration_brings_the_programs_before_it_tests() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines.index("clients=$(ci/clients)") < lines.index('eval "$clients"') < lines.index("make test")
