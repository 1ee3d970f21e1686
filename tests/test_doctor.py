"""The doctor: what is fine, what is worth a note, and what is lacking, each with its remedy."""

from __future__ import annotations

import io
import os
import platform
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelfarm.console import Console
from modelfarm.digest import Digests
from modelfarm.doctor import (
    Finding,
    examine_engines,
    examine_machine,
    examine_recipes,
    examine_store,
    examine_toolchain,
    has_files,
)
from modelfarm.errors import MachineError
from modelfarm.lookup import Lookup
from modelfarm.runners import VenvRunner
from modelfarm.store import Store
from tests.toys import Toys


def by_subject(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


def lookup(toys: Toys, *data: Path) -> Lookup:
    return Lookup(data=data, downloads=toys.folder / "downloads", digests=Digests(toys.folder / "cache"), offline=True)


def build(toys: Toys) -> Path:
    (job,) = toys.jobs()
    return toys.builder().build(job, Console(io.StringIO())).artifact.folder


def test_a_machine_with_room_is_fine(toys: Toys) -> None:
    found = by_subject(examine_machine(toys.settings))
    assert list(found) == ["python", "machine", "store", "cache"]
    assert found["python"].detail.startswith(platform.python_version())
    assert str(os.cpu_count()) in found["machine"].detail
    assert {finding.state for finding in found.values()} <= {"ok", "note"}
    free = os.statvfs(toys.folder)
    assert f"{free.f_bavail * free.f_frsize / 1e9:.0f} GB free" in found["store"].detail
    assert not toys.settings.artifacts.exists(), "looking makes nothing"


def test_a_folder_whose_place_is_a_file_is_lacking(toys: Toys) -> None:
    (toys.folder / "file").touch()
    settings = replace(toys.settings, artifacts=toys.folder / "file" / "artifacts", cache=toys.folder / "file")
    found = by_subject(examine_machine(settings))
    assert [found[subject].state for subject in ("store", "cache")] == ["lacking", "lacking"]
    assert "ARTIFACTS=" in found["store"].remedy
    assert "MODELFARM_CACHE=" in found["cache"].remedy


def test_a_small_disk_is_a_note(toys: Toys, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip()}")
    try:
        store = by_subject(examine_machine(replace(toys.settings, artifacts=folder / "artifacts")))["store"]
    finally:
        subprocess.run(["umount", folder], check=True)
    assert (store.state, store.detail) == ("note", f"{folder / 'artifacts'}, 0 GB free")
    assert "make room" in store.remedy


def test_a_toolchain_that_is_installed_is_fine(toys: Toys) -> None:
    (finding,) = examine_toolchain(toys.target, toys.farm.runner)
    assert (finding.state, finding.subject) == ("ok", "toolchain toy")
    assert str(toys.farm.runner.folder(toys.target)) in finding.detail


def test_a_toolchain_to_come_is_a_note_and_its_interpreter_is_looked_for(toys: Toys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    runner = VenvRunner(environments=toys.folder / "none", torch_index=f"http://127.0.0.1:{port}")
    notes = list(examine_toolchain(toys.target, runner))
    assert [finding.state for finding in notes] == ["note", "note"]
    assert "the first conversion does it" in notes[0].detail
    assert "Connection refused" in notes[1].detail
    assert "TORCH_INDEX=" in notes[1].remedy
    other = list(examine_toolchain(replace(toys.target, python="3.99"), runner))
    assert [finding.state for finding in other] == ["note", "lacking", "note"]
    assert "Python 3.99" in other[1].detail
    assert other[1].remedy == "install Python 3.99"


def test_container_engines_on_the_path_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(examine_engines()) == []
    podman = tmp_path / "podman"
    podman.write_text("#!/bin/sh\n")
    podman.chmod(0o755)
    (finding,) = examine_engines()
    assert (finding.state, finding.subject) == ("note", "podman")
    assert str(podman) in finding.detail


def test_a_store_is_read_to_the_last_byte(toys: Toys) -> None:
    store = Store(toys.settings.artifacts, toys.farm.digests)
    assert [finding.detail for finding in examine_store(store)] == ["0, all whole"]
    folder = build(toys)
    toys.model(gain=3)
    other = build(toys)
    assert [(finding.state, finding.detail) for finding in examine_store(store)] == [("ok", "2, all whole")]
    (folder / "model.toy").write_text('{"gain": 4}')
    (other / "manifest.json").write_text("nothing")
    damaged = list(examine_store(toys.farm.store))
    assert [finding.state for finding in damaged] == ["lacking", "lacking"]
    said = " ".join(finding.detail for finding in damaged)
    assert "model.toy has other content" in said
    assert "manifest.json is no manifest" in said
    assert all("run the job again" in finding.remedy for finding in damaged)


def test_models_without_their_files_are_counted_and_named(toys: Toys) -> None:
    for name in ("a", "b"):
        toys.model(name)
    recipes = [toys.farm.recipe(name) for name in toys.farm.models()]
    (fine,) = examine_recipes(recipes, lookup(toys))
    assert (fine.state, fine.detail) == ("ok", "3 of 3 have their weights and samples here")
    (toys.settings.models / "b" / "toy.pt").unlink()
    (missing,) = examine_recipes(recipes, lookup(toys))
    assert (missing.state, missing.detail) == ("note", "2 of 3 have their weights and samples here; not b")
    assert "MODELFARM_DATA=" in missing.remedy


def test_files_in_a_data_folder_count_and_missing_samples_do_not(toys: Toys) -> None:
    folder = toys.model(more='samples: {arrays: ["*.npz"]}')
    recipe = toys.farm.recipe("toy")
    assert not has_files(recipe, lookup(toys))
    (folder / "x.npz").touch()
    assert has_files(recipe, lookup(toys))
    (toys.folder / "data" / "weights").mkdir(parents=True)
    (folder / "toy.pt").rename(toys.folder / "data" / "weights" / "toy.pt")
    assert not has_files(recipe, lookup(toys))
    assert has_files(recipe, lookup(toys, toys.folder / "data"))


def test_a_whole_examination_ends_well_or_says_that_something_is_lacking(toys: Toys) -> None:
    stream = io.StringIO()
    toys.farm.examine(Console(stream, live=False))
    assert "ok       toolchain toy" in stream.getvalue()
    (build(toys) / "model.toy").unlink()
    with pytest.raises(MachineError, match="this machine lacks something"):
        toys.farm.examine(Console(stream, live=False))
    assert "model.toy is missing" in stream.getvalue()


def test_a_broken_recipe_does_not_end_the_examination(toys: Toys) -> None:
    """The one who asks a doctor has a problem; this may be it."""
    toys.model("a", more="nonsense: 1")
    stream = io.StringIO()
    with pytest.raises(MachineError, match="this machine lacks something"):
        toys.farm.examine(Console(stream, live=False))
    assert "nonsense" in stream.getvalue()
    assert "1 of 1 have their weights" in stream.getvalue()
