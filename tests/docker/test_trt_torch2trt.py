"""The way by torch2trt, as far as it goes without a GPU: what it refuses, and that its modules run on Python 3.8.

torch2trt imports TensorRT, which needs a GPU; a stand-in takes its place where the call itself is looked at.
"""

from __future__ import annotations

import ast
import sys
from importlib import util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trttoys  # noqa: F401 - it puts docker/trt on the path
from jobfolder import DOCKER
from jobkit import GraphError, OptionError, SourceError

FOLDER = DOCKER / "trt-torch2trt"
SHARED = [*(DOCKER / "trt").glob("*.py"), *(DOCKER / "trt-onnx2trt").glob("*.py"), *FOLDER.glob("*.py"),
          *(DOCKER / "onnx" / f"{name}.py" for name in ("source", "checkpoint", "pickles", "records", "weights"))]


@pytest.fixture(scope="module")
def converter() -> Any:
    spec = util.spec_from_file_location("torch2trt_converter", FOLDER / "converter.py")
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", SHARED, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_what_the_image_runs_is_python_38(file: Path) -> None:
    tree = ast.parse(file.read_text(), feature_version=(3, 8))
    newer = {"removeprefix", "removesuffix", "pairwise", "is_relative_to"}
    wrong = [f"line {node.lineno}" for node in ast.walk(tree)
             if (isinstance(node, ast.keyword) and node.arg in ("kw_only", "slots"))
             or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "zip"
                 and any(word.arg == "strict" for word in node.keywords))
             or (isinstance(node, ast.Attribute) and node.attr in newer)]
    assert wrong == []
    assert "from __future__ import annotations" in file.read_text() or file.name == "converter.py"


def job(**changes: Any) -> Any:
    shape = {"precision": "fp32", "options": {}, "calibration": None, "source": None,
             "inputs": [SimpleNamespace(name="x", shape=(1, 3))], "outputs": [SimpleNamespace(name="y")]}
    return SimpleNamespace(**{**shape, **changes})


@pytest.mark.parametrize(("changes", "words"), [
    ({"options": {"batch": "1,4,8"}}, "for the recipe's batch only"),
    ({"options": {"fp32_layers": ["conv"]}}, "cannot keep single layers"),
    ({"options": {"adapt": {"half": True}}}, "no ONNX graph that could be edited"),
    ({"precision": "int8"}, "int8 wants calibration samples"),
])
def test_what_torch2trt_cannot_do_is_refused_before_anything_starts(converter: Any, changes: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        converter.check_options(job(**changes))


def test_a_source_that_is_no_pytorch_model_is_refused(converter: Any) -> None:
    with pytest.raises(SourceError, match="reads PyTorch models"):
        converter.prepare(job(source=SimpleNamespace(kind="onnx")))


class Tensor:
    """As much of a tensor as is handed through."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape = np.asarray(array), np.shape(array)

    def cuda(self) -> Tensor:
        return self

    def __getitem__(self, index: int) -> Tensor:
        return Tensor(self.array[index])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return what torch2trt is called with; the modules of PyTorch and torch2trt are stand-ins."""
    calls: list[Any] = []

    def torch2trt(model: Any, sample: Any, **options: Any) -> Any:
        if model == "odd":
            raise AttributeError("'Tensor' object has no attribute '_trt'")
        if model == "broken":
            raise AttributeError("'Odd' object has no attribute 'weight'")
        calls.append((model, sample, options))
        return "made"

    monkeypatch.setitem(sys.modules, "torch2trt", SimpleNamespace(torch2trt=torch2trt))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(from_numpy=Tensor))
    return calls


def test_the_wish_is_handed_on_in_torch2trts_words(converter: Any, asked: list[Any]) -> None:
    assert converter._converted(job(precision="fp16", options={"workspace": 99}), "model", ["x"]) == "made"
    ((model, sample, options),) = asked
    assert (model, sample) == ("model", ["x"])
    assert options == {"input_names": ["x"], "output_names": ["y"], "fp16_mode": True, "max_workspace_size": 99,
                       "max_batch_size": 1}


def test_the_calibration_set_goes_item_by_item(converter: Any, asked: list[Any]) -> None:
    samples = [{"x": np.full((2, 3), number, np.float32)} for number in range(3)]
    wish = job(precision="int8", calibration=samples, inputs=[SimpleNamespace(name="x", shape=(2, 3))])
    converter._converted(wish, "model", ["x"])
    options = asked[0][2]
    items = options["int8_calib_dataset"]
    assert options["int8_mode"] and options["int8_calib_batch_size"] == 2
    assert [item[0].shape for item in items] == [(3,)] * 6
    assert [item[0].array[0] for item in items] == [0, 0, 1, 1, 2, 2]


def test_a_layer_without_a_converter_is_told_and_other_errors_are_not_hidden(converter: Any, asked: list[Any]) -> None:
    with pytest.raises(GraphError, match="no converter for a layer"):
        converter._converted(job(), "odd", ["x"])
    with pytest.raises(AttributeError, match="weight"):
        converter._converted(job(), "broken", ["x"])
