"""What lint says of graphs for TFLite, and that it is so: the toolchains' own lists, and converters that refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jobfolder import DOCKER

TAKES = yaml.safe_load((DOCKER / "tflite" / "target.yaml").read_text())["operators"]

# Modules of onnx2tf and handlers of onnx-tf that are for other domains than ONNX's own.
FOREIGN = {"ConstantFill", "FusedConv", "GroupNorm", "ImageScaler", "Input", "Inverse", "ScaleAndTranslate"}


@pytest.fixture(scope="module")
def found(script: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return script("tflite_lints", tmp_path_factory.mktemp("lints"), json.dumps(TAKES))


@pytest.fixture(scope="module")
def refused(script_in: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return script_in("tflite", "tflite_without", tmp_path_factory.mktemp("without"))


def packages(python: Path) -> Path:
    (folder,) = (python.parent.parent / "lib").glob("python3*/site-packages")
    return folder


def test_the_names_are_those_that_the_two_converters_have_rules_for(
    found: Any, interpreter_of: Callable[[str], Path]
) -> None:
    handlers = packages(interpreter_of("tflite")) / "onnx_tf" / "handlers" / "backend"
    modules = packages(interpreter_of("tflite-onnx2tf")) / "onnx2tf" / "ops"
    known = {name for file in handlers.glob("*.py") for name in re.findall(r'@onnx_op\("(\w+)"\)', file.read_text())}
    known |= {file.stem for file in modules.glob("*.py") if not file.stem.startswith("_")}
    foreign = {name for name in known if name in FOREIGN or name.startswith("QLinear")} - set(found["standard"])
    assert set(TAKES["takes"]) == known - foreign
    assert len(TAKES["takes"]) == len(set(TAKES["takes"])) and found["unknown"] == []


@pytest.mark.parametrize("name", ["Relu", "Conv", "Sigmoid", "Softplus", "HardSigmoid", "TopK", "GatherND", "no gaps",
                                  "floor", "linear"])
def test_what_tflite_takes_has_no_finding(found: Any, name: str) -> None:
    assert found[name]["lines"] == []


@pytest.mark.parametrize(("name", "words"), [
    ("Erf", "form with tanh"), ("Softsign", "x / (1 + abs(x))"), ("Atan", "select_ops: true"), ("Det", "determinant"),
    ("LSTM", "via: onnx2tf"), ("NonMaxSuppression", "make edit KEEP"), ("Unique", "onnx-tf does not have it"),
    ("QuantizeLinear", "precision int8"), ("gaps", "windows have gaps"), ("volume", "pooling of volumes"),
    ("remainder", "sign of the dividend"),
])
def test_what_may_do_with_another_way_or_operators_of_tensorflow_only_warns(found: Any, name: str, words: str) -> None:
    (finding,) = found[name]["findings"]
    assert not finding["blocks"] and words in f"{finding['reason']} {finding['remedy']}"


@pytest.mark.parametrize(("name", "words"), [
    ("cubic", "neither way resizes bicubically"), ("RandomNormalLike", "others in each run"),
    ("NotThere", "TensorFlow Lite does not have the operator NotThere"),
])
def test_what_no_way_can_do_blocks(found: Any, name: str, words: str) -> None:
    (finding,) = found[name]["findings"]
    assert finding["blocks"] and words in finding["reason"] and finding["remedy"]


@pytest.mark.parametrize("name", ["Acos", "Asinh", "Atan", "Cosh", "Tan", "Erf", "Softsign"])
def test_the_converter_really_refuses_what_is_warned_of(found: Any, refused: Any, name: str) -> None:
    assert found[name]["lines"]
    assert refused[name]["message"] == f"TFLite does not have {name} among its builtin operators"


def test_the_converter_really_refuses_gaps_and_signed_remainders(refused: Any) -> None:
    assert refused["gaps"]["message"] == "TFLite does not have Dilation2D among its builtin operators"
    assert refused["remainder"]["message"] == "TFLite does not have TruncateMod among its builtin operators"


def test_what_is_not_warned_of_is_converted(refused: Any) -> None:
    assert refused["Relu"]["errors"]["y"] == 0.0
    # A file with more graphs than the main one: what onnx-tf makes of GatherND has branches.
    assert refused["places"]["errors"]["y"] == 0.0
