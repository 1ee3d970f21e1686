"""The night shift with real jobs: every state, what changed, exit codes, the record, and what is not done twice."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from modelfarm.console import Console
from modelfarm.errors import UsageError
from modelfarm.night import Night, Row, nights
from modelfarm.plan import Request
from modelfarm.settings import ROOT, Thresholds
from modelfarm.shift import code, work
from tests.toys import TARGET, ToyFarm, Toys

# What `make nightly` does, with toys.
COMMAND = """
import sys
from pathlib import Path
from modelfarm.door import door
from modelfarm.plan import Request
from modelfarm.shift import work
from tests.toys import Toys
toys = Toys(folder=Path(sys.argv[1]), cache=Path(sys.argv[2]))
with door() as console:
    raise SystemExit(work(toys.farm, "", Request(), console))
"""


def night(toys: Toys, models: str = "", **settings: object) -> tuple[Night, str]:
    """Work a night as the task does; return its record and what was printed."""
    stream = io.StringIO()
    farm = ToyFarm(replace(toys.settings, **settings))  # type: ignore[arg-type]
    ended = work(farm, models, Request(), Console(stream, live=False))
    newest = next(nights(farm.store))
    assert newest.code == ended
    return newest, stream.getvalue()


def states(found: Night) -> dict[str, str]:
    return {row.name: row.state for row in found.rows}


def only(found: Night, name: str = "toy/toy") -> Row:
    (row,) = [row for row in found.rows if row.name == name]
    return row


def retarget(toys: Toys, name: str, **words: str) -> None:
    """Write a further target, whose toolchain is not here."""
    folder = toys.folder / "docker" / name
    folder.mkdir()
    text = TARGET.format(python="3.11", seconds=30)
    (folder / "target.yaml").write_text(text + "".join(f"{key}: {value}\n" for key, value in words.items()))
    (folder / "requirements.txt").write_text("toy==1.0\n")
    (folder / "converter.py").write_text("def convert(job): ...\n")
    (folder / "Dockerfile").write_text("FROM nothing\n")


def add(toys: Toys, old: str, new: str, model: str = "toy") -> None:
    file = toys.settings.models / model / "model.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def test_every_model_is_made_and_then_found(toys: Toys) -> None:
    toys.model("a")
    first, out = night(toys)
    assert states(first) == {"a/toy": "verified", "toy/toy": "verified"}
    assert first.code == 0
    assert first.whole
    assert first.complete
    row = only(first)
    assert row.size == len(json.dumps({"gain": 2}))
    assert row.worst == {"relative": 0.0}
    assert row.latency
    assert row.latency["median_ms"] > 0
    assert row.seconds
    assert re.search(r"^  toy    toy      verified  0\.0e\+00 relative", out, re.MULTILINE)
    second, out = night(toys)
    assert states(second) == {"a/toy": "cached", "toy/toy": "cached"}
    assert only(second) == replace(row, state="cached", seconds=None), "with the figures of the night before"
    assert "2 cached in 0 s" in out


def test_figures_of_what_was_there_before_any_night_are_read_from_its_report(toys: Toys) -> None:
    toys.run(toys.jobs())
    row = only(night(toys)[0])
    assert row.state == "cached"
    assert row.worst == {"relative": 0.0}
    assert row.latency


def test_one_broken_recipe_and_one_bad_result_leave_the_rest(toys: Toys, capsys: pytest.CaptureFixture[str]) -> None:
    toys.model("a", more="nonsense: 1")
    toys.model("b", error=1)
    toys.model("c", refuse="no such gain")
    found, out = night(toys)
    assert states(found) == {"a/": "failed", "b/toy": "failed", "c/toy": "failed", "toy/toy": "verified"}
    assert found.code == 3, "that of the first failure"
    assert [row.code for row in found.rows] == [3, 6, 5, 0]
    bad = only(found, "b/toy")
    assert "gate parity" in bad.reason
    assert (toys.settings.artifacts / bad.failed / "reason.txt").is_file()
    assert "  b      toy      failed (6)" in out
    assert "3 failed" in out
    err = capsys.readouterr().err
    assert "modelfarm: b/toy: gate parity" in err
    assert "unknown key" in err
    (toys.settings.models / "a" / "model.yaml").unlink()
    assert night(toys)[0].code == 6


def test_a_toolchain_that_is_not_here_is_skipped_with_the_remedy(toys: Toys,
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    retarget(toys, "boxed", environment="image")
    retarget(toys, "shiny", device="gpu")
    for name in ("toy", "a"):
        toys.model(name)
        add(toys, "toy: {}", "toy: {}, boxed: {}, shiny: {}", name)
    found, out = night(toys)
    assert found.code == 0
    assert states(found) == {"a/toy": "verified", "a/boxed": "skipped", "a/shiny": "skipped",
                             "toy/toy": "verified", "toy/boxed": "skipped", "toy/shiny": "skipped"}
    boxed, shiny = only(found, "toy/boxed"), only(found, "toy/shiny")
    assert "image only" in boxed.reason
    assert "needs an NVIDIA GPU" in shiny.reason
    assert out.count("make images TARGET=boxed") == 1
    assert "skipped a/boxed, toy/boxed: " in out
    assert capsys.readouterr().err == ""
    strict, _ = night(toys, strict=True)
    assert (strict.code, strict.strict) == (4, True)
    assert "STRICT=1, and 4 were skipped" in capsys.readouterr().err


def test_files_that_were_never_here_are_skipped_and_those_that_went_away_fail(toys: Toys) -> None:
    weights = toys.model("a") / "toy.pt"
    weights.unlink()
    assert states(night(toys)[0])["a/toy"] == "skipped"
    weights.write_text('{"gain": 2}')
    assert states(night(toys)[0])["a/toy"] == "verified"
    weights.unlink()
    found, _ = night(toys)
    assert only(found, "a/toy").state == "failed"
    assert found.code == 4


def test_a_recipe_without_targets_is_shown(toys: Toys) -> None:
    add(toys, "targets: {toy: {}}", "targets: {}")
    (row,) = night(toys)[0].rows
    assert (row.state, row.reason, row.remedy) == ("skipped", "its recipe names no targets",
                                                   "say targets: {onnx: {}} in it")


def test_what_got_worse_is_a_regression_once(toys: Toys, capsys: pytest.CaptureFixture[str]) -> None:
    night(toys)
    before = toys.farm.artifact("toy", "toy").version
    toys.model(gain=2.000000000001)
    found, out = night(toys)
    row = only(found)
    assert row.state == "verified"
    assert row.since == before
    assert [text.partition(" ")[0] for text in row.regressions] == ["size"]
    assert found.code == 6
    assert "(worse)" in out
    assert ", 1 worse than before in" in out
    assert f"worse than {before}" in capsys.readouterr().err
    assert night(toys)[0].code == 0, "the next night compares with this one"


def test_thresholds_are_the_settings(toys: Toys) -> None:
    night(toys)
    toys.model(gain=2.000000000001)
    found, _ = night(toys, thresholds=Thresholds(size=9))
    assert only(found).changes
    assert not only(found).regressions
    assert found.code == 0


def test_an_unchanged_result_of_another_key_has_no_changes(toys: Toys) -> None:
    night(toys)
    add(toys, "a toy called toy", "a toy")
    toys.model(gain=3)
    row = only(night(toys)[0])
    assert row.since
    assert row.changes == ()


def test_a_report_that_is_damaged_stops_no_comparison_of_others(toys: Toys) -> None:
    night(toys)
    (toys.farm.artifact("toy", "toy").folder / "smoke.json").write_text("no JSON")
    toys.model(gain=3)
    row = only(night(toys)[0])
    assert (row.state, row.changes) == ("verified", ())


def test_what_starts_from_a_failure_says_from_which(twins_night: Toys) -> None:
    twins_night.model(error=1)
    add(twins_night, "toy: {}", "twin: {}")
    found, _ = night(twins_night)
    assert states(found) == {"toy/toy-for-twin": "failed", "toy/twin-fp32": "failed"}
    row = only(found, "toy/twin-fp32")
    assert row.reason == "not started: it starts from toy/toy-for-twin, which failed"
    assert row.code == found.code == 6


@pytest.fixture
def twins_night(toys: Toys) -> Toys:
    """Return toys with a second toolchain, which reads what the first makes."""
    from tests.test_origin import CONVERTER
    from tests.test_origin import TARGET as TWIN

    folder = toys.folder / "docker" / "twin"
    folder.mkdir()
    (folder / "target.yaml").write_text(TWIN)
    (folder / "requirements.txt").write_text("toy==1.0\n")
    (folder / "converter.py").write_text(CONVERTER)
    return toys


def test_only_the_models_that_are_named(toys: Toys) -> None:
    toys.model("a")
    found, _ = night(toys, "a")
    assert states(found) == {"a/toy": "verified"}
    assert not found.whole
    with pytest.raises(UsageError, match="there is no model 'b'"):
        night(toys, "a,b")


@pytest.mark.parametrize(("rows", "strict", "expected"), [
    ([], False, 0), ([("skipped", 4, ())], False, 0), ([("skipped", 4, ())], True, 4),
    ([("verified", 0, ("size",)), ("skipped", 4, ())], True, 6),
    ([("verified", 0, ("size",)), ("failed", 5, ()), ("failed", 6, ())], True, 5),
    ([("built", 0, ()), ("cached", 0, ())], True, 0)])
def test_the_exit_code_is_that_of_the_first_failure_then_of_regressions_then_of_skips(
        rows: Sequence[tuple[str, int, tuple[str, ...]]], strict: bool, expected: int) -> None:
    made = [Row(model="m", variant="v", target="t", state=state, code=number, regressions=worse)
            for state, number, worse in rows]
    assert code(made, strict=strict) == expected


def start(toys: Toys) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", COMMAND, toys.folder, toys.cache], cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_night_that_was_killed_is_taken_up_where_it_was(toys: Toys, number: int) -> None:
    names = ["a", "b", "c", "toy"]
    for name in names:
        toys.model(name, mark=str(toys.folder / f"mark-{name}"), seconds=60 if name == "c" else 0)
    with start(toys) as process:
        toys.wait_for(toys.folder / "mark-c")
        toys.wait_for(toys.folder / "mark-toy")
        while not (toys.settings.artifacts / "toy" / "toy" / "latest").exists():
            assert process.poll() is None
        os.kill(process.pid, number)
        process.communicate(timeout=30)
    kept = list(nights(toys.farm.store))
    assert [found.complete for found in kept] == ([False] if number == signal.SIGINT else [])
    toys.model("c", mark=str(toys.folder / "mark-c"))
    found, _ = night(toys)
    assert states(found) == {"a/toy": "cached", "b/toy": "cached", "c/toy": "verified", "toy/toy": "cached"}
    made = [len((toys.folder / f"mark-{name}").read_text().splitlines()) for name in names]
    assert made == [1, 1, 2, 1]


def test_blocks_of_parallel_jobs_are_folded_on_a_ci_service(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for name in ("a", "b", "c"):
        toys.model(name, seconds=0.2)
    _, out = night(toys)
    open_group = ""
    for line in out.splitlines():
        if line.startswith("::group::"):
            assert not open_group, "a group within a group"
            open_group = line
        elif line == "::endgroup::":
            open_group = ""
        elif line.startswith("  . this is "):
            assert open_group.startswith(f"::group::{line.removeprefix('  . this is ')}/toy ")
    assert out.count("::group::") == out.count("::endgroup::") == 4


def test_the_record_is_a_document_for_the_report(toys: Toys) -> None:
    _, out = night(toys)
    (file,) = (toys.settings.artifacts / "nights").glob("*.json")
    assert str(file) in out
    document = json.loads(file.read_text())
    assert (document["schema"], document["engine"], document["code"]) == (1, "local", 0)
    assert document["totals"]["verified"] == 1
    (row,) = document["rows"]
    assert row["key"] == toys.farm.artifact("toy", "toy").key
    assert Path(toys.settings.artifacts / "toy" / "toy" / row["version"]).is_dir()
