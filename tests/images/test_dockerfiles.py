"""BuildKit itself reads every Dockerfile to its end, those too that cannot be built where the tests run."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from modelfarm.containers import Client
from modelfarm.settings import ROOT

pytestmark = pytest.mark.images

FILES = sorted((ROOT / "docker").glob("*/Dockerfile"))


def read(client: Client, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([client.program, "buildx", "build", *words, folder], capture_output=True, text=True,
                          env={**os.environ, "BUILDX_EXPERIMENTAL": "1"}, timeout=120)


def listing(client: Client) -> str:
    """Return the option that lists stages: newer versions of buildx have another word for it."""
    return "--call=targets" if "--call" in client.ask("buildx", "build", "--help") else "--print=targets"


def stages(file: Path) -> list[str]:
    """Return the names of the stages, as the file has them."""
    return re.findall(r"^FROM \S+ AS (\S+)$", file.read_text(), re.MULTILINE)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_buildkit_finds_every_stage(client: Client, file: Path) -> None:
    done = read(client, file.parent, listing(client))
    assert done.returncode == 0, done.stderr
    found = [line.split()[0] for line in done.stdout.splitlines()[1:] if line.strip()]
    assert found == stages(file) and found


def test_a_dockerfile_that_is_wrong_is_found(client: Client, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch AS one\nCOPPY a b\n")
    done = read(client, tmp_path, listing(client))
    assert done.returncode != 0 and "unknown instruction: COPPY" in done.stderr
