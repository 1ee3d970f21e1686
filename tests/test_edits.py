"""Edits that the command line asks for: how they are read, and what they make of a recipe and its options."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelfarm.edits import planned, read_edit
from modelfarm.errors import UsageError
from modelfarm.recipe import DecoderChoice, Output, Recipe
from tests.cases import entry, recipe

PAIR = (Output(name="scores", shape=(1, 10), dtype="float32"), Output(name="rows", shape=(40, 4), dtype="float32"),
        Output(name="loose", shape=None, dtype=None))
OPEN = {"input": {"0": "batch", "2": "height"}}


def known(**changes: Any) -> Recipe:
    """Return a recipe with all that an edit may change."""
    decoder = DecoderChoice(name="classification", options={})
    plain = recipe(PAIR, inputs=(entry(), entry("state", (1, 5), layout=None)), decoder=decoder,
                   expect={"a.png": {"top1": "cat"}})
    return replace(plain, **changes)


@pytest.mark.parametrize(("words", "edit"), [
    ({"batch": "4"}, {"batch": "4"}),
    ({"batch": "items"}, {"batch": "items"}),
    ({"keep": "a, b ,,c"}, {"keep": ["a", "b", "c"]}),
    ({"remove": "377,384", "batch": "2"}, {"batch": "2", "remove": ["377", "384"]}),
])
def test_what_is_said_is_read(words: dict[str, str], edit: dict[str, Any]) -> None:
    assert read_edit(**{"batch": "", "keep": "", "remove": "", **words}) == edit


def test_no_edit_is_a_usage_error_that_says_which_there_are() -> None:
    with pytest.raises(UsageError, match=r"which edit\?") as caught:
        read_edit(batch="", keep="", remove="")
    assert all(f"{word}=" in caught.value.remedy for word in ("BATCH", "KEEP", "REMOVE"))


@pytest.mark.parametrize("words", [{"keep": " , "}, {"remove": ","}])
def test_an_empty_list_is_no_edit(words: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"which edit\?"):
        read_edit(**{"batch": "", "keep": "", "remove": "", **words})


@pytest.mark.parametrize("batch", ["0", "-1", "4x", "2.5", "a b", "04"])
def test_a_batch_is_a_number_of_items_or_a_name(batch: str) -> None:
    with pytest.raises(UsageError, match=f"BATCH={batch}: expected a number of items, or a name for a free one"):
        read_edit(batch=batch, keep="", remove="")


def test_without_an_edit_all_stays() -> None:
    before, options = known(), {"opset": 12, "dynamic": OPEN}
    assert planned(before, options, {}) == (before, options)


def test_a_batch_is_that_of_each_input_and_output() -> None:
    after, options = planned(known(), {"opset": 12}, {"batch": "4"})
    assert [item.shape for item in after.inputs] == [(4, 3, 8, 8), (4, 5)]
    assert [item.shape for item in after.outputs] == [(4, 10), (160, 4), None]
    assert options == {"opset": 12, "edit": {"batch": "4"}, "dynamic": {}}


def test_a_batch_keeps_what_the_outputs_mean() -> None:
    before = known()
    after, _ = planned(before, {}, {"batch": "4"})
    assert (after.decoder, after.expect) == (before.decoder, before.expect)


def test_a_batch_smaller_than_the_recipes_shrinks_the_outputs() -> None:
    eight = known(inputs=(entry(shape=(8, 3, 8, 8)),), outputs=(Output(name="rows", shape=(320, 4), dtype=None),))
    after, _ = planned(eight, {}, {"batch": "2"})
    assert (after.inputs[0].shape, after.outputs[0].shape) == ((2, 3, 8, 8), (80, 4))


def test_a_batch_that_is_a_number_closes_the_first_axis_only() -> None:
    _, options = planned(known(), {"dynamic": {**OPEN, "state": {"0": "batch"}}}, {"batch": "4"})
    assert options["dynamic"] == {"input": {"2": "height"}}


def test_a_batch_that_is_a_number_leaves_out_rows_that_do_not_fill_it() -> None:
    before = known()
    after, _ = planned(before, {}, {"batch": "4"})
    assert (before.samples.all_rows, after.samples.all_rows) == (True, False)


def test_a_batch_that_is_a_name_opens_the_first_axis_of_each_input() -> None:
    before = known()
    after, options = planned(before, {"dynamic": {"input": {"0": "old", "2": "height"}}}, {"batch": "items"})
    assert after == before
    assert options["dynamic"] == {"input": {"0": "items", "2": "height"}, "state": {"0": "items"}}


def test_a_batch_that_the_recipe_asks_for_is_seen_to_as_well() -> None:
    after, options = planned(known(), {"edit": {"batch": "3"}, "dynamic": {}}, {})
    assert [item.shape[0] for item in after.inputs] == [3, 3]
    assert options["edit"] == {"batch": "3"}


def test_the_command_line_comes_before_the_recipe_and_beside_its_other_edits() -> None:
    after, options = planned(known(), {"edit": {"batch": "3", "half": True}}, {"batch": "4"})
    assert after.inputs[0].shape[0] == 4
    assert options["edit"] == {"batch": "4", "half": True}


def test_the_callers_options_stay_what_they_were() -> None:
    options = {"edit": {"half": True}, "dynamic": {"input": {"0": "batch"}}}
    planned(known(), options, {"batch": "4"})
    assert options == {"edit": {"half": True}, "dynamic": {"input": {"0": "batch"}}}


def test_kept_outputs_are_those_of_the_recipe_and_tensors_inside() -> None:
    after, options = planned(known(), {}, {"keep": ["inside", "scores"]})
    assert after.outputs == (Output(name="inside", shape=None, dtype=None), PAIR[0])
    assert (after.decoder, after.expect) == (None, {})
    assert options["edit"] == {"keep": ["inside", "scores"]}


def test_to_keep_all_outputs_keeps_their_meaning() -> None:
    before = known()
    after, _ = planned(before, {}, {"keep": ["rows", "scores", "loose"]})
    assert after == before


def test_what_is_removed_may_be_what_the_decoder_needs() -> None:
    before = known()
    after, options = planned(before, {}, {"remove": ["377"]})
    assert after == replace(before, decoder=None, expect={})
    assert options == {"edit": {"remove": ["377"]}}


def test_what_the_recipe_itself_cuts_is_described_by_the_recipe() -> None:
    before = known()
    after, _ = planned(before, {"edit": {"keep": ["scores"], "remove": ["377"]}}, {})
    assert after == before


def test_kept_outputs_have_the_batch_that_is_asked_for() -> None:
    after, _ = planned(known(), {}, {"batch": "4", "keep": ["scores"]})
    assert after.outputs == (replace(PAIR[0], shape=(4, 10)),)
