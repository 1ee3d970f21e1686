"""The summaries: what was made, what there is, and what failed, in short tables."""

from __future__ import annotations

import io
import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfarm.artifact import Artifact
from modelfarm.console import Console
from modelfarm.doctor import Finding
from modelfarm.engines.engine import Outcome
from modelfarm.errors import GateError, MachineError
from modelfarm.phrase import shown, size
from modelfarm.summary import print_findings, print_lint, print_outcomes, print_status
from tests.toys import Toys


def outcomes(toys: Toys, *models: str) -> list[Outcome]:
    return toys.run(toys.jobs(*models))


def printed(results: list[Outcome]) -> list[str]:
    stream = io.StringIO()
    print_outcomes(results, Console(stream, live=False))
    return stream.getvalue().splitlines()


def status(toys: Toys) -> list[str]:
    stream = io.StringIO()
    print_status(toys.farm.store, Console(stream, live=False))
    return stream.getvalue().splitlines()


def test_what_was_made_is_a_table_and_its_paths(toys: Toys) -> None:
    toys.model("a-longer-name")
    results = outcomes(toys, "toy", "a-longer-name")
    empty, heading, first, second, *paths = printed(results)
    assert empty == ""
    assert heading.split() == ["model", "variant", "version", "size", "gates", "worst", "error", "latency"]
    built = results[0].built
    assert built
    assert re.fullmatch(rf"  toy            toy      {built.artifact.version}  \d+ B  5 passed, 2 skipped  "
                        r"0\.0e\+00 relative  \d\S* ms \(p95 \d\S*\) +new", first)
    assert second.startswith("  a-longer-name  toy ")
    assert paths == [f"  {toys.settings.artifacts / name / 'toy' / result.built.artifact.version / 'model.toy'}"
                     for name, result in zip(("toy", "a-longer-name"), results, strict=True) if result.built]


def test_what_was_there_already_is_cached(toys: Toys) -> None:
    outcomes(toys)
    assert [line for line in printed(outcomes(toys)) if line.endswith("  cached")]


def test_the_figures_are_those_of_the_report(toys: Toys) -> None:
    toys.model(error=1e-6)
    (result,) = outcomes(toys)
    assert result.built
    smoke = json.loads(result.built.artifact.path("smoke.json").read_text())
    (row,) = [line for line in printed([result]) if line.endswith("new")]
    assert f"{smoke['worst']['relative']:.1e} relative" in row
    assert f"{smoke['latency']['median_ms']:.3g} ms (p95 {smoke['latency']['p95_ms']:.3g})" in row


def test_failures_go_to_standard_error_after_the_table(toys: Toys, capsys: pytest.CaptureFixture[str]) -> None:
    toys.model("a", error=1)
    toys.model("b", refuse="no")
    unplanned = Outcome(name="c", error=MachineError("nothing here", remedy="bring it"))
    results = [unplanned, *outcomes(toys, "a", "toy", "b")]
    with Console() as console:
        print_outcomes(results, console)
    out, err = capsys.readouterr()
    assert "new" in out
    assert "no" in err
    assert re.findall(r"^modelfarm: (\S+): ", err, re.MULTILINE) == ["c", "a/toy", "b/toy"]
    assert re.findall(r"exit code (\d)", err) == ["4", "6", "5"]
    assert "modelfarm: c: nothing here\n  -> bring it\n" in err
    assert "modelfarm" not in out


def test_only_failures_print_no_table(toys: Toys, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed([Outcome(name="a", error=GateError("gate finite: no"))]) == []
    assert "gate finite: no" in capsys.readouterr().err


def linted(toys: Toys, model: str, *findings: dict[str, Any]) -> Outcome:
    """Return what became of a model, with what its toolchain found written into its manifest."""
    toys.model(model)
    (outcome,) = outcomes(toys, model)
    assert outcome.built
    file = outcome.built.artifact.path("manifest.json")
    manifest = json.loads(file.read_text())
    manifest["predicate"]["verification"]["facts"]["lint"] = [
        {"blocks": False, "left": True, "mended_by": "", **finding} for finding in findings]
    return replace(outcome, built=replace(outcome.built, artifact=replace(outcome.built.artifact, manifest=manifest)))


def test_what_a_target_will_not_take_stands_below_each_model(toys: Toys) -> None:
    results = [linted(toys, "a", {"line": "warns  Pad p: no"},
                      {"line": "warns  Pad q: no", "left": False, "mended_by": "some_pass"}),
               linted(toys, "b")]
    stream = io.StringIO()
    print_lint(results, "TNN", Console(stream, live=False))
    assert stream.getvalue().splitlines() == [
        "a for TNN", "  warns  Pad p: no", "  warns  Pad q: no (done: some_pass)",
        "b for TNN", "  TNN takes this graph as it is"]


def test_what_could_not_be_linted_goes_to_standard_error(toys: Toys, capsys: pytest.CaptureFixture[str]) -> None:
    refused = Outcome(name="a", error=GateError("TNN will not take this graph\n    blocks Mod m: no"))
    with Console() as console:
        print_lint([refused, linted(toys, "b")], "TNN", console)
    out, err = capsys.readouterr()
    assert "b for TNN\n  TNN takes this graph as it is\n" in out
    assert "a for TNN" not in out
    assert "modelfarm: a: TNN will not take this graph\n    blocks Mod m: no\n  (exit code 6" in err


def test_an_empty_store_says_how_to_begin(toys: Toys) -> None:
    assert status(toys) == ["  nothing has been converted yet; `make demo` is a start"]


def test_the_status_lists_versions_newest_first_and_marks_the_latest(toys: Toys) -> None:
    first = _built(toys)
    os.utime(first.path("manifest.json"), (1_600_000_000, 1_600_000_000))
    toys.model(gain=3)
    second = _built(toys)
    toys.model("bad", error=1)
    (failed,) = outcomes(toys, "bad")
    assert failed.error
    heading, newer, older, failure = status(toys)
    assert heading.split()[-1] == "published"
    assert second.version in newer
    assert newer.endswith("  latest")
    assert first.version in older
    assert older.endswith(time.strftime("%Y-%m-%d %H:%M", time.localtime(1_600_000_000)))
    kept = next((toys.settings.artifacts / "failed" / "bad" / "toy").iterdir())
    assert failure == f"  failed: bad/toy, kept in {kept}"


def test_an_artifact_without_figures_still_has_a_row(toys: Toys) -> None:
    artifact = _built(toys)
    artifact.path("smoke.json").unlink()
    (_, row) = status(toys)
    assert artifact.version in row
    assert "0 passed" in row


def test_an_artifact_with_damaged_figures_does_not_hide_the_others(toys: Toys) -> None:
    toys.model("a")
    _built(toys, "a").path("smoke.json").write_text("{")
    other = _built(toys)
    assert any(other.version in line for line in status(toys))


def _built(toys: Toys, model: str = "toy") -> Artifact:
    (result,) = outcomes(toys, model)
    assert result.built, result.error
    return result.built.artifact


@pytest.mark.parametrize(("states", "healthy"), [
    (["ok", "note"], True), (["ok", "lacking", "ok"], False), ([], True),
])
def test_findings_are_printed_as_they_come_and_decide(states: list[str], healthy: bool) -> None:
    stream = io.StringIO()
    findings = (Finding(state=state, subject=f"thing {index}", detail="so and so", remedy="do" if index else "")
                for index, state in enumerate(states))
    assert print_findings(findings, Console(stream, live=False)) is healthy
    lines = stream.getvalue().splitlines()
    assert [line.split()[0] for line in lines if "thing" in line] == states
    assert sum("-> do" in line for line in lines) == max(len(states) - 1, 0)


def test_paths_below_the_working_folder_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "a" / "b") == "a/b"
    assert shown(Path("/usr/bin")) == "/usr/bin"


@pytest.mark.parametrize(("count", "text"), [
    (0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1536, "1.54 kB"), (999_400, "999 kB"), (2_000_000, "2 MB"),
    (21_280_000, "21.3 MB"), (3_456_000_000, "3.46 GB"), (999_999, "1 MB"),
])
def test_sizes_have_three_digits_and_the_unit_that_reads_best(count: int, text: str) -> None:
    assert size(count) == text
