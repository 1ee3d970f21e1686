"""ci/nightly, which the workflows call, with the real farm: a night, its report, and what it publishes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelfarm.digest import default_cache_folder
from modelfarm.settings import ROOT
from tests.images.registry import Registry, running_registry
from tests.registry.conftest import make_pair
from tests.registry.relay import Answer, Asked, relay

pytestmark = pytest.mark.skipif(not (ROOT / ".venv" / "ready").exists(), reason="not run by `make test`: no .venv")


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A machine of a CI service: the digits alone, a store and a cache of its own."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items()
                     if not name.startswith(("MAKE", "MFLAGS", "GITHUB_", "GITLAB_", "REGISTRY", "SIGN_KEY"))}
        return {**inherited, "MODELS_DIR": str(self.folder / "models"), "ARTIFACTS": str(self.folder / "artifacts"),
                "MODELFARM_CACHE": str(self.folder / "cache"), "RUNNER": "venv", "HOME": str(self.folder)}

    def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the script, as a workflow does."""
        return subprocess.run([ROOT / "ci" / "nightly", *words], env={**self.environment, **settings}, cwd=self.folder,
                              capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="module")
def shift(tmp_path_factory: pytest.TempPathFactory, onnx_python: Path) -> Shift:
    """Return a machine on which a night has been; tests only read its store."""
    folder = tmp_path_factory.mktemp("shift")
    shutil.copytree(ROOT / "models" / "digits", folder / "models" / "digits")
    (folder / "cache").mkdir()
    (folder / "cache" / "venvs").symlink_to(default_cache_folder() / "venvs")
    shift = Shift(folder=folder)
    done = shift.run("run")
    assert done.returncode == 0, done.stdout + done.stderr
    return shift


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


def test_the_night_leaves_artifacts_and_what_it_said(shift: Shift) -> None:
    assert (shift.folder / "artifacts" / "digits" / "onnx" / "latest" / "model.onnx").is_file()
    said = (shift.folder / "cache" / "night.log").read_text()
    assert "digits  onnx" in said and "verified" in said


def test_the_report_is_written_and_the_table_goes_to_the_summary(shift: Shift, tmp_path: Path) -> None:
    done = shift.run("report", GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "digits" in (shift.folder / "artifacts" / "report" / "index.html").read_text()
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("### The night\n\n```\n") and summary.endswith("```\n")
    assert "digits  onnx" in summary and "\033" not in summary


def test_a_night_that_fails_ends_so_and_trims_the_store_all_the_same(shift: Shift, tmp_path: Path) -> None:
    folder = tmp_path / "machine"
    shutil.copytree(shift.folder, folder, symlinks=True)
    recipe = folder / "models" / "digits" / "model.yaml"
    recipe.write_text(recipe.read_text().replace("probabilities: {shape: [1, 10]", "probabilities: {shape: [1, 11]"))
    assert "[1, 11]" in recipe.read_text()
    done = Shift(folder=folder).run("run", KEEP="1")
    assert done.returncode != 0
    assert "removed" in done.stdout, "gc ran"
    assert "failed (6)" in (folder / "cache" / "night.log").read_text()


def test_what_is_good_is_published_signed_with_a_login_that_leaves_no_trace(shift: Shift, registry: Registry,
                                                                            tmp_path: Path) -> None:
    pair, wanted = make_pair(tmp_path), "Basic " + base64.b64encode(b"robot:s3cret").decode()

    def guarded(asked: Asked) -> Answer | None:
        if asked.path == "/v2/" or asked.headers.get("Authorization") == wanted:
            return None
        return Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="toys"'})

    with relay(registry, before=guarded) as there:
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        settings = {"REGISTRY": f"{there.host}/farm", "TMPDIR": str(scratch), "REGISTRY_USER": "robot",
                    "SIGN_KEY_PEM": pair.private.read_text()}
        refused = shift.run("publish", **settings, REGISTRY_PASSWORD="wrong")
        assert refused.returncode != 0 and "wants a login" in refused.stderr
        done = shift.run("publish", **settings, REGISTRY_PASSWORD="s3cret")
        assert done.returncode == 0, done.stdout + done.stderr
        for text in (done.stdout, done.stderr, refused.stdout, refused.stderr):
            assert "s3cret" not in text and "PRIVATE KEY" not in text
        assert list(scratch.iterdir()) == [], "keys and logins are gone"
        fetched = fetch(f"{registry.host}/farm", tmp_path, pair.public)
        assert fetched.returncode == 0, fetched.stderr
    assert "the signature is good" in fetched.stdout
    published = shift.folder / "artifacts" / "digits" / "onnx" / "latest" / "manifest.json"
    came = tmp_path / "fetched" / "digits" / "onnx" / "latest" / "manifest.json"
    assert json.loads(came.read_text()) == json.loads(published.read_text())


def fetch(registry: str, folder: Path, key: Path) -> subprocess.CompletedProcess[str]:
    """Fetch as a user does, into an empty store."""
    words = ["make", "--no-print-directory", "fetch", "MODEL=digits", f"REGISTRY={registry}", f"VERIFY_KEY={key}",
             f"ARTIFACTS={folder / 'fetched'}"]
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(words, cwd=ROOT, env=outer, capture_output=True, text=True, timeout=120)


def test_without_a_registry_nothing_is_published(shift: Shift) -> None:
    done = shift.run("publish")
    assert done.returncode == 0 and "no REGISTRY= is given" in done.stderr


def test_without_published_images_or_an_engine_the_night_goes_on(shift: Shift, tmp_path: Path) -> None:
    lock = tmp_path / "images.lock"
    lock.write_text("bases: {}\nimages: {}\n")
    done = shift.run("images", IMAGES_LOCK=str(lock))
    assert done.returncode == 0 and "names no published image" in done.stderr
    lock.write_text("images:\n  onnx:\n    image: host:1/farm/onnx@sha256:" + "1" * 64 + "\n")
    done = shift.run("images", IMAGES_LOCK=str(lock), DOCKER=str(tmp_path / "none"))
    assert done.returncode == 0 and "no container engine answers" in done.stderr


def test_images_are_pulled_where_the_lock_names_them_and_a_wrong_lock_stops_the_night(shift: Shift,
                                                                                      tmp_path: Path) -> None:
    """An engine has to answer: the lock is read, and is for another checkout."""
    if subprocess.run(["sh", "-c", '"${DOCKER:-docker}" buildx version && "${DOCKER:-docker}" version'],
                      capture_output=True).returncode:
        pytest.skip("no container engine with buildx answers")
    lock = tmp_path / "images.lock"
    lock.write_text("bases: {}\nimages:\n  onnx:\n    architecture: amd64\n    content: '" + "1" * 64 + "'\n"
                    "    date: 2026-01-01\n    identity: sha256:" + "2" * 64 + "\n    image: host:1/farm/onnx@sha256:"
                    + "1" * 64 + "\n    size: 1\n    sources: '" + "3" * 64 + "'\n")
    done = shift.run("images", IMAGES_LOCK=str(lock), HOME=os.environ["HOME"])
    assert done.returncode != 0
    assert "names an image of onnx for other files than this checkout has" in done.stderr


@pytest.mark.parametrize("words", [(), ("nonsense",), ("run", "report")])
def test_other_words_are_answered_with_the_usage(shift: Shift, words: tuple[str, ...]) -> None:
    done = shift.run(*words)
    assert done.returncode != 0
    assert words == ("run", "report") or "ci/nightly publish" in done.stderr
