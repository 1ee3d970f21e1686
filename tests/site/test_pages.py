"""The pages: valid, accessible, and saying what the store says, whatever that is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.site.shelf import GATES, NOON, SVG, Page, Shelf, row, smoke

DAY = 86400.0
HOSTILE = "</title><script>alert(1)</script>&amp;'\" <b onclick=x>\x1b[31mred\x1b[0m\x00\x07\ud800"


def every_page(shelf: Shelf) -> Iterator[Page]:
    yield from (Page(file=file) for file in sorted(shelf.report.rglob("*.html")))


@pytest.fixture
def full(shelf: Shelf) -> Shelf:
    """Return a store with every kind of version, and its report."""
    shelf.good(number=1, pictures=("a.png", "b.png"))
    shelf.good(number=2, when=NOON + DAY, pictures=("a.png", "b.png"), size=1500)
    shelf.good("n", "trt", verification={"verified": "built, not run"}, columns=[], parity=[], predictions=[],
               latency=None, worst={}, random_weights=True)
    shelf.failed("n", when=NOON + DAY)
    damaged = shelf.good("n", "tflite-uint8")
    (damaged / "model.onnx").unlink()
    shelf.write()
    return shelf


def test_every_page_is_valid_and_leads_only_where_something_is(full: Shelf) -> None:
    pages = list(every_page(full))
    assert len(pages) == 6
    assert {page.file.name: page.faults() for page in pages if page.faults()} == {}


def test_the_index_counts_states_in_words(full: Shelf) -> None:
    assert full.page().texts(".//ul[@class='totals']/li") == ["✓verified 1", "◆built 1", "✕failed 1", "!damaged 1"]
    assert "2 models, 4 variants." in full.page().words


def test_the_index_says_first_what_changed(full: Shelf) -> None:
    headings = full.page().texts(".//h2")
    assert headings == ["What changed in the last run", "Failures", "All models"]
    lines = full.page().texts(".//section[@aria-labelledby='changes']/ul/li")
    assert lines == ["✕failed n onnx gate parity: box is off", "✓verified m onnx regressed: size 1 kB -> 1.5 kB"]


def test_failures_come_with_message_and_the_end_of_their_log(full: Shelf) -> None:
    failures = full.page().section("failures")
    assert "gate parity: box is off -> nothing was published" in failures
    assert "last words" in failures
    assert "python -m jobkit" not in failures
    assert "model.onnx is missing" in failures


def test_the_matrix_has_a_cell_for_each_variant_with_its_state_as_a_word(full: Shelf) -> None:
    rows = full.page().all(".//table[@class='matrix']/tbody/tr")
    states = {row.get("data-model"): {cell.get("data-variant"): cell.get("data-state") for cell in row.findall("td")}
              for row in rows}
    assert states == {"m": {"onnx": "verified", "tflite-uint8": None, "trt": None},
                      "n": {"onnx": "failed", "tflite-uint8": "damaged", "trt": "built"}}
    words = full.page().texts(".//table[@class='matrix']/tbody/tr/td")
    assert "n/trt: ◆built" in words[5]
    assert "random weights" in words[5]
    assert words[1] == "·none"


def test_a_version_shows_its_gates_errors_and_figures(full: Shelf) -> None:
    page = full.page_of(full.latest())
    assert [text.split()[0] for text in page.texts(".//table[@class='gates']/tbody/tr")] == list(GATES)
    assert "box px 0.0005 5e-05 5e-06 0.999999995 0.001 a.png ✓passed" in page.section("errors")
    assert "10 ms p95 12 ms" in page.section("glance")
    assert "Conv 6" in page.section("graph")
    assert "opset 12" in page.section("graph")
    assert "m.pt" in page.section("provenance")
    assert "of the recipe" in page.section("provenance")
    assert "toolchain: convert 2.5" in page.section("times")
    assert "converted" in page.section("logs")
    assert "Since the last good version: size 1 kB -> 1.5 kB" in page.section("glance")


def test_plots_have_a_title_a_description_and_a_table(full: Shelf) -> None:
    page = full.page_of(full.latest())
    drawings = page.drawings()
    assert [drawing.find(f"{SVG}title").text for drawing in drawings] == [
        "Greatest error of each column, as a part of its limit", "Latency, ms, over the versions",
        "Size, kB, over the versions"]
    assert all(drawing.get("role") == "img" and drawing.find(f"{SVG}desc").text for drawing in drawings)
    assert "closest to its limit is box, at 50 % of it" in drawings[0].find(f"{SVG}desc").text
    assert "2 versions, from 1 kB to 1.5 kB" in drawings[2].find(f"{SVG}desc").text
    assert "1.5 kB" in page.section("time")


def test_pictures_are_told_in_words(full: Shelf) -> None:
    page = full.page_of(full.latest())
    assert [(image.get("alt"), image.get("width"), image.get("height")) for image in page.all(".//img")] == [
        ("a.png: source and artifact find cat 0.75, dog 0.25", "40", "20"),
        ("b.png: the source finds 0.875 at 1.5 2.0 30.2 40.0 with 2 landmarks; the artifact nothing", "40", "20")]


def test_an_older_version_leads_to_the_newer_and_has_no_pictures(full: Shelf) -> None:
    page = full.page_of(next(folder for folder in full.store.folders("m", "onnx") if folder != full.latest()))
    assert page.all(".//img") == []
    assert "A newer version:" in page.words
    assert "latest" not in page.texts(".//header")[0]


def test_what_was_built_and_not_run_is_said_to_be_unproven(full: Shelf) -> None:
    (folder,) = full.store.folders("n", "trt")
    page = full.page_of(folder)
    assert "nobody has seen here what it computes" in page.section("gates")
    assert "verified" not in page.words
    assert "random weights: for sizes and times, not for results" in page.words


def test_a_failure_shows_message_and_log_before_everything_else(full: Shelf) -> None:
    (failure,) = full.store.failures_of("n", "onnx")
    page = full.page_of(failure.folder)
    assert page.texts(".//main/section")[0].startswith("Why it failed gate parity: box is off")
    assert "last words" in page.texts(".//main/section")[0]
    assert f"failed/n/onnx/{failure.version}" in page.words


def test_a_damaged_artifact_is_shown_as_such(full: Shelf) -> None:
    (folder,) = full.store.folders("n", "tflite-uint8")
    page = full.page_of(folder)
    assert page.section("why").startswith("Why it is damaged model.onnx is missing")


def test_no_place_of_the_machine_is_on_the_pages(full: Shelf) -> None:
    assert [page.file.name for page in every_page(full) if str(full.folder) in page.source] == []


def test_facts_that_nobody_knows_yet_are_shown(shelf: Shelf) -> None:
    tensors = [{"tensor": f"t{number}", "scale": 0.5, "zero_point": number} for number in range(40)]
    facts = {"quantisation": tensors, "layers": [{"layer": "conv1", "snr": 12.5}], "select_ops": ["FlexErf"],
             "colour": {"name": "blue", "parts": [1, [2, {"deep": "value"}]]}, "lint": [],
             "edited": {"changed": ["batch: 1 -> 4", "batch: equal bit for bit on 5 samples"]}}
    folder = shelf.good(facts=facts, engine_plan={"layers": 12})
    shelf.write()
    page = shelf.page_of(folder)
    graph = page.section("graph")
    for words in ("40 tensors", "t39 0.5 39", "conv1 12.5", "FlexErf", "deep value", "batch: equal bit for bit"):
        assert words in graph
    assert "engine_plan" in page.section("provenance")
    assert page.faults() == []


def test_what_a_recipe_widens_is_shown_with_its_reason(shelf: Shelf) -> None:
    widened = [{"unit": "px", "measure": "error", "limit": 0.5, "because": "eight bits are coarse"}]
    folder = shelf.good(verification={"widenedLimits": widened}, devices={"plain": {"passed": True, "failure": ""}})
    shelf.write()
    assert "eight bits are coarse" in shelf.page_of(folder).section("gates")
    assert "plain" in shelf.page_of(folder).section("gates")


def test_a_column_over_its_limit_is_said_to_be_over_in_plot_and_table(shelf: Shelf) -> None:
    failure = shelf.failed()
    document = smoke(columns=[row("box", 0.5)], passed=False)
    (failure / "smoke.json").write_text(json.dumps(document))
    shelf.write()
    page = shelf.page_of(failure)
    assert "500 times of the limit, over" in page.section("errors")
    assert "✕failed" in page.section("errors")


def test_nothing_in_a_store_becomes_markup(shelf: Shelf) -> None:
    folder = shelf.good(description=HOSTILE, options={HOSTILE: HOSTILE}, facts={HOSTILE: [HOSTILE, {"x": HOSTILE}]},
                        gates=[{"name": HOSTILE, "state": HOSTILE, "summary": HOSTILE, "reasons": [HOSTILE]}],
                        columns=[row(HOSTILE, 1e-4, sample=HOSTILE)], versions={HOSTILE: HOSTILE},
                        predictions=[{"sample": HOSTILE, "reference": [{"labels": [HOSTILE], "scores": [1]}]}],
                        pictures=("a.png",))
    failure = shelf.failed(reason="", log="")
    (failure / "reason.txt").write_bytes(HOSTILE.encode("utf-8", "surrogatepass"))
    (failure / "convert.log").write_bytes(HOSTILE.encode("utf-8", "surrogatepass") + bytes(range(256)))
    shelf.write()
    for page in (shelf.page(), shelf.page_of(folder), shelf.page_of(failure)):
        assert page.faults() == []
        scripts = [script for script in page.tree.iter("script") if "alert" in (script.text or "")]
        assert scripts == []
        assert not [element for element in page.tree.iter() if element.get("onclick")]
    assert "<b onclick=x>red" in shelf.page_of(failure).words


@pytest.mark.parametrize("model", ["größe", "a b", "50%", "a#b", "a?b", "a&b", "it's", "a+b", "ж" * 40])
def test_names_that_need_quoting_are_led_to(shelf: Shelf, model: str) -> None:
    shelf.good(model, pictures=("a picture #1.png",))
    shelf.write()
    assert [page.faults() for page in every_page(shelf)] == [[], []]
    assert len(list(shelf.page().links())) > 3
    assert model in shelf.page().texts(".//tbody/tr/th")


_ODD: list[Any] = [None, 3, "text", [], [3], {"a": {"b": [1, [2]]}}, [{}], True, [{"sample": 3}]]


@pytest.mark.parametrize("value", _ODD, ids=map(str, range(len(_ODD))))
def test_no_odd_document_stops_the_report(shelf: Shelf, value: Any) -> None:
    for number, name in enumerate(smoke()):
        folder = shelf.good(number=number, when=NOON + number)
        (folder / "smoke.json").write_text(json.dumps(smoke(**{name: value})))
    shelf.good(number=999, verification={"verified": value, "widenedLimits": value, "facts": value})
    (shelf.failed() / "result.json").write_text(json.dumps(value))
    shelf.write()
    for page in every_page(shelf):
        assert page.faults() == []


def test_a_picture_that_is_none_is_left_out(shelf: Shelf) -> None:
    folder = shelf.good(pictures=("a.png",))
    (folder / "b.png.overlay.png").write_bytes(b"no picture")
    (folder / "c.png.overlay.png").write_bytes(b"")
    shelf.write()
    assert len(shelf.page_of(folder).all(".//img")) == 1
    assert shelf.page_of(folder).faults() == []


def test_of_a_long_log_the_end_is_shown_and_the_rest_counted(shelf: Shelf) -> None:
    failure = shelf.failed(log="first line\n" + "x" * 99 + "\n" + ("y" * 99 + "\n") * 2000 + "the end\n")
    shelf.write()
    logs = shelf.page_of(failure).section("logs")
    assert "the end" in logs
    assert "first line" not in logs
    assert "before it are left out" in logs


def test_many_failures_and_changes_fold_away(shelf: Shelf) -> None:
    for number in range(60):
        shelf.failed(f"m{number:02}", when=NOON + number)
    shelf.write()
    page = shelf.page()
    assert len(page.all(".//article")) == 25
    assert "and 20 more" in page.section("changes")
    assert all(f"m{number:02}" in page.section("failures") for number in range(60))
    assert page.faults() == []


def test_the_report_can_be_moved(full: Shelf, tmp_path: Path) -> None:
    goal = tmp_path / "elsewhere"
    full.report.rename(goal)
    assert [Page(file=file).faults() for file in goal.rglob("*.html") if Page(file=file).faults()] == []


def test_gates_that_were_not_run_give_their_reason_once(shelf: Shelf) -> None:
    gates = [{"name": name, "state": "passed" if name == "complete" else "not run",
              "summary": "present" if name == "complete" else "there is no GPU here", "reasons": []} for name in GATES]
    folder = shelf.good(verification={"verified": "built, not run"}, gates=gates)
    shelf.write()
    page = shelf.page_of(folder)
    assert page.section("gates").count("there is no GPU here") == 1
    assert [cell.get("rowspan") for cell in page.all(".//table[@class='gates']//td[@rowspan]")] == ["6"]
    assert "Ran on" not in page.section("glance")
    assert page.faults() == []


def test_a_failure_without_figures_shows_its_job_and_no_empty_parts(shelf: Shelf) -> None:
    folder = shelf.failed()
    shelf.write()
    assert "At a glance" not in shelf.page_of(folder).words
    assert "Where it comes from" not in shelf.page_of(folder).words
    for content, said in (('{"options": {"opset": 17}}', True), ("{", False), ("[1]", False)):
        (folder / "job.json").write_text(content)
        shelf.write()
        assert ("The job, as the toolchain got it" in shelf.page_of(folder).words) == said
        assert ("opset 17" in shelf.page_of(folder).words) == said


def test_hundreds_of_dropped_nodes_fold_away(shelf: Shelf) -> None:
    lines = [f"cut: dropped Slice /{number}, which nothing reads" for number in range(300)]
    folder = shelf.good(facts={"edited": {"changed": [*lines, "cut: equal on 3 samples"]}})
    shelf.write()
    page = shelf.page_of(folder)
    shown = page.all(".//ol[@class='steps']/li/ul/li")
    assert len(shown) == 2
    assert "and 299 more of the kind" in page.section("graph") and "/299," in page.section("graph")
    assert page.faults() == []
