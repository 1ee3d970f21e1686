"""Nights: what their records say of variants, beside what the store says."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from modelfarm.night import NIGHTS, Night, Row, write_night
from modelfarm.site.record import moment
from tests.site.shelf import NOON, Shelf

DAY = 86400.0


def stamp(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


def row(model: str = "m", variant: str = "onnx", state: str = "cached", **changes: Any) -> Row:
    return replace(Row(model=model, variant=variant, target="onnx", state=state), **changes)


def night(shelf: Shelf, *rows: Row, when: float = NOON + DAY, **changes: Any) -> None:
    plain = Night(began=stamp(when - 600), ended=stamp(when), seconds=600.0, engine="local", strict=False, whole=True,
                  complete=True, code=0, rows=rows)
    write_night(shelf.store, replace(plain, **changes))


def states(shelf: Shelf) -> dict[str, str]:
    cells = shelf.page().all(".//table[@class='matrix']/tbody/tr/td[@data-state]")
    rows = shelf.page().all(".//table[@class='matrix']/tbody/tr")
    found = {f"{row.get('data-model')}/{cell.get('data-variant')}": cell.get("data-state")
             for row in rows for cell in row.findall("td") if cell.get("data-state")}
    assert len(found) == len(cells)
    assert shelf.page().faults() == []
    return found


def test_a_night_says_what_was_cached_and_skipped(shelf: Shelf) -> None:
    kept, made = shelf.good(), shelf.good("n", when=NOON + DAY - 60)
    night(shelf, row(version=kept.name), row("n", state="verified", version=made.name),
          row("m", "trt-fp16", "skipped", reason="there is no GPU here", remedy="run it where there is one", code=4))
    shelf.write()
    assert states(shelf) == {"m/onnx": "cached", "m/trt-fp16": "skipped", "n/onnx": "verified"}
    changes = shelf.page().section("changes")
    assert "the night took 10 minutes; 1 were there already; 1 skipped" in changes
    assert shelf.page().texts(".//section[@aria-labelledby='changes']/ul/li") == ["✓verified n onnx the first version"]
    assert "there is no GPU here" in shelf.page().section("matrix")
    assert "skipped" in shelf.page().section("matrix").rpartition("trt-fp16")[2]


def test_a_skipped_variant_still_leads_to_its_good_version(shelf: Shelf) -> None:
    good = shelf.good("m", "trt")
    night(shelf, row("m", "trt", "skipped", reason="no GPU"))
    shelf.write()
    links = [link.get("href") for link in shelf.page().all(".//table[@class='matrix']//a")]
    assert f"m/trt/{good.name}.html" in links


def test_a_failure_without_anything_kept_is_among_the_failures(shelf: Shelf) -> None:
    night(shelf, row("broken", "onnx", "failed", reason="the recipe has 2 problems", remedy="mend it", code=3), code=3)
    shelf.write()
    assert states(shelf) == {"broken/onnx": "failed"}
    assert "the recipe has 2 problems -> mend it" in shelf.page().section("failures")
    assert "✕failed broken onnx the recipe has 2 problems" in shelf.page().section("changes")
    assert "3: a recipe has problems" in shelf.page().section("runs")


def test_a_job_that_was_not_started_fails_beside_its_good_version(shelf: Shelf) -> None:
    good = shelf.good("m", "tnn")
    night(shelf, row("m", "tnn", "failed", reason="not started: it starts from m/onnx-for-tnn, which failed",
                     version="0" * 16))
    shelf.write()
    assert states(shelf) == {"m/tnn": "failed"}
    assert f"still good: tnn m/tnn {good.name[:7]}" in shelf.page().section("failures")


def test_what_was_made_after_the_night_is_what_changed_last(shelf: Shelf) -> None:
    kept = shelf.good()
    night(shelf, row(version=kept.name))
    new = shelf.good(number=2, when=NOON + 2 * DAY)
    shelf.write()
    assert states(shelf) == {"m/onnx": "verified"}
    assert "the night took" not in shelf.page().section("changes")
    assert new.name in shelf.page().source.partition('id="matrix"')[0]


def test_a_variant_that_the_night_found_good_is_not_failed_for_an_older_failure(shelf: Shelf) -> None:
    kept = shelf.good()
    shelf.failed(when=NOON + 60)
    night(shelf, row(version=kept.name))
    shelf.write()
    assert states(shelf) == {"m/onnx": "cached"}
    assert shelf.page().section("failures") == ""
    assert f"m/onnx/{kept.name}.html" in list(shelf.page().links())


def test_regressions_come_before_other_changes(shelf: Shelf) -> None:
    one, other = shelf.good("a", when=NOON + DAY - 60), shelf.good("b", when=NOON + DAY - 60)
    night(shelf, row("a", state="verified", version=one.name, since="f" * 16, changes=("size 1 kB -> 2 kB",)),
          row("b", state="verified", version=other.name, since="f" * 16, changes=("latency 1 -> 5 ms", "error down"),
              regressions=("latency 1 -> 5 ms",)), code=6)
    shelf.write()
    assert shelf.page().texts(".//section[@aria-labelledby='changes']/ul/li") == [
        "✓verified b onnx regressed: latency 1 -> 5 ms; error down", "✓verified a onnx size 1 kB -> 2 kB"]


def test_what_recovered_since_the_night_before_is_told(shelf: Shelf) -> None:
    kept = shelf.good()
    night(shelf, row(state="failed", reason="no disk space", version=kept.name), when=NOON + DAY)
    night(shelf, row(version=kept.name), when=NOON + 2 * DAY)
    shelf.write()
    assert "=cached m onnx good again after it failed" in shelf.page().section("changes")
    assert len(shelf.page().all(".//section[@aria-labelledby='runs']//tbody/tr")) == 2


def test_a_night_in_which_nothing_happened_says_so(shelf: Shelf) -> None:
    kept = shelf.good()
    night(shelf, row(version=kept.name))
    shelf.write()
    assert "Nothing: every artifact was there already." in shelf.page().section("changes")


@pytest.mark.parametrize("change", [{"seconds": "long"}, {"began": 3}, {"code": "x"}, {"rows": [{"model": 3}]},
                                    {"rows": 3}, {"schema": 99}])
def test_a_record_that_is_none_is_left_out(shelf: Shelf, change: dict[str, Any]) -> None:
    kept = shelf.good()
    night(shelf, row(version=kept.name))
    (file,) = (shelf.store.root / NIGHTS).glob("*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    shelf.write()
    assert states(shelf) == {"m/onnx": "verified"}
    file.write_text("{")
    shelf.write()
    assert states(shelf) == {"m/onnx": "verified"}


def test_the_times_of_nights_are_utc() -> None:
    assert moment(stamp(NOON)) == NOON
    assert moment("yesterday") == 0.0


def test_what_was_not_started_stands_with_what_it_waited_for(shelf: Shelf) -> None:
    shelf.good("m", "tnn-fp32")
    night(shelf, row("m", "onnx-for-tnn", "failed", reason="gate golden: no cat", version="1" * 16),
          row("m", "onnx", "failed", reason="gate golden: no cat", version="2" * 16),
          row("m", "tnn-fp32", "failed", reason="not started", version="3" * 16, waited_for="m/onnx-for-tnn"),
          row("m", "tnn-fp16", "failed", reason="not started", version="4" * 16, waited_for="m/tnn-fp32"),
          row("n", "onnx", "failed", reason="gate golden: no cat", version="5" * 16), code=6)
    shelf.write()
    told = shelf.page().texts(".//section[@aria-labelledby='failures']/article")
    assert [words.partition(" 2026")[0] for words in told] == [
        "✕failed m onnx, onnx-for-tnn gate golden: no cat Not started for it: tnn-fp16, tnn-fp32.",
        "✕failed n onnx gate golden: no cat"]
    assert "still good: tnn-fp32" in told[0]
    assert "m/tnn-fp16" not in shelf.page().section("matrix")
    assert shelf.page().section("matrix").count("not started") == 1, "the other is still good"
    assert "5 to look at" in shelf.page().source.partition("</title>")[0]


@pytest.mark.parametrize("waited_for", ["m/tnn", "m/gone", "m/onnx"])
def test_a_job_that_waited_for_nothing_known_is_told_by_itself(shelf: Shelf, waited_for: str) -> None:
    night(shelf, row("m", "tnn", "failed", reason="not started", version="1" * 16, waited_for=waited_for),
          row("m", "onnx", "failed", reason="not started either", version="2" * 16, waited_for="m/tnn"))
    shelf.write()
    words = shelf.page().section("failures")
    assert "tnn" in words and "onnx" in words and shelf.page().faults() == []


def test_a_failure_that_nobody_asks_for_any_more_is_no_trouble(shelf: Shelf) -> None:
    shelf.failed("m", "tnn", when=NOON)
    shelf.failed("other", when=NOON)
    kept = shelf.good()
    night(shelf, row(version=kept.name))
    shelf.write()
    assert shelf.page().texts(".//section[@aria-labelledby='failures']/article")[0].startswith("✕failed other onnx")
    assert "did not ask any more for m tnn, which failed before" in shelf.page().section("failures")
    assert "1 to look at" in shelf.page().source.partition("</title>")[0]
    shelf.failed("m", "tnn", number=2, when=NOON + 2 * DAY)
    shelf.write()
    assert len(shelf.page().texts(".//section[@aria-labelledby='failures']/article")) == 2


def test_thresholds_that_were_moved_are_told(shelf: Shelf) -> None:
    kept = shelf.good()
    night(shelf, row(version=kept.name), regression="latency=3 size=1.2")
    shelf.write()
    assert 'regressions by REGRESSION="latency=3 size=1.2"' in shelf.page().section("changes")
    assert 'all well REGRESSION="latency=3 size=1.2"' in " ".join(shelf.page().section("runs").split())


@pytest.mark.parametrize(("changes", "said"), [
    ({"code": 6, "rows": (row(state="verified", regressions=("size",), changes=("size",)),)}, "6: something got worse"),
    ({"code": 6, "rows": (row(state="failed"),)}, "6: a result did not pass a gate"),
    ({"code": 4, "complete": False, "rows": ()}, "4: this machine lacks something that the job needs; interrupted"),
    ({"code": 99, "rows": ()}, "99: an error inside the farm itself"), ({"rows": ()}, "all well")])
def test_a_night_ends_in_words(shelf: Shelf, changes: dict[str, Any], said: str) -> None:
    shelf.good()
    night(shelf, **changes)
    shelf.write()
    assert said in shelf.page().section("runs")


def test_first_versions_come_with_figures_and_steps_on_the_way_last(shelf: Shelf) -> None:
    step, made = shelf.good("m", "onnx-for-tnn", when=NOON + DAY - 60), shelf.good("m", "tnn", when=NOON + DAY - 60)
    night(shelf, row("m", "onnx-for-tnn", state="verified", version=step.name, size=2000),
          row("m", "tnn", state="verified", version=made.name, size=1000, latency={"median_ms": 2716.4}),
          row("m", "odd", state="verified", size="big", latency=3), row("m", "same", state="verified", since="f" * 16))
    shelf.write()
    assert shelf.page().texts(".//section[@aria-labelledby='changes']/ul/li") == [
        "✓verified m tnn the first version, 1 kB, 2716 ms", "✓verified m odd the first version",
        "✓verified m same its figures are as before"]
    folded = shelf.page().texts(".//section[@aria-labelledby='changes']/details")
    assert folded == ["1 on the way to others ✓verified m onnx-for-tnn the first version, 2 kB"]
    heads = shelf.page().texts(".//table[@class='matrix']//thead//th")
    assert heads == ["Model", "odd", "same", "tnn", "onnx-for-tnn"]


def test_what_was_never_run_is_not_proven_by_being_cached(shelf: Shelf) -> None:
    built, made = shelf.good("m", "trt", verification={"verified": "built, not run"}), shelf.good("m", "onnx")
    night(shelf, row("m", "trt", version=built.name), row("m", "onnx", version=made.name))
    shelf.write()
    cells = shelf.page().texts(".//table[@class='matrix']/tbody/tr/td")
    assert "=cached" in cells[1] and cells[1].endswith("built, not run")
    assert "=cached" in cells[0] and "not run" not in cells[0]
