"""Plans of edited graphs, and of what one target makes for another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from modelfarm.digest import key_of
from modelfarm.errors import UsageError
from modelfarm.job import Job
from tests.workshop import RECIPE, Workshop, make_workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return make_workshop(tmp_path)


@pytest.mark.parametrize(("edit", "variant"), [
    ({"batch": "4"}, "toy-fp32-batch4"),
    ({"batch": "batch"}, "toy-fp32-batch"),
    ({"batch": "items"}, "toy-fp32-batchitems"),
    ({"keep": ["scores"]}, "toy-fp32-keep-[0-9a-f]{6}"),
    ({"remove": ["377", "384"]}, "toy-fp32-remove-[0-9a-f]{6}"),
    ({"remove": ["377"], "batch": "2"}, "toy-fp32-batch2-remove-[0-9a-f]{6}"),
])
def test_an_edit_shows_in_the_variant_and_in_the_options(workshop: Workshop, edit: dict[str, Any],
                                                         variant: str) -> None:
    job = workshop.job(edit=edit)
    assert re.fullmatch(variant, job.variant)
    assert job.options["edit"] == edit


def test_each_edit_has_a_key_and_a_variant_of_its_own(workshop: Workshop) -> None:
    wishes: list[dict[str, Any]] = [{}, {"batch": "4"}, {"batch": "2"}, {"batch": "b"}, {"keep": ["scores"]},
                                    {"keep": ["other"]}, {"remove": ["scores"]}]
    jobs = [workshop.job(edit=edit) for edit in wishes]
    assert len({job.key for job in jobs}) == len({job.variant for job in jobs}) == len(jobs)


def test_an_edit_of_the_recipe_is_its_own_variant(workshop: Workshop) -> None:
    workshop.recipe("opset: 12", "opset: 12, edit: {batch: '4', half: true}")
    job = workshop.job()
    assert (job.variant, job.options["edit"]) == ("toy-fp32", {"batch": "4", "half": True})
    assert job.recipe.inputs[0].shape == (4, 3, 8, 8)


def test_an_edit_by_hand_is_done_beside_those_of_the_recipe(workshop: Workshop) -> None:
    workshop.recipe("opset: 12", "opset: 12, edit: {batch: '4', half: true}")
    job = workshop.job(edit={"batch": "2"})
    assert (job.variant, job.options["edit"]) == ("toy-fp32-batch2", {"batch": "2", "half": True})
    assert job.recipe.inputs[0].shape == (2, 3, 8, 8)


def test_an_edit_among_the_options_shows_too(workshop: Workshop) -> None:
    job = workshop.job(options='edit={"half":true}')
    assert re.fullmatch("toy-fp32-edit-[0-9a-f]{6}", job.variant)
    assert job.options["edit"] == {"half": True}


def test_an_edited_job_holds_the_recipe_as_the_edit_leaves_it(workshop: Workshop) -> None:
    job = workshop.job(edit={"keep": ["inside"]})
    assert ([output.name for output in job.recipe.outputs], job.recipe.decoder) == (["inside"], None)
    assert job.identity["options"]["edit"] == {"keep": ["inside"]}


# What another target starts from


def test_what_another_target_starts_from_is_a_job_of_its_own(workshop: Workshop) -> None:
    job = workshop.fed(workshop.reader())
    assert (job.name, job.target.name, job.keeps) == ("toy/toy-for-reader", "toy", ("reference.npz",))
    assert workshop.fed(workshop.reader(), weights="random").variant == "toy-for-reader-random"
    assert (job.options["opset"], job.options["dynamic"]) == (9, {}), "what the reader asks for goes first"
    assert job.key != workshop.job(options="opset=9").key


def test_the_edits_that_a_reader_wants_are_the_feeding_jobs(workshop: Workshop) -> None:
    reader = workshop.reader()
    assert workshop.fed(reader).options["edit"] == {"four_dimensions": True}
    workshop.recipe("{opset: 12}", "{opset: 12, edit: {half: true}}\n  reader: {adapt: {padded_maxpool: true}}")
    assert workshop.fed(reader).options["edit"] == {"half": True, "padded_maxpool": True}


@pytest.mark.parametrize(("old", "new"), [("{opset: 12}", "{edit: {batch: '4'}}"),
                                          ("toy: {opset: 12}", "reader: {adapt: {batch: '4'}}")])
def test_a_batch_for_a_reader_is_that_of_both_jobs(workshop: Workshop, old: str, new: str) -> None:
    reader = workshop.reader()
    workshop.recipe(old, new)
    job = workshop.reading(reader)
    assert job.origin is not None
    assert job.origin.options["edit"]["batch"] == "4"
    assert [each.recipe.inputs[0].shape for each in (job.origin, job)] == [(4, 3, 8, 8)] * 2


def test_what_a_reader_needs_of_every_graph_stays_beside_what_a_recipe_adapts(workshop: Workshop) -> None:
    reader = workshop.reader("dynamic: {}}", "dynamic: {}, edit: {padded_maxpool: {same: false}}}")
    always = {"padded_maxpool": {"same": False}}
    assert workshop.fed(reader).options["edit"] == {**always, "four_dimensions": True}
    workshop.recipe("{opset: 12}", "{opset: 12, edit: {half: true}}\n  reader: {adapt: {constants: true}}")
    assert workshop.fed(reader).options["edit"] == {**always, "half": True, "constants": True}
    workshop.recipe("{opset: 12}", "{opset: 12}\n  reader: {adapt: {padded_maxpool: false}}")
    assert workshop.fed(reader).options["edit"] == {"padded_maxpool": False}


def test_a_reader_that_wants_no_edits_leaves_the_options_as_they_are(workshop: Workshop) -> None:
    reader = workshop.reader("default: {four_dimensions: true}", "default: {}")
    assert workshop.fed(reader).options["edit"] == {}


def test_what_a_reader_takes_is_part_of_the_key(workshop: Workshop) -> None:
    job = workshop.fed(workshop.reader())
    assert job.lint == {"title": "Reader", "operators": {"takes": ["Conv", "Relu"], "remedy": "cut it off"}}
    assert job.identity["feeds"] == {"target": "reader", "takes": key_of(job.lint)}
    other = workshop.fed(workshop.reader("[Conv, Relu]", "[Conv]"))
    assert (other.variant, other.key == job.key) == (job.variant, False)


def test_a_reader_that_does_not_say_what_it_takes_is_not_linted_for(workshop: Workshop) -> None:
    job = workshop.fed(workshop.reader("operators: {takes: [Conv, Relu], remedy: cut it off}\n", ""))
    assert job.lint is None
    assert job.identity["feeds"]["target"] == "reader"


def test_a_job_that_feeds_nothing_says_nothing_of_it(workshop: Workshop) -> None:
    job = workshop.job()
    assert (job.lint, job.keeps, "feeds" in job.identity) == (None, (), False)


def test_a_reader_starts_from_what_lint_looked_at(workshop: Workshop) -> None:
    reader = workshop.reader()
    job = workshop.reading(reader)
    assert job.origin is not None
    assert job.origin.key == workshop.fed(reader).key
    assert job.identity["source"] == {"artifact": job.origin.key}
    assert not job.having("weights"), "they are the origin's"


def test_edits_given_by_hand_for_a_reader_are_those_of_what_it_starts_from(workshop: Workshop) -> None:
    reader = workshop.reader()
    plain, asked = workshop.reading(reader), workshop.reading(reader, options='adapt={"half":true}')
    assert plain.origin and asked.origin
    assert asked.origin.options["edit"] == {"half": True}
    assert len({plain.key, asked.key, plain.origin.key, asked.origin.key}) == 4
    assert re.fullmatch("reader-adapt-[0-9a-f]{6}", asked.variant)
    level = workshop.reading(reader, options="level=2")
    assert level.origin and (level.origin.key, level.variant) == (plain.origin.key, "reader-level2")


def test_a_source_that_what_a_reader_starts_from_does_not_read_is_a_usage_error(workshop: Workshop) -> None:
    torch = RECIPE[RECIPE.index("  torch:"):RECIPE.index("inputs:")]
    workshop.recipe(torch, "  tflite: {file: toy.pt}\n")
    with pytest.raises(UsageError, match="target toy cannot read a tflite source"):
        workshop.fed(workshop.reader())
    with pytest.raises(UsageError, match="target toy cannot read a tflite source"):
        workshop.reading(workshop.reader())


def reading(workshop: Workshop, batch: str = "", **more: Any) -> Job:
    """Plan the job of a target with an option `batch` that starts from the toy's graphs."""
    reader = workshop.reader("\noptions:", "\noptions:\n  batch: {type: text, default: '', help: how many}")
    return workshop.reading(reader, batch=batch, **more)


@pytest.mark.parametrize(("batch", "edit", "dynamic"), [
    ("", None, None), ("8", "8", None), ("1,4,8", "batch", {"input": {"0": "batch"}}),
])
def test_the_batch_of_a_target_is_an_edit_of_the_graph_that_it_starts_from(workshop: Workshop, batch: str, edit: Any,
                                                                          dynamic: Any) -> None:
    job = reading(workshop, batch)
    assert job.origin is not None
    assert (job.origin.options.get("edit") or {}).get("batch") == edit
    assert job.options.get("dynamic") == dynamic, "so that both run the same samples"
    assert job.options["batch"] == batch
    assert job.recipe.inputs[0].shape[0] == (8 if batch == "8" else 1)


@pytest.mark.parametrize("batch", ["4,1,8", "1,8", "0,1,2", "a", "1,,2", "1,2,3,4"])
def test_other_batches_are_refused_with_an_example(workshop: Workshop, batch: str) -> None:
    with pytest.raises(UsageError, match="expected one number, or three in order") as caught:
        reading(workshop, batch)
    assert "BATCH=1,4,8" in caught.value.remedy


def test_each_range_of_batches_is_a_variant_and_a_graph_of_its_own(workshop: Workshop) -> None:
    jobs = [reading(workshop, batch) for batch in ("", "8", "1,4,8", "1,2,8")]
    assert [job.variant for job in jobs] == ["reader", "reader-batch8", "reader-batch1_4_8", "reader-batch1_2_8"]
    assert len({job.key for job in jobs}) == 4
    assert len({job.origin.key for job in jobs if job.origin}) == 3, "the two ranges start from one graph"


def test_a_target_without_a_batch_says_so(workshop: Workshop) -> None:
    with pytest.raises(UsageError, match="toy has no option for the batch") as caught:
        workshop.job(batch="4")
    assert "make edit" in caught.value.remedy


def test_a_batch_is_said_once(workshop: Workshop) -> None:
    with pytest.raises(UsageError, match="batch stands in BATCH= and in OPTIONS="):
        reading(workshop, "4", options="batch=8")


@pytest.mark.parametrize("adapt", ["cut_decode: true", "split_outputs: {scores: {a: [0, 1]}}"])
def test_a_reader_that_wants_other_outputs_leaves_their_names_to_the_graph(workshop: Workshop, adapt: str) -> None:
    reader = workshop.reader()
    workshop.recipe("toy: {opset: 12}", f"reader: {{adapt: {{{adapt}}}}}")
    job = workshop.reading(reader)
    assert job.origin is not None
    assert (job.recipe.outputs, job.origin.recipe.outputs) == ((), ())
    assert job.recipe.decoder is not None
    assert job.origin.options["edit"]["exported"] == ["scores"], "what PyTorch's export calls them"
    assert workshop.job().recipe.outputs != ()


def test_an_edit_of_the_recipe_itself_describes_the_graph_after_it(workshop: Workshop) -> None:
    reader = workshop.reader()
    workshop.recipe("toy: {opset: 12}", "toy: {edit: {cut_decode: true}}\n  reader: {adapt: {cut_decode: true}}")
    job = workshop.reading(reader)
    assert job.origin is not None
    assert [output.name for output in job.origin.recipe.outputs] == ["scores"]
    assert "exported" not in job.origin.options["edit"]


def test_divided_boxes_keep_the_outputs_names(workshop: Workshop) -> None:
    reader = workshop.reader()
    workshop.recipe("toy: {opset: 12}", "reader: {adapt: {normalise_boxes: true}}")
    assert [output.name for output in workshop.reading(reader).recipe.outputs] == ["scores"]
