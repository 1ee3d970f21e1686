"""Cells and runs: what the index says of each variant, and what has changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelfarm.site.cell import Cell, last_lines, make_cell, read_cell
from modelfarm.site.run import PAUSE, last_run
from modelfarm.site.version import read_versions
from tests.site.shelf import NOON, Shelf

DAY = 86400.0


def cell(shelf: Shelf, model: str = "m", variant: str = "onnx") -> Cell:
    return make_cell(read_versions(shelf.store, model, variant))


def latency(median: float) -> dict[str, float]:
    return {"median_ms": median, "p95_ms": median * 1.2}


def test_a_good_variant_is_summed_up(shelf: Shelf) -> None:
    folder = shelf.good()
    found = cell(shelf)
    assert (found.state, found.version, found.size, found.latency, found.worst) == (
        "verified", folder.name, "1 kB", "10 ms", "0.0005 px")
    assert found.page == f"m/onnx/{folder.name}.html"
    assert found.since == found.reason == found.tail == ""
    assert [event.words for event in found.events] == [("the first version", "1 kB", "10 ms")]


def test_a_failure_after_a_good_version_names_both(shelf: Shelf) -> None:
    good, bad = shelf.good(), shelf.failed(when=NOON + DAY)
    found = cell(shelf)
    assert (found.state, found.version, found.since) == ("failed", bad.name, good.name)
    assert found.since_page == f"m/onnx/{good.name}.html"
    assert found.reason == "gate parity: box is off\n  -> nothing was published"
    assert found.tail == "last words"
    assert found.size == "1 kB"  # of the version that is served
    assert found.events[0].words == ("gate parity: box is off",)


def test_a_variant_that_never_was_good_has_no_version_to_fall_back_on(shelf: Shelf) -> None:
    shelf.failed(reason="")
    found = cell(shelf)
    assert (found.state, found.since, found.reason) == ("failed", "", "nobody said why")


def test_what_was_built_and_not_run_is_not_called_verified(shelf: Shelf) -> None:
    shelf.good(verification={"verified": "built, not run"})
    assert cell(shelf).state == "built"


def test_a_version_is_compared_with_the_last_good_one(shelf: Shelf) -> None:
    shelf.good(number=1, size=1000, latency=latency(10.0), worst={"px": 1e-4})
    shelf.failed(when=NOON + DAY)
    shelf.good(number=2, when=NOON + 2 * DAY, size=1500, latency=latency(2.0), worst={"px": 2e-3})
    event = cell(shelf).events[0]
    assert event.words == ("good again after it failed", "latency 10 -> 2 ms")
    assert event.worse == ("size 1 kB -> 1.5 kB", "error 1.0e-04 -> 2.0e-03 px")


def test_roundings_are_no_change(shelf: Shelf) -> None:
    shelf.good(number=1, size=10_000, worst={"px": 1e-4}, latency=None)
    shelf.good(number=2, when=NOON + DAY, size=10_001, worst={"px": 1.5e-4}, latency=None)
    assert cell(shelf).events[0].words == ()


def test_an_artifact_that_could_be_run_at_last_is_told(shelf: Shelf) -> None:
    shelf.good(number=1, verification={"verified": "built, not run"}, latency=None)
    shelf.good(number=2, when=NOON + DAY, latency=None)
    assert cell(shelf).events[0].words == ("run for the first time: it had only been built",)


def test_damage_is_seen_by_sizes_and_manifests(shelf: Shelf) -> None:
    folder = shelf.good()
    (folder / "model.onnx").write_bytes(b"short")
    assert (cell(shelf).state, cell(shelf).reason) == ("damaged", "model.onnx has 5 bytes where the manifest says 1000")
    (folder / "model.onnx").unlink()
    assert cell(shelf).reason == "model.onnx is missing"
    (folder / "manifest.json").write_text("{")
    assert cell(shelf).reason.startswith("manifest.json is no manifest")
    assert str(shelf.folder) not in cell(shelf).reason
    (folder / "manifest.json").unlink()
    assert cell(shelf).reason == "manifest.json is missing"


def test_a_damaged_smoke_report_leaves_the_artifact_good_and_says_so(shelf: Shelf) -> None:
    folder = shelf.good()
    for content in ("{", "[]", "\0", '"text"'):
        (folder / "smoke.json").write_text(content)
        (version,) = read_versions(shelf.store, "m", "onnx")
        assert version.state == "verified"
        assert version.note.startswith("smoke.json ")
        assert cell(shelf).latency == ""
    (folder / "smoke.json").unlink()
    assert read_versions(shelf.store, "m", "onnx")[0].note == "there is no smoke.json: the figures are unknown"


def test_a_cell_survives_being_remembered(shelf: Shelf) -> None:
    shelf.good()
    shelf.failed(when=NOON + DAY)
    found = cell(shelf)
    assert read_cell(json.loads(json.dumps(found.document()))) == found
    with pytest.raises((TypeError, LookupError)):
        read_cell({"model": "m"})


def test_a_long_log_ends_with_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("$ command\n" + "".join(f"line {number}\n" for number in range(100_000)))
    assert last_lines(log, 3) == "line 99997\nline 99998\nline 99999"
    log.write_text("x" * 5000)
    assert last_lines(log, 3) == "x" * 240 + "…"
    log.write_bytes(b"$ command\n\xff\xfe\n")
    assert last_lines(log, 3) == "��"
    assert last_lines(tmp_path / "none", 3) == ""


def test_the_last_run_is_what_no_pause_divides(shelf: Shelf) -> None:
    shelf.good("old", when=NOON)
    shelf.good("a", when=NOON + DAY)
    shelf.good("b", when=NOON + DAY + PAUSE - 1)
    shelf.failed("c", when=NOON + DAY + 10)
    run = last_run([cell(shelf, name) for name in ("old", "a", "b", "c")])
    assert run
    assert [line.model for line in run.lines] == ["c", "b", "a"]
    assert (run.began, run.ended) == (NOON + DAY, NOON + DAY + PAUSE - 1)


def test_one_variant_can_have_changed_twice_in_a_run(shelf: Shelf) -> None:
    shelf.failed(when=NOON)
    shelf.good(when=NOON + 60)
    run = last_run([cell(shelf)])
    assert run
    assert [line.state for line in run.lines] == ["failed", "verified"]


@pytest.mark.parametrize("smoke", ["{", "[]", '{"latency": 3, "processor": "EPYC"}', '{"worst": {"px": "many"}}'])
def test_nothing_is_said_of_changes_where_the_figures_are_damaged(shelf: Shelf, smoke: str) -> None:
    shelf.good(number=1)
    (shelf.good(number=2, when=NOON + DAY) / "smoke.json").write_text(smoke)
    assert cell(shelf).events[0].words == cell(shelf).events[0].worse == ()


def test_where_nothing_happened_there_was_no_run() -> None:
    assert last_run([]) is None
