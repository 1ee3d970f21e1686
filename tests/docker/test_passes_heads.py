"""Detection heads edited, against a decode written in numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from jobfolder import data_folder

PIXEL = 2e-3  # what fp32 rounds off coordinates of some hundred pixels


@pytest.fixture(scope="module")
def found(script: Callable[..., Any]) -> Any:
    return script("passes_heads", *data_folder())


def test_the_toy_has_what_is_to_be_mended(found: Any) -> None:
    assert found["before"]["rank"] == 5 and found["before"]["mixtures"] >= 2 and found["before"]["error"] < PIXEL


def test_a_head_in_five_dimensions_is_equal_in_four(found: Any) -> None:
    got = found["four"]
    assert got["rank"] == 4 and got["equal"] and got["error"] < PIXEL
    assert "no difference" in got["lines"][-1] and any("Transpose" in line for line in got["lines"])
    assert got["again"] == []


def test_four_dimensions_leave_the_batch_free(found: Any) -> None:
    rank, error = found["four, free"]
    assert rank == 4 and error < PIXEL


@pytest.mark.parametrize(
    ("name", "shape"),
    [("kept", [1, 2, 16, 3]), ("shuffle", [1, 6, 4, 4]), ("constant row", [1, 96]), ("softmax", [1, 96])],
)
def test_small_regions_of_five_dimensions_are_equal_in_four(found: Any, name: str, shape: list[int]) -> None:
    assert found[f"five {name}"] == [4, True, shape]


@pytest.mark.parametrize(
    ("name", "node"),
    [("five crossed", "Transpose cross"), ("five unknown", "ReduceMean mean"), ("six", "Reshape six has 6 dimensions")],
)
def test_five_dimensions_that_cannot_be_four_are_refused_with_the_node(found: Any, name: str, node: str) -> None:
    kind, message, remedy = found[name]
    assert kind == "GraphError" and node in message and remedy


def test_pixels_are_fractions_and_meet_scores_at_the_end_only(found: Any) -> None:
    got = found["normalised"]
    assert got["error"] < 3e-5 and got["mixtures"] == [] and got["largest"] < 20
    assert got["facts"] == {"factor": 96.0, "columns": {"out": [[0, 4], [5, 15]]}}
    assert got["reference"] and "bit for bit" in got["lines"][-1]
    before, after = got["nodes"]
    assert after < before * 1.5


def test_columns_and_factor_can_be_told(found: Any) -> None:
    assert found["told"] < PIXEL


def test_pixels_and_scores_become_outputs_of_their_own(found: Any) -> None:
    got = found["split"]
    assert got["names"] == ["out_0_4", "out_4_5", "out_5_15", "out_15_16"]
    assert got["error"] < PIXEL and got["mixtures"] == []
    assert got["facts"]["parts"]["out_5_15"] == [5, 15]


def test_parts_have_the_names_of_the_recipe(found: Any) -> None:
    names, scores, boxes = found["named"]
    assert names == ["scores", "boxes"] and scores < 1e-6 and boxes < PIXEL


def test_all_passes_for_heads_go_together(found: Any) -> None:
    assert found["all"]["error"] < 3e-5 and found["all"]["rank"] == 4 and found["all"]["mixtures"] == []


@pytest.mark.parametrize(
    ("name", "kind", "word"),
    [
        ("no such output", "OptionError", "'boxes', which is no output"),
        ("too many", "GraphError", "out has 16 columns"),
        ("not understood", "OptionError", "640 is not understood"),
        ("twice", "GraphError", "out has 16 columns"),
        ("beyond", "GraphError", "out has 16 columns"),
        ("taken", "OptionError", "a tensor x already"),
        ("no such split", "OptionError", "'boxes', which is no output"),
        ("nothing to split", "OptionError", "mix"),
        ("nothing to normalise", "OptionError", ""),
        ("unsized", "GraphError", "how many columns y has is not known"),
        ("no heads", "GraphError", "no output comes from a convolution"),
        ("half columns", "OptionError", "is not understood"),
        ("other order", "OptionError", "is not understood"),
        ("no columns", "OptionError", "is not understood"),
        ("no words", "OptionError", "is not understood"),
        ("other key", "OptionError", "is not understood"),
        ("no multiple", "GraphError", "48 channels, no multiple of the 7 columns"),
    ],
)
def test_a_wish_for_heads_that_cannot_be_is_refused(found: Any, name: str, kind: str, word: str) -> None:
    assert found[name][0] == kind and word in found[name][1] and found[name][2], found[name]


def test_the_manifest_says_where_columns_cannot_be_followed(found: Any) -> None:
    assert any("behind Einsum stop" in line for line in found["stopped"])


def test_the_raw_heads_are_what_the_convolutions_give(found: Any) -> None:
    got = found["cut"]
    assert got["error"] < 1e-4 and got["operators"] == {"Conv": 2} and got["decoded"] < PIXEL
    assert [(head["shape"], head["stride"]) for head in got["heads"]] == [([1, 48, 12, 12], 8), ([1, 48, 6, 6], 16)]
    assert found["no decode"] == []


def test_a_head_can_be_taken_apart_by_columns(found: Any) -> None:
    got = found["parts"]
    assert got["error"] < 1e-4 and got["operators"] == {"Conv": 8}
    assert got["weights"][0] == got["weights"][1], "the same weights, each in one part"
    first, second = got["parts"]
    assert list(first.values()) == list(second.values()) == [[0, 4], [4, 5], [5, 15], [15, 16]]
    assert [got["shapes"][part] for part in first] == [[1, count, 12, 12] for count in (12, 3, 30, 3)]


def test_a_published_head_is_equal_in_four_dimensions(found: Any, data: object) -> None:
    before, after, equal, facts = found["upstream"]
    assert (before, after) == (5, 4) and all(equal)
    assert facts["outputs"]["stride_8"] == [1, 3, 6400, 16]


def test_the_decode_of_a_published_detector_is_cut_off(found: Any, data: object) -> None:
    operators, strides = found["ultraface"]
    assert "Exp" not in operators and "Softmax" not in operators
    assert strides == [8, 8, 16, 16, 32, 32, 64, 64]
