"""TNN's sources for the build: at one commit, from a clone, a mirror or bare files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from jobfolder import DOCKER

FETCH = DOCKER / "tnn" / "bin" / "fetch-tnn"
NOBODY = {
    **{f"GIT_{who}_{what}": "nobody@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


def git(*words: object, folder: Path) -> str:
    done = subprocess.run(["git", *map(str, words)], cwd=folder, env={**os.environ, **NOBODY}, capture_output=True,
                          text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a repository whose second commit is not the one that is wanted."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git("init", "-q", "-b", "master", folder=folder)
    for text in ("first", "second"):
        (folder / "CMakeLists.txt").write_text(text)
        git("add", "-A", folder=folder)
        git("commit", "-q", "-m", text, folder=folder)
    return folder


def fetch(folder: Path, commit: str, url: object, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([FETCH, folder, commit, str(url), target], env={**os.environ, **NOBODY}, text=True,
                          capture_output=True)  # fmt: skip


def fetched(folder: Path, commit: str, url: object, target: Path) -> str:
    done = fetch(folder, commit, url, target)
    assert done.returncode == 0, done.stderr
    assert not (target / ".git").exists()
    return (target / "CMakeLists.txt").read_text()


def test_a_url_is_cloned_at_the_commit(clone: Path, tmp_path: Path) -> None:
    commit = git("rev-parse", "HEAD~1", folder=clone)
    (tmp_path / "empty").mkdir()
    assert fetched(tmp_path / "empty", commit, f"file://{clone}", tmp_path / "made") == "first"
    assert fetched(tmp_path / "absent", commit, f"file://{clone}", tmp_path / "again") == "first"


def test_a_server_that_gives_no_single_commits_is_cloned_whole(clone: Path, tmp_path: Path) -> None:
    git("config", "uploadpack.allowAnySHA1InWant", "false", folder=clone)
    commit = git("rev-parse", "HEAD~1", folder=clone)
    assert fetched(tmp_path / "none", commit, f"file://{clone}", tmp_path / "made") == "first"


def test_a_folder_with_a_clone_or_a_mirror_comes_before_the_url(clone: Path, tmp_path: Path) -> None:
    commit = git("rev-parse", "HEAD~1", folder=clone)
    git("clone", "-q", "--mirror", clone, tmp_path / "mirror", folder=tmp_path)
    assert fetched(clone, commit, "file:///nowhere", tmp_path / "one") == "first"
    assert fetched(tmp_path / "mirror", commit, "file:///nowhere", tmp_path / "two") == "first"


def test_bare_files_are_taken_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    (folder / "tools").mkdir(parents=True)
    (folder / "CMakeLists.txt").write_text("mine")
    (folder / "tools" / "x").write_text("x")
    assert fetched(folder, "0" * 40, "file:///nowhere", tmp_path / "made") == "mine"
    assert (tmp_path / "made" / "tools" / "x").read_text() == "x"


def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("x")
    done = fetch(tmp_path, "0" * 40, "file:///nowhere", tmp_path / "made")
    assert done.returncode == 1 and "neither a clone of TNN in it nor its sources" in done.stderr


def test_a_commit_that_is_not_there_ends_the_build(clone: Path, tmp_path: Path) -> None:
    assert fetch(tmp_path / "none", "0" * 40, f"file://{clone}", tmp_path / "made").returncode


def test_the_sources_are_pinned_by_their_whole_commit_and_lint_tells_of_the_same() -> None:
    dockerfile = (DOCKER / "tnn" / "Dockerfile").read_text()
    (commit,) = {line.partition("TNN_COMMIT=")[2] for line in dockerfile.splitlines() if "ARG TNN_COMMIT=" in line}
    assert len(commit) == 40 and int(commit, 16)
    assert commit in (DOCKER / "tnn" / "target.yaml").read_text()


def test_the_toolchain_exists_as_an_image_only() -> None:
    document = yaml.safe_load((DOCKER / "tnn" / "target.yaml").read_text())
    assert document["environment"] == "image" and document["python"] == "3.9"
    assert document["needs"] == {"target": "onnx", "options": {"opset": 12, "dynamic": {}}}
    assert document["precisions"] == ["fp32", "fp16"]
