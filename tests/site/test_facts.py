"""Facts: each in its place, and the unknown as it is."""

from __future__ import annotations

from typing import Any

import pytest

from modelfarm.site.facts import sort_facts

FINDING = {"line": "Resize: no", "blocks": True, "left": False, "mended_by": "resize"}


@pytest.mark.parametrize("name", ["nodes", "operators"])
def test_operators_are_ordered_by_their_count(name: str) -> None:
    facts = sort_facts({name: {"Add": 2, "Conv": 8, "Abs": 2}})
    assert [(each.name, each.count, each.share) for each in facts.operators] == [
        ("Conv", 8, 1.0), ("Abs", 2, 0.25), ("Add", 2, 0.25)]
    assert facts.other == {}


def test_what_was_done_to_the_graph_comes_with_its_proofs() -> None:
    facts = sort_facts({"simplified": {"before": 20, "after": 7}, "lowered": ["Clip 13 -> 11"],
                        "edited": {"changed": ["batch: 1 -> 4", "batch: equal on 3 samples"], "split": {"parts": [1]}}})
    assert [(step.title, step.lines) for step in facts.steps] == [
        ("simplified", ("20 nodes became 7",)), ("written in an older opset", ("Clip 13 -> 11",)),
        ("edited by graph passes", ("batch: 1 -> 4", "batch: equal on 3 samples"))]
    assert facts.other == {"edited: split": {"parts": [1]}}


def test_what_a_target_says_and_quantisation_have_their_places() -> None:
    tensor = {"tensor": "x", "scale": 0.5, "zero_point": 3, "minimum": 0.0, "maximum": 1.0}
    facts = sort_facts({"lint": [FINDING], "quantisation": [tensor], "select_ops": ["FlexErf"],
                        "layers": {"first": "conv1"}, "colour": "blue"})
    assert [finding.text for finding in facts.findings] == ["Resize: no (done: resize)"]
    assert list(facts.quantisation) == [tensor]
    assert facts.select_ops == ("FlexErf",)
    assert facts.layers == {"first": "conv1"}
    assert facts.other == {"colour": "blue"}


@pytest.mark.parametrize("facts", [
    {"nodes": {"Conv": "many"}}, {"nodes": []}, {"nodes": {"Conv": -1}}, {"nodes": 3}, {"select_ops": [1]},
    {"simplified": {"skipped": "over 2 GiB"}}, {"simplified": 3}, {"edited": 3}, {"edited": {"changed": [1]}},
    {"lint": [{"line": "x"}]}, {"lint": ["x"]}, {"lowered": [{}]},
])
def test_what_does_not_look_as_its_name_promises_stays_as_it_is(facts: dict[str, Any]) -> None:
    sorted_facts = sort_facts(facts)
    assert sorted_facts.other == facts
    assert (sorted_facts.operators, sorted_facts.steps, sorted_facts.findings) == ((), (), ())


def test_sorting_leaves_the_document_alone() -> None:
    facts = {"nodes": {"Conv": 1}, "edited": {"changed": ["x"]}, "lint": []}
    sort_facts(facts)
    assert facts == {"nodes": {"Conv": 1}, "edited": {"changed": ["x"]}, "lint": []}


def test_edits_that_found_nothing_to_do_say_so() -> None:
    (step,) = sort_facts({"edited": {"changed": []}}).steps
    assert step.lines == ("nothing had to be changed: the graph came as wanted",)
    facts = sort_facts({"edited": {"changed": [], "normalise_boxes": {"factor": 2}}})
    assert len(facts.steps) == 1 and facts.other == {"edited: normalise_boxes": {"factor": 2}}
    assert sort_facts({"edited": {"changed": [3]}}).steps == ()


def test_many_lines_of_one_kind_are_one_group() -> None:
    dropped = tuple(f"cut: dropped Slice /{number}, which nothing reads" for number in range(9))
    lines = ["cut: the output a is b", *dropped, "cut: proven", *dropped[:4]]
    (step,) = sort_facts({"edited": {"changed": lines}}).steps
    assert step.groups == [("cut: the output a is b",), dropped, ("cut: proven",), *((line,) for line in dropped[:4])]
    assert sum(step.groups, ()) == step.lines
