"""Differences of two graphs, as the real toolchain tells them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from modelfarm.console import Console
from modelfarm.differ import print_differences
from modelfarm.errors import ConversionError, UsageError
from modelfarm.farm import Farm
from modelfarm.runners import VenvRunner
from modelfarm.settings import from_environment
from modelfarm.target import read_targets
from tests.conftest import Toolchain

_MAKE = """
import sys
from pathlib import Path
import onnx
from onnx import TensorProto, helper

def save(name, operator, size):
    x, y = (helper.make_tensor_value_info(side, TensorProto.FLOAT, [size, 3]) for side in "xy")
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"], name="only")], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
    onnx.save(model, Path(sys.argv[1]) / name)

save("one.onnx", "Relu", 1)
save("same.onnx", "Relu", 1)
save("other.onnx", "Abs", 4)
print("null")
"""


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory, toolchain: Toolchain) -> Path:
    """Return a folder with two equal graphs, another one, and what is none."""
    folder = tmp_path_factory.mktemp("graphs")
    toolchain(_MAKE, str(folder))
    (folder / "none.onnx").write_bytes(b"no graph at all")
    return folder


def told(one: Path, other: Path) -> list[str]:
    settings, stream = from_environment(), io.StringIO()
    runner = VenvRunner(environments=settings.environments, torch_index=settings.torch_index)
    print_differences(runner, read_targets()["onnx"], one, other, Console(stream, live=False))
    return stream.getvalue().splitlines()


def test_two_files_of_one_graph_are_equal(graphs: Path) -> None:
    assert told(graphs / "one.onnx", graphs / "same.onnx") == ["the graphs are equal"]


def test_all_that_differs_is_told(graphs: Path) -> None:
    assert told(graphs / "one.onnx", graphs / "other.onnx") == [
        "input    ~ x float32[1, 3] -> float32[4, 3]",
        "output   ~ y float32[1, 3] -> float32[4, 3]",
        "operator Abs: 0 -> 1 (+1)",
        "operator Relu: 1 -> 0 (-1)",
        "node     ~ Relu only: Relu -> Abs",
    ]


@pytest.mark.parametrize(("one", "other"), [("none.onnx", "one.onnx"), ("one.onnx", "none.onnx")])
def test_what_is_no_graph_is_named(graphs: Path, one: str, other: str) -> None:
    with pytest.raises(ConversionError) as caught:
        told(graphs / one, graphs / other)
    assert caught.value.message.startswith(f"{graphs / one} and {graphs / other} cannot be compared: ")
    assert "none.onnx" in caught.value.message.partition("compared: ")[2], "which of them"
    assert "Traceback" not in caught.value.message
    assert caught.value.code == 5


@pytest.mark.parametrize(("one", "other", "missing"), [("", "b.onnx", "A"), (__file__, "", "B")])
def test_both_graphs_must_be_named(one: str, other: str, missing: str) -> None:
    with pytest.raises(UsageError, match=f"{missing}= is missing"):
        Farm.here().diff(one, other, Console(io.StringIO(), live=False))
