"""Graphs cut, folded, compared; and the proof that stands behind every edit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from jobfolder import data_folder


@pytest.fixture(scope="module")
def found(script: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return script("passes_cut", tmp_path_factory.mktemp("cut"), *data_folder())


def near(array: Any, golden: Any) -> bool:
    return np.allclose(array, golden, rtol=1e-6, atol=1e-6)


def test_one_output_is_kept_and_what_only_others_need_goes(found: Any) -> None:
    got = found["keep an output"]
    assert list(got["outputs"]) == ["b"] and got["nodes"] == ["body", "end b"] and got["weights"] == ["v", "w"]
    assert near(np.array(got["outputs"]["b"])[:, 0], found["golden"]["b"])
    assert any("dropped Neg end a" in line for line in got["lines"])


def test_a_tensor_inside_becomes_an_output(found: Any) -> None:
    got = found["keep a tensor"]
    assert list(got["outputs"]) == ["features"] and near(got["outputs"]["features"], found["golden"]["features"])
    assert got["nodes"] == ["body"] and got["taps"] == ["features"]
    assert list(found["keep both"]["outputs"]) == ["kept", "b"]


@pytest.mark.parametrize("name", ["remove a branch", "remove and keep", "remove by tensor"])
def test_an_output_takes_what_its_branch_was_computed_of(found: Any, name: str) -> None:
    got = found[name]
    assert near(got["outputs"]["a"], found["golden"]["relu"])
    assert "scale" not in got["nodes"] and "end a" not in got["nodes"]
    assert list(got["outputs"]) == (["a"] if name == "remove and keep" else ["a", "b"])


def test_keeping_everything_changes_nothing(found: Any) -> None:
    assert found["keep all"]["lines"] == []


@pytest.mark.parametrize(
    ("name", "kind", "word", "remedy"),
    [
        ("no such tensor", "OptionError", "'featurs', which is no tensor", "did you mean features"),
        ("no such node", "OptionError", "'scail', which is no node", "scale"),
        ("everything", "GraphError", "only inputs", "further down"),
        ("taken away", "OptionError", "'scaled', which remove takes away", "keep another"),
        ("no such pass", "OptionError", "no pass 'kep'", "did you mean keep?"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(found: Any, name: str, kind: str, word: str, remedy: str) -> None:
    assert found[name][0] == kind and word in found[name][1] and remedy in found[name][2], found[name]


def test_constants_are_folded_but_not_what_is_random(found: Any) -> None:
    got = found["folded"]
    assert got["operators"] == {"Mul": 2, "Add": 1, "RandomNormal": 1, "Reshape": 1} and got["right"]
    assert "5 nodes folded" in got["lines"][0]


def test_a_fold_that_makes_the_file_large_is_not_made(found: Any) -> None:
    assert found["large"] == {"Add": 1, "ConstantOfShape": 1}


def test_folding_goes_on_until_there_is_nothing_left(found: Any) -> None:
    assert found["folded twice"] == {"Reshape": 2}


def test_the_size_of_a_free_axis_is_no_constant(found: Any) -> None:
    assert found["free"] == {"Reshape": 1, "Shape": 1}


def test_only_weights_that_nothing_reads_are_dropped(found: Any) -> None:
    assert found["unused"]["weights"] == ["i", "i1", "one", "zero"] and "never" in found["unused"]["lines"][0]
    assert found["not folded"] == []


def test_the_order_of_the_recipe_does_not_matter(found: Any) -> None:
    assert found["one order"]


def test_an_equal_graph_is_proven(found: Any) -> None:
    assert found["proof same"] is None and found["proof a little, allowed"] is None
    assert found["samples"] == [4, "no difference on 2 samples; allowed: bit for bit"]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("a little", "the pass toy changes the output a on sample 0: the error is"),
        ("too much", "0.001 of the column's largest value; allowed: but for rounding: 2e-05"),
        ("infinite", "the error is inf"),
        ("renamed", "changes the outputs to a, scaled"),
        ("transposed", "makes the output b float32 [4, 2] instead of float32 [2, 3]"),
        ("random inputs only", "on sample 0"),
        ("beyond the sample", "on sample 1"),
        ("in edit", "the pass unused changes the output a"),
    ],
)
def test_no_proof_no_edit(found: Any, name: str, word: str) -> None:
    kind, message, remedy = found[f"proof {name}"]
    assert kind == "GraphError" and word in message and remedy, message


def test_random_inputs_are_the_same_each_time_and_in_range(found: Any) -> None:
    assert found["random"] == [True, False, True]
    assert found["limit"] == "half precision: 0.01 of the column's largest value"


def test_equal_graphs_have_no_difference(found: Any) -> None:
    assert found["no difference"] == [False, "the graphs are equal"]


def test_every_difference_is_told(found: Any) -> None:
    got = found["difference"]
    assert got["inputs"] == ["~ x float32[2, 6] -> float32[n, 6]"]
    assert got["outputs"] == ["- b float32[2, 3]", "+ c float32[2, 3]"]
    assert got["opsets"] == ["ai.onnx: 13 -> 14"]
    assert got["operators"] == {"Abs": [0, 1], "Relu": [1, 0], "Sigmoid": [0, 1]}
    assert [item["name"] for item in got["added"]] == ["new"] and got["removed"] == []
    changed = {item["name"]: item["what"] for item in got["changed"]}
    assert changed["relu"] == ["Relu -> Sigmoid"] and set(changed) == {"relu", "body"}
    assert "float32[6, 4]" in changed["body"][0]
    assert "operator Relu: 1 -> 0 (-1)" in got["text"] and "node     + Abs new" in got["text"]


def test_the_published_pair_is_reproduced(found: Any, data: object) -> None:
    pair = found["pair"]
    assert pair["outputs"] == [["scores", "boxes"]] * 2 and pair["shapes"] == [[1, 4420, 2], [1, 4420, 4]]
    assert pair["equal"] == [True, True]
    cut, published, whole = pair["nodes"]
    assert cut <= published < whole
    operators, error = found["pair folded"]
    assert "Constant" not in operators and "Shape" not in operators and error == 0


def test_the_difference_of_the_published_pair_is_its_postprocessing(found: Any, data: object) -> None:
    lines = found["pair difference"].splitlines()
    counts = {line.split()[1].rstrip(":"): line.split()[2:5:2] for line in lines if line.startswith("operator")}
    differing = {kind: [str(a), str(b)] for kind, (a, b) in found["pair counts"].items() if a != b}
    assert counts == differing and counts["Slice"] == ["6", "0"]


def test_real_graphs_fold_without_a_difference(found: Any, data: object) -> None:
    before, after, *equal = found["heads folded"]
    assert after < before - 150 and all(equal)
    assert found["quantised folded"][0] == found["quantised folded"][1]
