"""What a target will not take of a graph: found, said and told from what it takes, for TNN's own list."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from jobfolder import DOCKER

TNN = yaml.safe_load((DOCKER / "tnn" / "target.yaml").read_text())["operators"]

# Names that TNN's converter makes itself of several operators, and never meets in a file.
ITS_OWN = {"DetectionOutput", "GELU", "HDRGuide", "Histogram", "Inverse", "LogSigmoid", "Normalize", "PixelShuffle",
           "PriorBox", "ShuffleChannel", "SignedMul"}  # fmt: skip


@pytest.fixture(scope="module")
def found(script: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return script("lints", tmp_path_factory.mktemp("lints"), json.dumps(TNN))


def findings(found: Any, name: str) -> Any:
    return found[name]["findings"]


def one(found: Any, name: str) -> Any:
    (finding,) = findings(found, name)
    return finding


def test_tnn_takes_118_operators_and_none_of_five() -> None:
    assert len(TNN["takes"]) == len(set(TNN["takes"])) == 118
    assert not {"GRU", "CumSum", "Mod", "GatherElements", "Unique"} & set(TNN["takes"])


def test_every_name_is_an_operator_of_onnx_or_one_of_tnns_own(found: Any) -> None:
    assert set(found["unknown names"]) <= ITS_OWN | {"Swish"}
    assert found["unknown in rules"] == []


def test_a_padded_average_blocks_and_says_why(found: Any) -> None:
    finding = one(found, "average, padded")
    assert finding["blocks"] and finding["operator"] == "AveragePool" and finding["node"].endswith("AveragePool")
    assert "silently wrong" in finding["reason"] and "count_include_pad=1" in finding["reason"]
    assert "ConstantPad2d" in finding["remedy"]
    (line,) = found["average, padded"]["lines"]
    assert line.startswith("blocks AveragePool /AveragePool: ") and finding["remedy"] in line
    assert "silently wrong" in one(found, "same upper")["reason"]


@pytest.mark.parametrize(
    "name",
    ["average, padding not counted", "average, no padding", "average, padded before", "convolution", "lstm",
     "bilinear", "nearest", "Relu", "DepthToSpace", "HDRGuide", "sum, all axes", "sum, opset 12", "pad, constant",
     "pad, a constant node"],
)  # fmt: skip
def test_what_tnn_takes_has_no_finding(found: Any, name: str) -> None:
    assert findings(found, name) == [] and found[name]["lines"] == []


def test_a_head_in_five_dimensions_is_one_finding_with_the_pass_that_mends_it(found: Any) -> None:
    finding = one(found, "yolov5 head")
    assert finding["mended_by"] == "four_dimensions" and "four_dimensions" in finding["remedy"]
    assert finding["devices"] == ["opencl"] and not finding["blocks"]
    # Three levels, each with a reshape, a transpose, two slices, two sigmoids, a product, a concatenation and back.
    assert len(finding["nodes"]) == 3 * 9 and finding["node"] == finding["nodes"][0]
    assert "and 23 more" in found["yolov5 head"]["lines"][0]


@pytest.mark.parametrize(
    ("name", "operator", "words"),
    [
        ("gru", "GRU", ["no recurrent layer but LSTM", "LSTM"]),
        ("cumsum", "CumSum", ["does not have", "triangular matrix"]),
        ("grid sample", "GridSample", ["crashes TNN's converter"]),
        ("bicubic", "Resize", ["bicubically", "bilinear"]),
        ("max, dilated", "MaxPool", ["dilations"]),
        ("same lower", "MaxPool", ["SAME_LOWER"]),
        ("Mod", "Mod", ["floor(x / y)"]),
        ("GatherElements", "GatherElements", ["does not have"]),
        ("Unique", "Unique", ["does not have"]),
        ("Gelu", "Gelu", ["opset below 20"]),
        ("Loop", "Loop", ["TNN does not have the operator Loop", "make edit KEEP"]),
        ("sum, axes as input", "ReduceSum", ["opset 12"]),
        ("pad, computed", "Pad", ["constant numbers only"]),
        ("lstm, lengths", "LSTM", ["sequence_lens"]),
        ("foreign", "FusedConv", ["FusedConv of the domain com.maker"]),
    ],
)
def test_what_tnn_does_not_take_blocks(found: Any, name: str, operator: str, words: list[str]) -> None:
    finding = one(found, name)
    assert finding["operator"] == operator and finding["blocks"] and finding["mended_by"] == ""
    assert all(word in f"{finding['reason']} {finding['remedy']}" for word in words), finding


@pytest.mark.parametrize(("name", "words"), [("Einsum", "plain CPU device only"), ("Or", "branches of TNN only")])
def test_what_may_fail_on_a_device_only_warns(found: Any, name: str, words: str) -> None:
    finding = one(found, name)
    assert not finding["blocks"] and words in finding["reason"]
    assert found[name]["lines"][0].startswith("warns  ")


def test_padding_that_differs_at_its_ends_warns_and_names_the_pass_that_mends_it(found: Any) -> None:
    finding = one(found, "uneven")
    assert not finding["blocks"] and finding["mended_by"] == "padded_maxpool"


def test_every_pass_that_lint_names_is_there() -> None:
    named = {rule["pass"] for rule in TNN["rules"] if "pass" in rule}
    passes = "".join(path.read_text() for path in (DOCKER / "onnx" / "passes").glob("*.py"))
    assert named and all(f'NAME = "{name}"' in passes for name in named)


def test_a_resize_of_a_volume_blocks_and_is_told_of_its_five_axes_too(found: Any) -> None:
    blocking, warning = findings(found, "resized volume")
    assert blocking["blocks"] and "height and width only" in blocking["reason"]
    assert warning["mended_by"] == "four_dimensions"


def test_what_blocks_is_said_first(found: Any) -> None:
    assert [line[:6] for line in found["resized volume"]["lines"]] == ["blocks", "warns "]


def test_nodes_inside_others_are_looked_at(found: Any) -> None:
    operators = [(finding["operator"], finding["node"]) for finding in findings(found, "inside")]
    assert operators == [("If", "if"), ("Mod", "inside"), ("Mod", "inside")]


def test_what_is_made_of_constants_and_fixed_shapes_is_folded_before_a_conversion(found: Any) -> None:
    assert findings(found, "folded") == []
    assert one(found, "not folded")["operator"] == "Mod"
    assert [finding["operator"] for finding in findings(found, "random")] == ["RandomNormalLike", "Mod"]


def test_a_graph_whose_shapes_are_wrong_is_looked_at_all_the_same(found: Any) -> None:
    assert one(found, "broken")["operator"] == "Mod"


def test_a_node_without_a_name_is_named_by_what_it_makes(found: Any) -> None:
    assert one(found, "nameless")["node"] == "y"


def test_a_finding_of_many_nodes_names_a_few(found: Any) -> None:
    assert one(found, "many")["nodes"] == [f"t{index}" for index in range(7)]
    assert "Tanh t0 (and t1, t2, t3 and 3 more) on opencl: " in found["many"]["lines"][0]


def test_rules_in_an_unknown_form_are_refused(found: Any) -> None:
    assert "block, warn" in found["wrong"]["level"] and "constant, computed" in found["wrong"]["kind"]
