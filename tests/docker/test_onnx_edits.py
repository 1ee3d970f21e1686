"""What a job's edits need beside the passes: the batch before, samples that fit it, and findings before and after."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def found(script: Callable[..., Any]) -> Any:
    return script("edits")


def test_inputs_have_the_batch_of_the_graph_before(found: Any) -> None:
    assert found["fixed"] == {"shapes": {"x": [1, 3, 8, 8], "state": [1, 5]}, "free": {"x": {"2": "height"}}}


def test_an_axis_that_the_edit_frees_is_not_free_before(found: Any) -> None:
    assert found["to be free"]["shapes"] == {"x": [1, 3, 8, 8], "state": [1, 5]}
    assert found["to be free"]["free"] == {"x": {"2": "height"}, "state": {}}


def test_an_axis_that_was_free_before_stays_so_and_has_the_recipes_size(found: Any) -> None:
    assert found["free before"] == {
        "shapes": {"x": [4, 3, 8, 8], "state": [4, 5]},
        "free": {"x": {"0": "batch", "2": "height"}, "state": {"0": "batch"}},
    }


def test_each_input_has_its_own_batch_before(found: Any) -> None:
    assert found["one of two"]["shapes"] == {"x": [4, 3, 8, 8], "state": [1, 5]}
    assert found["one of two"]["free"] == {"x": {"0": "batch", "2": "height"}, "state": {}}


def test_a_sample_is_cut_to_the_batch_before(found: Any) -> None:
    assert found["cut to one"] == {"x": [[0, 1, 2]], "state": [[0]]}
    assert found["cut to two"] == {"x": [[0, 1, 2], [3, 4, 5]], "state": [[0], [1]]}


def test_a_sample_of_a_free_batch_is_left_whole(found: Any) -> None:
    assert [len(rows) for rows in found["left whole"].values()] == [4, 4]
    assert [len(rows) for rows in found["cut in part"].values()] == [4, 1]
    assert found["without axes"] == 2


def test_a_graph_that_the_target_takes_has_no_findings(found: Any) -> None:
    assert found["nothing"] == []


def test_what_an_edit_mended_is_told_and_not_left(found: Any) -> None:
    ((node, left, blocks, mended_by, line),) = found["mended"]
    assert (node, left, blocks, mended_by) == ("sqrt", False, False, "roots")
    assert line == "warns  Sqrt sqrt: no roots -> the pass roots"


def test_what_no_edit_mended_is_left(found: Any) -> None:
    assert [entry[:3] for entry in found["left"]] == [["cos", True, True], ["sqrt", True, False]]
    assert found["left"][0][4] == "blocks Cos cos: Toy does not have the operator Cos -> cut it off"


def test_of_several_findings_each_is_told_by_itself(found: Any) -> None:
    assert {entry[0]: entry[1] for entry in found["some"]} == {"sin": True, "sqrt": False}


def test_what_an_edit_brought_in_is_found_too(found: Any) -> None:
    assert [entry[:2] for entry in found["new"]] == [["sin", True]]


def test_findings_are_plain_values(found: Any) -> None:
    (entry,) = json.loads(found["plain"])
    assert set(entry) == {"node", "operator", "reason", "remedy", "blocks", "mended_by", "devices", "nodes", "line",
                          "left"}  # fmt: skip
