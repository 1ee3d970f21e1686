"""The writer: every page that there has to be, whatever lies in the store, and no work twice."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from modelfarm.errors import FarmError
from tests.site.shelf import NOON, Shelf

DAY = 86400.0


def below(folder: Path) -> dict[str, int]:
    """Return every file with the time of its last change."""
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def changed(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


ALWAYS = {"index.html", "style.css", ".memory.json"}


@pytest.fixture
def filled(shelf: Shelf) -> Shelf:
    """Return a store with two good versions of one model, one of another, and a failure, and its report."""
    shelf.good(number=1, pictures=("a.png",))
    shelf.good(number=2, when=NOON + DAY, pictures=("a.png",))
    shelf.good("n", when=NOON)
    shelf.failed("n", "tnn", when=NOON + DAY)
    shelf.write()
    return shelf


def test_every_version_has_a_page_and_the_newest_has_its_pictures(shelf: Shelf) -> None:
    old, new = shelf.good(number=1, pictures=("a.png",)), shelf.good(number=2, when=NOON + DAY, pictures=("a.png",))
    bad = shelf.failed(when=NOON + 2 * DAY)
    written = shelf.write()
    assert (written.pages, written.fresh) == (3, 3)
    assert written.index == shelf.report / "index.html"
    assert set(below(shelf.report)) == {
        *ALWAYS, *(f"m/onnx/{folder.name}.html" for folder in (old, new, bad)), f"m/onnx/{new.name}/a.png.overlay.png"}


def test_a_second_report_writes_the_index_only(filled: Shelf) -> None:
    before = below(filled.report)
    written = filled.write()
    assert (written.pages, written.fresh) == (4, 0)
    assert changed(before, below(filled.report)) <= ALWAYS


def test_a_new_version_writes_the_pages_of_its_variant_only(filled: Shelf) -> None:
    before = below(filled.report)
    new = filled.good("n", number=2, when=NOON + 2 * DAY)
    assert filled.write().fresh == 2
    touched = changed(before, below(filled.report)) - ALWAYS
    assert f"n/onnx/{new.name}.html" in touched
    assert all(name.startswith("n/onnx/") for name in touched)


@pytest.mark.parametrize("file", ["smoke.json", "convert.log", "model.onnx"])
def test_a_change_inside_a_version_is_seen(filled: Shelf, file: str) -> None:
    (folder,) = filled.store.folders("n", "onnx")
    (folder / file).write_text("{}")
    assert filled.write().fresh == 1


def test_what_is_collected_leaves_the_report_too(filled: Shelf) -> None:
    gone = next(folder for folder in filled.store.folders("m", "onnx") if folder != filled.latest())
    shutil.rmtree(gone)
    shutil.rmtree(filled.store.root / "n")
    shutil.rmtree(filled.store.root / "failed")
    filled.write()
    assert not (filled.report / "n").exists()
    assert not (filled.report / "m" / "onnx" / f"{gone.name}.html").exists()
    assert filled.page().texts(".//tbody/tr/th") == ["m"]


def test_a_page_that_is_lost_is_written_again(filled: Shelf) -> None:
    (folder,) = filled.store.folders("n", "onnx")
    page = filled.page_of(folder).file
    page.unlink()
    assert filled.write().fresh == 1
    assert page.is_file()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"variants": 3}', '{"variants": {"m/onnx": {"stamp": "x"}}}'])
def test_a_damaged_memory_costs_time_and_nothing_else(filled: Shelf, content: str) -> None:
    (filled.report / ".memory.json").write_text(content)
    assert filled.write().fresh == 4


def test_another_program_writes_everything_anew(filled: Shelf) -> None:
    memory = filled.report / ".memory.json"
    memory.write_text(json.dumps({**json.loads(memory.read_text()), "program": "an older one"}))
    assert filled.write().fresh == 4


def test_a_memory_that_was_changed_cannot_lead_out_of_the_folder(filled: Shelf, tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("x")
    memory = filled.report / ".memory.json"
    document = json.loads(memory.read_text())
    document["variants"]["m/onnx"]["files"] += ["../../precious.txt", str(precious)]
    memory.write_text(json.dumps(document))
    filled.write()
    assert precious.is_file()


def test_a_report_over_an_empty_store_says_what_to_do(shelf: Shelf) -> None:
    shelf.write()
    page = shelf.page()
    assert "Nothing has been converted yet: make demo is a start." in page.words
    assert page.faults() == []


def test_the_store_is_none_the_poorer(filled: Shelf) -> None:
    kept = {name: time for name, time in below(filled.store.root).items() if not name.startswith("report/")}
    (folder,) = filled.store.folders("n", "onnx")
    filled.page_of(folder).file.write_text("scribble")
    filled.write()
    shutil.rmtree(filled.report)
    assert below(filled.store.root) == kept
    assert list(filled.store.damages()) == []


def test_pictures_come_along_where_the_disk_has_no_links(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shelf.good(pictures=("a.png",))

    def refused(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    shelf.write()
    copied = shelf.report / "m" / "onnx" / folder.name / "a.png.overlay.png"
    assert copied.read_bytes() == (folder / "a.png.overlay.png").read_bytes()
    assert copied.stat().st_nlink == 1


def test_no_half_page_and_no_leftover_stays(filled: Shelf) -> None:
    assert [name for name in below(filled.report) if Path(name).name.startswith(".")] == [".memory.json"]


def test_a_place_that_is_no_folder_is_explained(shelf: Shelf) -> None:
    shelf.good()
    shelf.report.write_text("in the way")
    with pytest.raises(FarmError, match="something else: .*report"):
        shelf.write()
