"""Another batch for a graph, against PyTorch's and numpy's results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from jobfolder import data_folder


@pytest.fixture(scope="module")
def found(script: Callable[..., Any]) -> Any:
    return script("passes_batch", *data_folder())


@pytest.mark.parametrize("toy", ["mesh", "shapes", "recurrent"])
@pytest.mark.parametrize("batch", ["4 of 4", "batch of 3", "batch of 1", "4, then 2", "4, then batch"])
def test_a_batch_fixed_inside_gives_what_pytorch_gives_for_all_items(found: Any, toy: str, batch: str) -> None:
    got = found[f"{toy} {batch}"]
    assert got["error"] < 2e-6 and all(got["shapes"]), got


def test_several_items_give_single_runs_bit_for_bit(found: Any) -> None:
    assert found["bit for bit"] == [True, True]
    assert found["items differ"]


def test_the_source_tells_what_the_edited_graph_should_give(found: Any) -> None:
    assert found["reference"]


def test_the_callers_graph_stays_what_it_was(found: Any) -> None:
    assert found["source unchanged"] == [[1, 3, 8, 8]]


def test_the_batch_is_on_every_input_and_output(found: Any) -> None:
    assert found["mesh 4 of 4"]["inputs"] == [[4, 3, 8, 8]]
    assert found["mesh 4 of 4"]["outputs"] == [[4, 3, 2], [4, 1, 1, 16]]
    assert found["mesh batch of 3"]["inputs"] == [["batch", 3, 8, 8]]
    assert found["mesh batch of 3"]["outputs"] == [["batch", 3, 2], ["batch", 1, 1, 16]]


@pytest.mark.parametrize(
    "name",
    ["channel", "chain", "chain 3", "slice", "turned", "pair", "branch 3", "branch batch", "rows 3", "rows batch"],
)
def test_each_constant_that_holds_the_batch_is_found(found: Any, name: str) -> None:
    assert found[name]["error"] == 0 and found[name]["shapes"] == [True], found[name]


@pytest.mark.parametrize("name", ["expand 3", "expand batch", "resize 3", "resize batch", "gru 3", "gru batch"])
def test_each_operator_that_states_the_batch_is_mended(found: Any, name: str) -> None:
    assert found[name]["error"] < 1e-6 and found[name]["shapes"] == [True], found[name]


def test_a_chain_of_sizes_becomes_a_constant_where_no_axis_is_free(found: Any) -> None:
    assert "Slice" not in found["chain 3"]["operators"]


def test_a_channel_of_one_is_no_batch(found: Any) -> None:
    assert found["channel"]["outputs"] == [["batch", 6, 1]]
    assert found["turned"]["outputs"] == [[4, 3, 2, 3]]


def test_several_rows_for_each_item_are_named_so(found: Any) -> None:
    assert found["rows 3"]["outputs"] == [[12, 6]]
    assert found["rows batch"]["outputs"] == [["4*batch", 6]]


def test_the_manifest_hears_of_every_node(found: Any) -> None:
    lines = found["mesh 4 of 4"]["lines"]
    assert lines[0] == "batch: 1 becomes 4"
    assert [line for line in lines if "Reshape" in line and "is 4" in line]
    assert "no difference on" in lines[-1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("squeezed", "Squeeze drop"),
        ("averaged", "ReduceMean average loses the batch"),
        ("picked", "Gather pick loses the batch"),
        ("minor", "Reshape mix mixes the batch with other axes: [4, 1, 6] becomes [2, 12]"),
        ("joined", "Concat join joins tensors along the batch"),
        ("sized by values", "NonZero count gives a size that depends on the values"),
        ("mixed", "it begins at Softmax over items"),
    ],
)
def test_what_cannot_have_another_batch_is_refused_with_its_node(found: Any, name: str, words: str) -> None:
    assert found[name]["class"] == "GraphError" and words in found[name]["message"], found[name]
    assert found[name]["remedy"]


@pytest.mark.parametrize("value", ["0", "-1", "True", "1.5", "''", "'a b'", "None"])
def test_a_batch_is_a_number_or_a_name(found: Any, value: str) -> None:
    assert found[f"wish {value}"]["class"] == "OptionError"


def test_a_number_from_the_command_line_is_a_number(found: Any) -> None:
    assert found["in letters"] == [[4, 1, 6]]


def test_the_batch_that_is_there_changes_nothing(found: Any) -> None:
    assert found["same"] == []


@pytest.mark.parametrize(
    "file",
    [
        "ultraface-slim-320",
        "ultraface-slim-320.no-postprocess",
        "shufflenet-v2-12-int8",
        "yolov5n-0.5-face.upstream-heads",
    ],
)
def test_real_files_take_any_batch_and_come_back(found: Any, data: object, file: str) -> None:
    assert max(found[f"{file} 2"]["error"], found[f"{file} 2, then batch"]["error"]) < 5e-6
    assert all(found[f"{file} and back"])
