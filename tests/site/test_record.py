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
    assert "code 3" in shelf.page().section("runs")


def test_a_job_that_was_not_started_fails_beside_its_good_version(shelf: Shelf) -> None:
    good = shelf.good("m", "tnn")
    night(shelf, row("m", "tnn", "failed", reason="not started: it starts from m/onnx-for-tnn, which failed",
                     version="0" * 16))
    shelf.write()
    assert states(shelf) == {"m/tnn": "failed"}
    assert f"{good.name} stays the latest good version" in shelf.page().section("failures")


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
