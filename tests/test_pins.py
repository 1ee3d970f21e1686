"""The lock file of images: read with every problem named, written whole, by one process after the other."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelfarm.errors import MachineError, RecipeError
from modelfarm.pins import (
    BasePin,
    ImagePin,
    Pins,
    change_pins,
    published_lock,
    read_pins,
    today,
)
from modelfarm.target import TOOLCHAINS

BASE = BasePin(image="host:5000/debian", tag="bookworm-slim", digest=f"sha256:{'1' * 64}", date="2026-07-31")
IMAGE = ImagePin(image=f"host:5000/farm/onnx@sha256:{'2' * 64}", identity=f"sha256:{'3' * 64}", sources="4" * 64,
                 content="5" * 64, size=123456789, architecture="amd64", date="2026-08-01")
PINS = Pins(bases={"bookworm": BASE}, images={"onnx": IMAGE})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "images.lock"
    change_pins(file, lambda pins: PINS)
    return file


def test_what_was_written_is_read(file: Path) -> None:
    assert read_pins(file) == PINS


def test_the_names_of_a_pin_are_parts_of_it() -> None:
    assert BASE.reference == f"host:5000/debian@sha256:{'1' * 64}"
    assert (IMAGE.repository, IMAGE.digest) == ("host:5000/farm/onnx", f"sha256:{'2' * 64}")
    assert IMAGE.tagged == f"host:5000/farm/onnx:{'4' * 16}"


def test_a_file_that_is_not_there_pins_nothing(tmp_path: Path) -> None:
    assert read_pins(tmp_path / "images.lock") == Pins(bases={}, images={})


def test_the_same_pins_are_the_same_bytes_in_any_order(file: Path, tmp_path: Path) -> None:
    other = replace(IMAGE, date="2026-01-01")
    change_pins(file, lambda pins: replace(pins, images={"tnn": other, "onnx": IMAGE}))
    second = tmp_path / "second.lock"
    change_pins(second, lambda pins: replace(PINS, images={"onnx": IMAGE, "tnn": other}))
    assert file.read_bytes() == second.read_bytes()
    lines = file.read_text().splitlines()
    assert lines[0].startswith("# Images by digest.")
    assert lines.index("bases:") < lines.index("images:")
    assert lines.index("  onnx:") < lines.index("  tnn:")


def test_a_change_sees_what_is_there_and_leaves_the_rest(file: Path) -> None:
    change_pins(file, lambda pins: replace(pins, bases={}))
    assert read_pins(file) == replace(PINS, bases={})
    assert [path.name for path in file.parent.iterdir()] == ["images.lock"]


@pytest.mark.parametrize(("old", "new", "said"), [
    ("sha256:" + "1" * 64, "sha256:" + "1" * 63, "images.lock:6: bases.bookworm.digest: expected sha256: and 64 hex"),
    ("sha256:" + "1" * 64, "latest", "bases.bookworm.digest: expected sha256: and 64 hex digits, found 'latest'"),
    ("@sha256:" + "2" * 64, ":latest", "images.onnx.image: expected a name with its digest"),
    ("host:5000/farm", "Host:5000/Farm", "images.onnx.image: expected a name with its digest"),
    ("'2026-08-01'", "yesterday", "images.onnx.date: expected a date"),
    ("size: 123456789", "size: -1", "images.onnx.size: expected a whole number of at least 0"),
    ("content:", "contents:", "unknown key; did you mean content?"),
    ("    architecture: amd64\n", "", "images.lock:10: images.onnx: 'architecture' is missing"),
    ("bases:", "base:", "'bases' is missing"),
    ("images:", "images: [", "not valid YAML"),
])
def test_each_problem_is_named_with_its_line(file: Path, old: str, new: str, said: str) -> None:
    text = file.read_text()
    assert old in text
    head, tail = text.split("bases:", 1)
    file.write_text(head + ("bases:" + tail).replace(old, new, 1))
    with pytest.raises(RecipeError) as caught:
        read_pins(file)
    assert said in str(caught.value)


def test_a_damaged_file_is_not_written_over(file: Path) -> None:
    file.write_text("bases: {}\nimages: {}\nmore: 1\n")
    with pytest.raises(RecipeError, match="unknown key"):
        change_pins(file, lambda pins: PINS)
    assert file.read_text().endswith("more: 1\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_a_machine_error(file: Path) -> None:
    file.parent.chmod(0o500)
    try:
        with pytest.raises(MachineError, match="images.lock cannot be written: Permission denied"):
            change_pins(file, lambda pins: PINS)
    finally:
        file.parent.chmod(0o700)


def test_a_folder_that_is_not_there_is_a_machine_error(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="images.lock cannot be written: No such file"):
        change_pins(tmp_path / "nowhere" / "images.lock", lambda pins: PINS)


def test_a_change_that_fails_leaves_the_file_and_nothing_beside_it(file: Path) -> None:
    before = file.read_bytes()

    def fail(pins: Pins) -> Pins:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        change_pins(file, fail)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def _add(file: Path, names: list[str]) -> None:
    for name in names:
        change_pins(file, lambda pins, name=name: replace(pins, images={**pins.images, name: IMAGE}))


def test_processes_that_write_at_once_lose_nothing(file: Path) -> None:
    groups = [[f"t{worker}{index}" for index in range(8)] for worker in range(3)]
    workers = [multiprocessing.get_context("spawn").Process(target=_add, args=(file, group)) for group in groups]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert set(read_pins(file).images) == {"onnx", *(name for group in groups for name in group)}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_environment_names_another_file(home: Path) -> None:
    assert published_lock(home / "docker", {}) == home / "docker" / "images.lock"
    assert published_lock(home / "docker", {"IMAGES_LOCK": "own.lock"}) == home / "own.lock"
    assert published_lock(home / "docker", {"IMAGES_LOCK": "~/own.lock"}) == home / "own.lock"


def test_the_projects_own_lock_pins_both_bases() -> None:
    pins = read_pins(TOOLCHAINS / "images.lock")
    assert {"bookworm", "bullseye"} <= set(pins.bases)
    assert {release: pin.tag for release, pin in pins.bases.items()} == {
        release: f"{release}-slim" for release in pins.bases}


def test_today_is_a_date_that_the_file_takes(file: Path) -> None:
    change_pins(file, lambda pins: replace(pins, bases={"bookworm": replace(BASE, date=today())}))
    assert read_pins(file).bases["bookworm"].date == today()
