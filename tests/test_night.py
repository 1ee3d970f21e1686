"""Nights in the store: what is written is what is read, whole, and in order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelfarm.digest import Digests
from modelfarm.night import NIGHTS, SCHEMA, STATES, Night, Row, nights, now, read_night, write_night
from modelfarm.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artifacts", Digests(tmp_path / "cache"))


def night(*rows: Row, began: str = "2026-11-25T02:15:00Z") -> Night:
    return Night(began=began, ended="2026-11-25T03:15:00Z", seconds=3600.0, engine="local", strict=False, whole=True,
                 complete=True, code=0, rows=rows)


def row(state: str = "verified", **other: object) -> Row:
    return Row(**{"model": "digits", "variant": "onnx", "target": "onnx", "state": state, **other})  # type: ignore[arg-type]


def test_what_is_written_is_what_is_read(store: Store) -> None:
    written = night(row(worst={"px": 1e-4}, latency={"median_ms": 1.5, "p95_ms": 2.0}, size=10, key="0" * 64),
                    row("failed", reason="no", remedy="yes", code=5, failed="failed/digits/onnx/00"))
    file = write_night(store, written)
    assert file == store.root / NIGHTS / "20261125T021500Z.json"
    read = read_night(file)
    assert read is not None
    assert [entry.reason for entry in read.rows] == ["", "no"]
    assert read.rows[0].worst == {"px": 1e-4}
    assert read == written


def test_the_document_has_what_reports_want(store: Store) -> None:
    document = json.loads(write_night(store, night(row(), row("skipped"), row("skipped"))).read_text())
    assert document["schema"] == SCHEMA
    assert document["totals"] == {"verified": 1, "built": 0, "cached": 0, "failed": 0, "skipped": 2}
    assert set(document["totals"]) == set(STATES)
    assert set(document["rows"][0]) >= {"model", "variant", "target", "state", "reason", "remedy", "code", "key",
                                        "version", "worst", "predictions", "latency", "size", "changes", "regressions"}


def test_two_nights_of_one_second_are_two_and_the_newest_comes_first(store: Store) -> None:
    for number in range(11):
        write_night(store, night(row(reason=str(number))))
    write_night(store, night(row(reason="earlier"), began="2026-11-24T02:15:00Z"))
    write_night(store, night(row(reason="later"), began="2026-11-26T02:15:00Z"))
    order = [found.rows[0].reason for found in nights(store)]
    assert order == ["later", *map(str, reversed(range(11))), "earlier"]


def test_what_is_no_night_is_left_out(store: Store) -> None:
    assert list(nights(store)) == []
    good = write_night(store, night(row()))
    for name, text in {"a": "", "b": "[]", "c": '{"schema": 99}', "d": '{"schema": 1}',
                       "e": good.read_text().replace('"verified"', '"verified", "unknown": 1')}.items():
        (good.parent / f"{name}.json").write_text(text)
    assert len(list(nights(store))) == 1
    assert read_night(good.parent / "missing.json") is None


def test_the_folder_of_nights_is_no_model(store: Store) -> None:
    write_night(store, night(row()))
    assert list(store.artifacts()) == []
    assert list(store.damages()) == []
    assert not list((store.root / ".staging").iterdir())


def test_rows_that_got_worse_are_named() -> None:
    found = night(row(), row(regressions=("size 1 MB -> 2 MB",)))
    assert found.regressed == [found.rows[1]]
    assert found.rows[1].name == "digits/onnx"


def test_now_sorts_as_text() -> None:
    assert len(now()) == 20
    assert now() <= now()
