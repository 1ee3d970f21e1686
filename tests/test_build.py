"""The life of a job: made once, found again, judged, kept where it failed; with a toolchain of toys."""

from __future__ import annotations

import io
import json
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfarm.build import Built
from modelfarm.console import Console
from modelfarm.errors import ConversionError, GateError, Interrupted, RecipeError
from modelfarm.job import Job
from tests.toys import Toys, make_toys


def build(toys: Toys, job: Job | None = None) -> tuple[Built, str]:
    """Build the toy's job; return it and what the console said."""
    stream = io.StringIO()
    built = toys.builder().build(job or toys.jobs()[0], Console(stream, live=False))
    return built, stream.getvalue()


def fails(toys: Toys, kind: type[Any], **wish: Any) -> tuple[Any, Path | None]:
    """Build a toy that must fail; return the error, and the folder where it is kept."""
    toys.model(**wish)
    with pytest.raises(kind) as caught:
        build(toys)
    assert not (toys.settings.artifacts / "toy").exists()
    kept = list((toys.settings.artifacts / "failed").glob("toy/toy/*"))
    assert len(kept) <= 1
    return caught.value, kept[0] if kept else None


def test_a_job_leaves_a_whole_artifact_and_nothing_else(toys: Toys) -> None:
    built, said = build(toys)
    folder = toys.settings.artifacts / "toy" / "toy" / built.job.key[:16]
    assert (built.cached, built.artifact.folder) == (False, folder)
    assert json.loads((folder / "model.toy").read_text()) == {"gain": 2}
    assert {path.name for path in folder.iterdir()} == {"model.toy", "manifest.json", "smoke.json", "smoke.log",
                                                       "convert.log", "reproduce.sh"}
    assert (folder.parent / "latest").readlink() == Path(folder.name)
    assert not list((toys.settings.artifacts / ".staging").iterdir())
    steps = re.findall(r"^  \+ (.+?) +\d+\.\d\d s$", said, re.MULTILINE)
    assert steps == ["prepare the samples", "import the toy toolchain", "run the source model", "convert to toy",
                     "load toy", "run toy", "measure the latency", "check the gates", "publish"]
    assert "  . this is toy" in said


def test_a_second_build_finds_the_first(toys: Toys) -> None:
    first, _ = build(toys)
    again, said = build(toys)
    assert again.cached
    assert again.artifact.folder == first.artifact.folder
    assert said == ""


def test_find_finds_nothing_then_the_artifact_and_points_latest_to_it(toys: Toys) -> None:
    (job,) = toys.jobs()
    assert toys.builder().find(job) is None
    first, _ = build(toys)
    toys.model(gain=3)
    other, _ = build(toys)
    latest = first.artifact.folder.parent / "latest"
    assert latest.resolve() == other.artifact.folder
    found = toys.builder().find(job)
    assert found and found.cached
    assert latest.resolve() == first.artifact.folder


def test_a_damaged_artifact_is_found_by_nobody_and_made_anew(toys: Toys) -> None:
    first, _ = build(toys)
    file = first.artifact.path("model.toy")
    file.write_text('{"gain": 3}')
    assert toys.builder().find(first.job) is None
    again, said = build(toys)
    assert not again.cached
    assert json.loads(file.read_text()) == {"gain": 2}
    moved = re.search(r"model\.toy has other content .*; moved to (\S+), building it anew", said)
    assert moved, said
    assert json.loads((Path(moved[1]) / "model.toy").read_text()) == {"gain": 3}


def test_a_refusal_is_the_toolchains_own_words_and_is_kept(toys: Toys) -> None:
    error, kept = fails(toys, ConversionError, refuse="a gain of 2 is too little")
    assert kept
    assert error.message == "a gain of 2 is too little"
    assert error.remedy == f"write another gain; everything is kept in {kept}"
    assert {file.name for file in kept.iterdir()} == {"convert.log", "job.json", "result.json", "reason.txt"}
    assert "a gain of 2 is too little" in (kept / "reason.txt").read_text()
    assert json.loads((kept / "job.json").read_text())["model"] == "toy"


def test_a_crash_shows_its_last_lines_and_the_log_has_all(toys: Toys) -> None:
    error, kept = fails(toys, ConversionError, crash="no such table")
    assert kept
    assert error.message.startswith("KeyError: 'no such table'\n")
    assert 'raise KeyError(wish["crash"])' in error.message
    assert "Traceback" in (kept / "convert.log").read_text()


def test_a_toolchain_that_dies_is_named_with_its_code_and_last_words(toys: Toys) -> None:
    error, kept = fails(toys, ConversionError, die=9)
    assert re.match(r"the toolchain ended with code 9 after \d+ s and left no result\n", error.message)
    assert error.message.endswith("\n    last words")
    assert kept


def test_a_toolchain_that_takes_too_long_is_stopped(tmp_path: Path, toys: Toys) -> None:
    hasty = make_toys(tmp_path / "hasty", toys.cache, seconds=1)
    error, _ = fails(hasty, ConversionError, seconds=60)
    assert re.match(r"the toolchain was stopped after 1\S* s, its limit, and left no result$", error.message)


def test_a_gate_that_fails_stops_the_publication_and_keeps_the_figures(toys: Toys) -> None:
    error, kept = fails(toys, GateError, error=0.25)
    assert kept
    assert error.message.startswith("gate parity: ")
    assert error.remedy == f"nothing was published; everything is kept in {kept}"
    assert {file.name for file in kept.iterdir()} == {"model.toy", "smoke.json", "smoke.log", "convert.log", "job.json",
                                                     "result.json", "reason.txt"}
    smoke = json.loads((kept / "smoke.json").read_text())
    assert not smoke["passed"]
    assert smoke["worst"]["relative"] == pytest.approx(0.125, rel=0.2)  # an eighth of the gain, over the range


def test_what_does_not_work_in_its_runtime_fails_the_first_gate_and_has_a_report(toys: Toys) -> None:
    error, kept = fails(toys, GateError, unusable="run model.toy: ended by signal 6 (SIGABRT)")
    assert kept
    assert error.code == 6 and error.message == (
        "gate complete: the artifact does not work in its runtime: run model.toy: ended by signal 6 (SIGABRT) "
        "-> pad it otherwise")
    assert {"model.toy", "smoke.log", "smoke.json", "result.json"} <= {file.name for file in kept.iterdir()}
    smoke = json.loads((kept / "smoke.json").read_text())
    assert [gate["state"] for gate in smoke["gates"]] == ["failed"] + ["not run"] * (len(smoke["gates"]) - 1)
    assert "ended by signal 6 (SIGABRT)" in " ".join((kept / "smoke.log").read_text().split())


def test_a_device_that_was_not_meant_is_a_failure(toys: Toys) -> None:
    error, _ = fails(toys, GateError, device="a toaster")
    assert error.message == "gate device: ran on a toaster (numpy), but was to run on cpu"


def test_a_later_failure_leaves_the_last_good_one(toys: Toys) -> None:
    good, _ = build(toys)
    toys.model(error=1)
    with pytest.raises(GateError):
        build(toys)
    assert (good.artifact.folder.parent / "latest").resolve() == good.artifact.folder
    assert good.artifact.check(toys.farm.digests)


def test_samples_that_do_not_fit_are_a_recipe_error_before_anything_runs(toys: Toys) -> None:
    mark = toys.folder / "mark"
    folder = toys.model(more="samples: {arrays: [x.npz]}", mark=str(mark))
    (folder / "x.npz").write_bytes(b"no archive")
    with pytest.raises(RecipeError, match="x.npz: not an .npz file"):
        build(toys)
    assert not mark.exists()
    assert not list((toys.settings.artifacts / ".staging").iterdir())


def test_a_job_is_made_once_however_many_threads_ask(toys: Toys) -> None:
    mark = toys.folder / "mark"
    toys.model(seconds=0.3, mark=str(mark))
    (job,) = toys.jobs()
    builder = toys.builder()
    found: list[Built] = []
    threads = [threading.Thread(target=lambda: found.append(builder.build(job, Console(io.StringIO()))))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(built.cached for built in found) == [False, True, True, True]
    assert len(mark.read_text().splitlines()) == 1


def test_a_cancelled_job_ends_and_leaves_nothing(toys: Toys) -> None:
    mark = toys.folder / "mark"
    toys.model(seconds=60, mark=str(mark))
    (job,) = toys.jobs()
    builder = replace(toys.builder(), cancelled=mark.exists)
    with pytest.raises(Interrupted):
        builder.build(job, Console(io.StringIO()))
    assert not list((toys.settings.artifacts / ".staging").iterdir())
    assert not (toys.settings.artifacts / "failed").exists()


def test_the_source_is_copied_so_that_a_toolchain_cannot_harm_it(toys: Toys) -> None:
    converter = toys.target.converter
    converter.write_text(converter.read_text().replace(
        "    job.facts[", "    job.source.weights.write_text('{\"gain\": 2, \"harmed\": 1}')\n    job.facts["))
    before = (toys.settings.models / "toy" / "toy.pt").read_text()
    build(toys)
    assert (toys.settings.models / "toy" / "toy.pt").read_text() == before


def test_the_report_names_the_previous_artifact(toys: Toys) -> None:
    first, _ = build(toys)
    assert first.artifact.smoke["previous"] is None
    toys.model(gain=3)
    second, _ = build(toys)
    assert second.artifact.smoke["previous"]["version"] == first.artifact.version
