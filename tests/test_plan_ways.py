"""Targets that are made in several ways, in precisions of their own: chosen, named, calibrated and judged."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from modelfarm.console import Console
from modelfarm.errors import MachineError, RecipeError, UsageError
from modelfarm.job import Job
from modelfarm.plan import Request
from tests.toys import Toys
from tests.waytoys import add_ways

CALIBRATION = "calibration: {arrays: [calibration/*.npz]}"


@pytest.fixture
def pair(toys: Toys) -> Toys:
    """Return toys with a target that is made in two ways."""
    add_ways(toys)
    model(toys)
    return toys


def model(toys: Toys, more: str = CALIBRATION, targets: str = "") -> Path:
    folder = toys.model(gain=2, more=more)
    recipe = folder / "model.yaml"
    recipe.write_text(recipe.read_text().replace("targets: {toy: {}}", f"targets: {{toy: {{}}, pair: {{{targets}}}}}"))
    (folder / "calibration").mkdir(exist_ok=True)
    rows = np.random.default_rng(0).normal(0, 1, (30, 3)).astype(np.float32)
    rows[0, 0] = 6  # no random sample is beyond the measured range
    np.savez(folder / "calibration" / "rows.npz", x=rows)
    return folder


def jobs(toys: Toys, target: str = "pair", **request: str) -> list[Job]:
    farm = toys.farm
    planner = farm.planner(farm.targets[target], Request(**request), Console(io.StringIO(), live=False))
    return list(planner.jobs(farm.recipe("toy")))


def variants(toys: Toys, **request: str) -> list[str]:
    return [job.variant for job in jobs(toys, **request)]


def convert(toys: Toys, target: str = "pair", **request: str) -> int:
    return toys.farm.convert(target, "toy", Request(**request), Console(io.StringIO(), live=False))


def test_a_way_is_a_toolchain_of_its_own_with_the_targets_options(pair: Toys) -> None:
    usual, short = jobs(pair, via="long,short")
    assert [usual.target.name, short.target.name] == ["pair", "pair-short"]
    assert [usual.variant, short.variant] == ["pair-fp32", "pair-fp32-short"]
    assert usual.origin and short.origin
    assert [usual.origin.options["rounds"], short.origin.options["rounds"]] == [2, 3]
    assert [usual.origin.variant, short.origin.variant] == ["toy-for-pair", "toy-for-pair-short"]
    assert usual.options == short.options == {"level": 1}
    assert [usual.seconds, short.seconds] == [30, 31]
    assert len({usual.key, short.key}) == 2


@pytest.mark.parametrize(("targets", "request_", "names"), [
    ("", {}, ["pair-fp32"]),
    ("", {"via": "short"}, ["pair-fp32-short"]),
    ("", {"via": "long"}, ["pair-fp32"]),
    ("", {"options": "via=short"}, ["pair-fp32-short"]),
    ("via: short", {}, ["pair-fp32"]),
    ("via: short", {"via": "short"}, ["pair-fp32"]),
    ("via: short", {"via": "long"}, ["pair-fp32-long"]),
    ("via: [short]", {"via": "long,short"}, ["pair-fp32-long", "pair-fp32"]),
    ("via: [long, short]", {}, ["pair-fp32", "pair-fp32-short"]),
    ("via: [short, long]", {}, ["pair-fp32-short", "pair-fp32"]),
    ("via: short, precision: [int8, fp32]", {"options": "level=2"}, ["pair-int8-level2", "pair-fp32-level2"]),
    ("", {"via": "short", "options": "level=2", "precision": "int8"}, ["pair-int8-short-level2"]),
])
def test_variants_show_the_way_that_is_not_the_recipes_own(pair: Toys, targets: str, request_: dict[str, str],
                                                           names: list[str]) -> None:
    model(pair, targets=targets)
    assert variants(pair, **request_) == names


def test_a_precision_that_the_recipe_lists_is_the_same_job_by_hand(pair: Toys) -> None:
    model(pair, targets="precision: [fp32, int8]")
    listed = {job.variant: job.key for job in jobs(pair)}
    by_hand = {job.variant: job.key for word in ("int8", "fp32") for job in jobs(pair, precision=word)}
    assert by_hand == listed == {job.variant: job.key for job in jobs(pair, precision="int8,fp32")}
    assert variants(pair, precision=" int8 , int8") == ["pair-int8"]


@pytest.mark.parametrize(("request_", "said"), [
    ({"precision": "int16"}, "PRECISION=int16 is not known to pair; did you mean int8?"),
    ({"precision": "fp32,int4"}, "PRECISION=int4 is not known to pair; did you mean int8"),
    ({"precision": ","}, "PRECISION=, names nothing; known: fp32, int8"),
    ({"via": "shrot"}, "VIA=shrot is not known to pair; did you mean short?"),
    ({"via": "short", "options": "via=long"}, "via stands in VIA= and in OPTIONS="),
    ({"precision": "int8", "options": "precision=fp32"}, "precision stands in PRECISION= and in OPTIONS="),
])
def test_precisions_and_ways_are_checked(pair: Toys, request_: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        jobs(pair, **request_)
    assert said in caught.value.message


def test_a_target_with_one_way_has_no_other(pair: Toys) -> None:
    with pytest.raises(UsageError, match="VIA=short: toy is made in one way only"):
        jobs(pair, "toy", via="short")


def test_a_way_is_no_target_of_its_own(pair: Toys) -> None:
    with pytest.raises(UsageError, match="pair-short is a way to make pair") as caught:
        convert(pair, "pair-short")
    assert caught.value.remedy == "make pair VIA=short"
    assert set(pair.farm.options) == {"toy", "pair"}


def test_calibration_is_in_the_key_of_the_precisions_that_want_it(pair: Toys) -> None:
    whole, plain = (jobs(pair, precision=word)[0] for word in ("int8", "fp32"))
    assert [material.name for material in whole.having("calibration arrays")] == ["rows.npz"]
    assert not plain.having("calibration arrays")
    rows = pair.folder / "models" / "toy" / "calibration" / "rows.npz"
    np.savez(rows, x=np.random.default_rng(1).normal(0, 1, (30, 3)).astype(np.float32))
    assert jobs(pair, precision="int8")[0].key != whole.key
    assert jobs(pair, precision="fp32")[0].key == plain.key


@pytest.mark.parametrize("more", ["variations: 1", "seed: 1"])
def test_how_calibration_pictures_are_varied_is_in_the_key(pair: Toys, more: str) -> None:
    before = jobs(pair, precision="int8,fp32")
    model(pair, CALIBRATION.replace("}", f", {more}}}"))
    after = jobs(pair, precision="int8,fp32")
    assert before[0].key != after[0].key
    assert before[1].key == after[1].key


def test_a_precision_that_needs_calibration_says_so(pair: Toys) -> None:
    model(pair, more="")
    assert variants(pair, precision="fp32") == ["pair-fp32"]
    with pytest.raises(RecipeError, match="toy has no `calibration`, and pair-int8 measures its ranges") as caught:
        jobs(pair, precision="int8")
    assert "calibration: {pictures:" in caught.value.remedy


def test_an_empty_calibration_folder_is_told_with_where_was_sought(pair: Toys) -> None:
    (pair.folder / "models" / "toy" / "calibration" / "rows.npz").unlink()
    with pytest.raises(MachineError, match=r"no file matches calibration/\*\.npz; sought in"):
        jobs(pair, precision="int8")
    assert variants(pair) == ["pair-fp32"], "who needs none is not asked for any"


def test_both_ways_and_precisions_are_made_and_judged(pair: Toys) -> None:
    model(pair, CALIBRATION + "\nlimits: [{unit: relative, limit: 0.05, because: a toy, precision: int8}]")
    assert convert(pair, via="long,short", precision="fp32,int8") == 0
    facts = {artifact.variant: artifact.manifest["predicate"]["verification"]["facts"]
             for artifact in pair.farm.store.artifacts()}
    assert {name: (found["way"], found["calibrated"]) for name, found in facts.items() if "pair-" in name
            and "for" not in name} == {
        "pair-fp32": ("pair", 0), "pair-fp32-short": ("pair-short", 0),
        "pair-int8": ("pair", 30), "pair-int8-short": ("pair-short", 30)}
    assert facts["pair-int8"]["most"] == 6
    log = pair.farm.artifact("toy", "pair-int8").path("smoke.log").read_text()
    assert "x int8 [1, 3], scale 0.04724, zero point 0" in log


def test_too_few_calibration_inputs_stop_the_job_before_the_toolchain(
    pair: Toys, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pair.folder / "models" / "toy" / "calibration" / "rows.npz"
    np.savez(rows, x=np.ones((3, 3), np.float32))
    assert convert(pair, precision="int8") == 3
    said = capsys.readouterr().err
    assert "0 different inputs, of at least 8" in said
    assert "rows.npz#0 shows one value only" in said


def test_an_artifact_of_another_way_is_made_again_by_it(pair: Toys) -> None:
    assert convert(pair, via="short") == 0
    stream = io.StringIO()
    pair.farm.reproduce("pair", "toy", "pair-fp32-short", "", Console(stream, live=False))
    assert "identical" in stream.getvalue()
    script = pair.farm.artifact("toy", "pair-fp32-short").path("reproduce.sh").read_text()
    assert "make job MODEL=toy TARGET=pair VARIANT=pair-fp32-short VIA=short FOLDER=JOB" in script


def compared(toys: Toys, **request: str) -> tuple[int, list[str]]:
    stream = io.StringIO()
    code = toys.farm.compare("pair", "toy", Request(**request), Console(stream, live=False))
    lines = stream.getvalue().splitlines()
    start = next(index for index, line in enumerate(lines) if line.split()[:2] == ["precision", "way"])
    return code, lines[start + 1:]


def test_ways_and_precisions_are_shown_side_by_side(pair: Toys) -> None:
    model(pair, CALIBRATION, targets="precision: [fp32, int8]")
    code, lines = compared(pair)
    assert code == 0
    assert [line.split()[:2] for line in lines] == [["fp32", "long"], ["fp32", "short"], ["int8", "long"],
                                                   ["int8", "short"]]
    assert all(" ms" in line and "relative" in line for line in lines)
    again, same = compared(pair)
    assert (again, same) == (0, lines), "the figures are those of the store"


def test_one_way_or_precision_is_compared_where_it_is_asked_for(pair: Toys) -> None:
    _, lines = compared(pair, via="short", precision="int8,fp32")
    assert [line.split()[:2] for line in lines] == [["int8", "short"], ["fp32", "short"]]


def test_what_cannot_be_made_does_not_hide_the_others(pair: Toys) -> None:
    model(pair, more="", targets="precision: [int8, fp32]")
    code, lines = compared(pair, via="long")
    assert code == 3
    assert "failed: toy has no `calibration`" in lines[0] and lines[0].split()[0] == "int8"
    assert lines[1].split()[:2] == ["fp32", "long"]


def test_what_all_start_from_is_shown_where_it_fails(pair: Toys) -> None:
    pair.model(gain=2, error=1, more=CALIBRATION)
    code, lines = compared(pair, via="long")
    assert code == 6
    assert any("failed: gate parity" in line for line in lines)
    assert any("not started: toy/toy-for-pair failed" in line for line in lines)
