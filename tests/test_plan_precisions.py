"""Plans of targets whose source comes in their precision already: a graph for each, made and judged in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfarm.errors import RecipeError
from modelfarm.job import Job
from modelfarm.plan import Request
from modelfarm.target import Target, read_target, read_targets
from tests.workshop import RECIPE, Workshop, make_workshop

NEEDS = "needs: {target: toy, options: {opset: 9, dynamic: {}}}"
OWN = """\
needs:
  target: toy
  options: {opset: 9, dynamic: {}}
  precisions: {fp16: {half: {tail: float}}, int8: {quantise: true}}
calibrates: [int8]"""
CALIBRATION = "calibration: {pictures: ['*.png']}\ntargets:"


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return make_workshop(tmp_path)


def reader(workshop: Workshop) -> Target:
    """Write a target that wants its graph in fp16 and in int8."""
    file = workshop.folder / "docker" / "reader" / "target.yaml"
    workshop.reader()
    text = file.read_text().replace(NEEDS, OWN).replace("precisions: [fp32]\n", "precisions: [fp32, fp16, int8]\n")
    file.write_text(text.replace("options:\n  level", "options:\n  batch: {type: text, default: '', help: x}\n  level"))
    return read_target(file)


def plan(workshop: Workshop, precision: str = "fp32,fp16,int8", **request: Any) -> Sequence[Job]:
    target = reader(workshop)
    feeding = workshop.planner()
    planner = replace(feeding, target=target, request=Request(precision=precision, **request), feeding=feeding)
    return list(planner.jobs(workshop.read))


def origins(jobs: Sequence[Job]) -> list[Job]:
    assert all(job.origin for job in jobs)
    return [job.origin for job in jobs if job.origin]


def test_each_precision_starts_from_a_graph_of_its_own(workshop: Workshop) -> None:
    workshop.recipe("targets:", CALIBRATION)
    jobs = plan(workshop)
    assert [job.variant for job in jobs] == ["reader-fp32", "reader-fp16", "reader-int8"]
    assert [(job.variant, job.precision) for job in origins(jobs)] == [
        ("toy-for-reader", "fp32"), ("toy-for-reader-fp16", "fp16"), ("toy-for-reader-int8", "int8")]
    assert len({job.key for job in (*jobs, *origins(jobs))}) == 6


def test_a_graph_in_a_precision_is_brought_there_by_its_edits(workshop: Workshop) -> None:
    workshop.recipe("targets:", CALIBRATION)
    whole, half, integer = (job.options["edit"] for job in origins(plan(workshop)))
    assert whole == {"four_dimensions": True}
    assert half == {"four_dimensions": True, "half": {"tail": "float"}}
    assert integer == {"four_dimensions": True, "quantise": True}


def test_the_recipe_may_say_how_and_that_changes_no_other_precision(workshop: Workshop) -> None:
    workshop.recipe("targets:", CALIBRATION + "\n  reader: {adapt: {quantise: {method: entropy}, float: [head]}}")
    whole, half, integer = (job.options["edit"] for job in origins(plan(workshop)))
    assert whole == {"float": ["head"]}
    assert half == {"float": ["head"], "half": {"tail": "float"}}
    assert integer == {"float": ["head"], "quantise": {"method": "entropy"}}


def test_who_brings_the_precision_measures_the_ranges(workshop: Workshop) -> None:
    workshop.recipe("targets:", CALIBRATION)
    jobs = plan(workshop)
    assert [job.calibrated for job in origins(jobs)] == [False, False, True]
    assert not any(job.calibrated for job in jobs)
    *_, integer = origins(jobs)
    assert [material.name for material in integer.having("calibration pictures")] == ["a.png", "b.png"]
    assert "calibration" in integer.identity and "calibration" not in jobs[-1].identity


def test_another_calibration_set_makes_both_anew(workshop: Workshop) -> None:
    workshop.recipe("targets:", CALIBRATION)
    (before,) = plan(workshop, "int8")
    (half,) = plan(workshop, "fp16")
    workshop.recipe("targets:", CALIBRATION.replace("*", "a"))
    (after,) = plan(workshop, "int8")
    assert before.key != after.key and origins([before])[0].key != origins([after])[0].key
    assert plan(workshop, "fp16")[0].key == half.key


def test_without_a_calibration_set_int8_is_refused_and_names_the_graph(workshop: Workshop) -> None:
    assert "calibration" not in RECIPE
    assert len(plan(workshop, "fp32,fp16")) == 2
    with pytest.raises(RecipeError, match="toy has no `calibration`, and toy-for-reader-int8 measures its ranges"):
        plan(workshop, "int8")


def test_a_range_of_batches_frees_the_batch_of_both(workshop: Workshop) -> None:
    (job,) = plan(workshop, "fp16", options="batch=1,4,8")
    (origin,) = origins([job])
    assert job.variant == "reader-fp16-batch1_4_8"
    assert origin.options["edit"] == {"four_dimensions": True, "half": {"tail": "float"}, "batch": "batch"}
    assert origin.dynamic == job.dynamic == {"input": {0: "batch"}}
    assert job.recipe.inputs[0].shape[0] == 1


def test_one_batch_is_the_batch_of_both(workshop: Workshop) -> None:
    (job,) = plan(workshop, "fp32", options="batch=4")
    (origin,) = origins([job])
    assert origin.options["edit"]["batch"] == "4" and job.dynamic == {}
    assert [each.recipe.inputs[0].shape for each in (origin, job)] == [(4, 3, 8, 8)] * 2


def test_a_target_that_brings_nothing_itself_is_fed_as_before(workshop: Workshop) -> None:
    target = workshop.reader()
    assert not target.brings("fp32")
    job = workshop.fed(target)
    assert (job.variant, job.precision, job.calibrated) == ("toy-for-reader", "fp32", False)


def test_the_target_of_tensorrt_rtx_wants_its_graphs_in_their_precision() -> None:
    target = read_targets()["trt-rtx"]
    assert [target.brings(name) for name in target.precisions] == [False, True, True]
    assert target.calibrates == ("int8",) and not target.runs and target.device == "cpu"
