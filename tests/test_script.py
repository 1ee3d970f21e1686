"""The script beside an artifact: it makes the artifact again from a job folder, and refuses another one."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from modelfarm.artifact import Artifact
from modelfarm.console import Console
from modelfarm.reproduce import Rebuilder, choose
from modelfarm.script import command
from modelfarm.settings import ROOT
from tests.toys import Toys, make_toys


def make(toys: Toys, **request: str) -> Artifact:
    (job,) = toys.jobs(**request)
    return toys.builder().build(job, Console(io.StringIO())).artifact


def write(toys: Toys, **request: str) -> Path:
    """Write the job folder of a toy, and return it."""
    farm, folder = toys.farm, toys.folder / "job"
    (job,) = toys.jobs(**request)
    Rebuilder(store=farm.store, runners=farm.runners.of).write(job, folder, Console(io.StringIO()))
    return folder


@pytest.fixture
def here(toys: Toys) -> Toys:
    """Return the toys with an environment where the script expects it, in the farm's own folder."""
    build = toys.folder / "build"
    build.mkdir()
    (build / "toy").symlink_to(toys.farm.runners.venv.folder(toys.target))
    return toys


def run(toys: Toys, artifact: Artifact, *words: str, shell: str = "sh") -> subprocess.CompletedProcess[str]:
    return subprocess.run([shell, artifact.path("reproduce.sh"), *words], cwd=toys.folder, capture_output=True,
                          text=True, timeout=60, env={**os.environ, "CDPATH": "/usr"})


def test_the_script_makes_the_artifact_again_and_says_that_it_is_equal(here: Toys) -> None:
    artifact = make(here)
    write(here)
    done = run(here, artifact, "job")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "equal to the artifact, byte for byte: model.toy"
    assert (here.folder / "job/out/model.toy").read_bytes() == artifact.path("model.toy").read_bytes()


def test_the_script_names_what_was_made_otherwise(here: Toys) -> None:
    file = here.target.converter
    file.write_text(file.read_text().replace('{"gain": wish', '{"noise": os.urandom(8).hex(), "gain": wish'))
    artifact = make(here)
    write(here)
    done = run(here, artifact, "job")
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["model.toy: FAILED", "reproduce.sh: what was made is not equal to the "
                                                             "artifact: see the files above"]


@pytest.mark.parametrize(("name", "content", "said"), [
    ("in/source/toy.pt", b"{}", "in/source/toy.pt: FAILED"), ("job.json", b"{}", "job.json: FAILED"),
    ("in/samples.npz", b"", "in/samples.npz: FAILED"), ("in/samples.npz", None, "FAILED open or read"),
    ("in/source/other.py", b"", "has files that the artifact was not made from"),
    ("out/model.toy", b"", "has files already"),
])
def test_the_script_refuses_another_job(here: Toys, name: str, content: bytes | None, said: str) -> None:
    mark = here.folder / "mark"
    here.model(mark=str(mark))
    artifact = make(here)
    folder = write(here)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    done = run(here, artifact, "job")
    assert done.returncode == 1
    assert said in done.stderr
    assert mark.read_text().count("\n") == 1  # the converter did not run


@pytest.mark.parametrize("words", [[], ["nowhere"], ["job", "job"]])
def test_the_script_says_how_it_is_used(here: Toys, words: list[str]) -> None:
    artifact = make(here)
    write(here)
    done = run(here, artifact, *words)
    assert (done.returncode, done.stderr.split(":")[1]) == (1, " usage")


def test_a_toolchain_that_fails_ends_the_script_with_one(here: Toys) -> None:
    artifact = make(here)
    write(here)
    (here.folder / "build" / "toy").unlink()
    done = run(here, artifact, "job")
    assert done.returncode == 1
    assert "not found" in done.stderr


def test_the_script_says_of_what_it_is(here: Toys) -> None:
    artifact = make(here, options="rounds=3")
    text = artifact.path("reproduce.sh").read_text()
    assert text.startswith("#!/bin/sh\n")
    for line in ("#   model    toy", "#   variant  toy-rounds3", f"#   version  {artifact.version}",
                 "#   make job MODEL=toy TARGET=toy OPTIONS=rounds=3 FOLDER=JOB"):
        assert f"\n{line}\n" in text
    assert os.access(artifact.path("reproduce.sh"), os.X_OK)
    assert "reproduce.sh" not in artifact.subjects


def test_the_script_is_equal_elsewhere_and_at_other_times(tmp_path: Path, toys: Toys) -> None:
    other = make_toys(tmp_path / "elsewhere", toys.cache)
    other.model()
    text = make(toys).path("reproduce.sh").read_text()
    time.sleep(1.1)
    assert make(other).path("reproduce.sh").read_text() == text
    names = [line.split("  ")[1] for line in text.splitlines() if len(line.split("  ")[0]) == 64]
    assert names == ["in/samples.npz", "in/source/toy.pt", "in/source/toy.py", "job.json", "model.toy"]
    for place in (toys.folder, toys.cache, ROOT, Path.home()):
        assert str(place) not in text


@pytest.mark.parametrize("name", ["a name with 'quotes' and $(touch ran).pt", "back\\slash.pt", "END", "-n", "ü.pt"])
def test_the_script_copes_with_any_name(here: Toys, name: str) -> None:
    weights = here.folder / "files" / name
    weights.parent.mkdir()
    weights.write_text('{"gain": 2}')
    artifact = make(here, weights=str(weights))
    write(here, weights=str(weights))
    for shell in ("sh", "bash"):
        assert subprocess.run([shell, "-n", artifact.path("reproduce.sh")]).returncode == 0
        done = run(here, artifact, "job", shell=shell)
        assert done.returncode == 0, done.stderr
        shutil.rmtree(here.folder / "job" / "out")
        (here.folder / "job" / "out").mkdir()
    assert not (here.folder / "ran").exists()


@pytest.mark.parametrize("request_", [
    {}, {"options": "rounds=3"}, {"weights": "random"}, {"options": "rounds=2 words=a_b", "weights": "random"},
    {"options": 'words="3"'}, {"options": "words=true-ish"}, {"options": 'open={"x":{"0":"batch"}}'},
    {"options": "precision=fp16 rounds=9"},
])
def test_the_command_for_a_job_folder_asks_for_the_same_job(toys: Toys, request_: dict[str, str]) -> None:
    file = toys.target.folder / "target.yaml"
    file.write_text(file.read_text().replace("precisions: [fp32]", "precisions: [fp32, fp16]")
                    + "  words: {type: text, default: none, help: words}\n  open: {type: axes, default: {}, help: x}\n")
    job = next(iter(toys.jobs(**request_)))
    asked = subprocess.run(["sh", "-c", f'make() {{ printf "%s\\n" "$@"; }}\n{command(job)}'], check=True, text=True,
                           capture_output=True).stdout.splitlines()
    words = dict(word.split("=", 1) for word in asked[1:])
    assert asked[0] == "job" and words.pop("FOLDER") == "JOB"
    assert (words.pop("MODEL"), words.pop("TARGET")) == ("toy", "toy")
    variant = words.pop("VARIANT")
    again = choose(toys.jobs(**{name.lower(): value for name, value in words.items()}), variant)
    assert again.key == job.key


def test_weights_by_another_name_are_named_in_the_command(toys: Toys) -> None:
    shutil.copy(toys.settings.models / "toy" / "toy.pt", toys.folder / "my own.pt")
    (job,) = toys.jobs(weights=str(toys.folder / "my own.pt"))
    assert command(job) == "make job MODEL=toy TARGET=toy 'WEIGHTS=my own.pt' FOLDER=JOB"
