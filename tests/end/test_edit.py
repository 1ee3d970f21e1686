"""Edited graphs from end to end: trained models with other batches and fewer branches, by plain ONNX Runtime."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfarm.settings import ROOT
from tests.conftest import Toolchain
from tests.end.conftest import Shop

# What each of four items gives alone, in the file before; the same four in one run, and two, in the files after.
_EQUAL = """
import json, sys
import numpy as np, onnxruntime

def opened(file):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(file, options)

def error(session, items, single):
    found = session.run(None, {session.get_inputs()[0].name: items})
    assert [each.shape for each in found] == [each.shape for each in single], "other shapes"
    return max(float(np.abs(one - other).max() / np.abs(other).max()) for one, other in zip(found, single))

answers = {}
for name, before, four, free in json.loads(sys.argv[1]):
    before, four, free = opened(before), opened(four), opened(free)
    entry = before.get_inputs()[0]
    rng = np.random.default_rng(7)
    items = rng.random((4, *entry.shape[1:]), np.float32)
    runs = [before.run(None, {entry.name: items[index:index + 1]}) for index in range(4)]
    single = [np.concatenate(parts) for parts in zip(*runs)]
    answers[name] = {
        "shapes": [[each.shape[0] for each in (*session.get_inputs(), *session.get_outputs())]
                   for session in (four, free)],
        "four": error(four, items, single),
        "free": max(error(free, items[:count], [each[:count * len(each) // 4] for each in single])
                    for count in (4, 3, 1)),
        "alike": max(float(np.abs(run - runs[0][0]).max()) for run, *_ in runs[1:]) < 1e-6,
    }
print(json.dumps(answers))
"""

_PAIR = """
import json, sys
import numpy as np, onnx, onnxruntime
ours, theirs = ([onnx.load(path), onnxruntime.InferenceSession(path)] for path in sys.argv[1:3])
picture = np.random.default_rng(3).standard_normal((1, 3, 240, 320)).astype(np.float32)
found = [{entry.name: array for entry, array in zip(session.get_outputs(), session.run(None, {"input": picture}))}
         for _, session in (ours, theirs)]
print(json.dumps({
    "outputs": [sorted([name, list(array.shape)] for name, array in arrays.items()) for arrays in found],
    "error": max(float(np.abs(found[0][name] - found[1][name]).max()) for name in found[1]),
    "nodes": [len(model.graph.node) for model, _ in (ours, theirs)],
}))
"""

RECIPE = """\
name: {name}
description: a file
source: {{onnx: {{file: {file}}}}}
inputs: {{{input}: {{shape: {shape}}}}}
outputs: [{outputs}]
samples: {{random: 1}}
targets: {{onnx: {{}}}}
"""

# name: (input, the shape of an item, outputs)
MODELS = {
    "digits-file": ("input", [1, 8, 8], "probabilities"),
    "ultraface-slim-320-onnx": ("input", [3, 240, 320], "scores, boxes"),
    "shufflenet-v2-12-int8": ("input", [3, 224, 224], "output"),
    "heads": ("data", [3, 640, 640], "stride_8, stride_16, stride_32"),
}


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory, stocked: Shop, data: Path) -> Shop:
    """Return a store in which each model has a batch of 4, and, as NAME-free, a free one that is made from that."""
    folder = tmp_path_factory.mktemp("edited")
    shop = replace(Shop(artifacts=folder / "artifacts"), models=folder / "models")
    for name in ("ultraface-slim-320-onnx", "shufflenet-v2-12-int8"):
        shutil.copytree(ROOT / "models" / name, shop.models / name)
    _write(shop, "digits-file", stocked.latest("digits") / "model.onnx", 1)
    _write(shop, "heads", data / "weights" / "yolov5n-0.5-face.upstream-heads.onnx", 1)
    _edit(shop, data, *MODELS, batch="4")
    for name in MODELS:
        if name != "heads":  # four pictures of its size, stacked, would take most of a minute
            _write(shop, f"{name}-free", shop.latest(name, "onnx-batch4") / "model.onnx", 4)
    _write(shop, "heads-free", shop.models / "heads" / "source.onnx", 1)
    _edit(shop, data, *(f"{name}-free" for name in MODELS), batch="batch")
    return shop


def _write(shop: Shop, name: str, file: Path, batch: int) -> None:
    entry, shape, outputs = MODELS[name.removesuffix("-free")]
    (shop.models / name).mkdir(parents=True)
    (shop.models / name / "model.yaml").write_text(
        RECIPE.format(name=name, file="source.onnx", input=entry, shape=[batch, *shape], outputs=outputs))
    shutil.copy(file, shop.models / name / "source.onnx")


def _edit(shop: Shop, data: Path, *models: str, **edit: str) -> None:
    words = [word for name, value in edit.items() for word in (f"--{name}", value)]
    ran = shop.run("edit", "--model", ",".join(models), *words, MODELFARM_DATA=str(data), JOBS="2")
    assert ran.code == 0, ran.out + ran.err


@pytest.fixture(scope="module")
def compared(edited: Shop, stocked: Shop, data: Path, toolchain: Toolchain) -> Any:
    """Return how the files with four and with free items compare with single runs of the files before."""
    before = {name: edited.models / name / "source.onnx" for name in ("digits-file", "heads")}
    before |= {name: data / "weights" / f"{name.removesuffix('-onnx')}.onnx" for name in MODELS if name not in before}
    files = [[name, str(before[name]), str(edited.latest(name, "onnx-batch4") / "model.onnx"),
              str(edited.latest(f"{name}-free", "onnx-batch") / "model.onnx")] for name in MODELS]
    return toolchain(_EQUAL, json.dumps(files))


@pytest.mark.parametrize("model", MODELS)
def test_four_items_give_what_each_gives_alone(compared: Any, model: str) -> None:
    assert compared[model]["four"] < 1e-5
    assert not compared[model]["alike"], "items that give the same prove nothing"


@pytest.mark.parametrize("model", MODELS)
def test_a_batch_of_four_made_free_takes_any(compared: Any, model: str) -> None:
    assert compared[model]["free"] < 1e-5
    four, free = compared[model]["shapes"]
    assert set(four) == {4}
    assert set(free) == {"batch"}


@pytest.mark.parametrize(("model", "gates"), [
    ("digits-file", {"complete", "signature", "finite", "parity"}),
    ("ultraface-slim-320-onnx", {"complete", "signature", "finite", "parity", "predictions", "golden"}),
    ("shufflenet-v2-12-int8", {"complete", "signature", "finite", "parity", "predictions", "golden"}),
])
def test_an_edited_graph_passes_the_gates_of_the_recipe(edited: Shop, model: str, gates: set[str]) -> None:
    smoke = json.loads((edited.latest(model, "onnx-batch4") / "smoke.json").read_text())
    assert {gate["name"] for gate in smoke["gates"] if gate["state"] == "passed"} >= gates


def test_the_manifest_lists_what_the_edit_changed_and_its_proof(edited: Shop) -> None:
    manifest = json.loads((edited.latest("heads", "onnx-batch4") / "manifest.json").read_text())
    changed = manifest["predicate"]["verification"]["facts"]["edited"]["changed"]
    assert changed[0] == "batch: 1 becomes 4"
    assert [line for line in changed if "Reshape" in line], changed
    assert re.search("difference|equal", changed[-1]), changed


def test_an_edit_is_a_variant_of_its_own_and_leaves_latest_alone(edited: Shop) -> None:
    variants = {folder.name for folder in (edited.artifacts / "heads").iterdir()}
    assert variants == {"onnx-batch4"}


def test_the_branch_that_upstream_removed_is_removed(edited: Shop, data: Path, toolchain: Toolchain) -> None:
    """The file without post-processing was published beside the whole one; the nodes are those that it lacks."""
    _edit(edited, data, "ultraface-slim-320-onnx", remove="377,384")
    folders = edited.artifacts / "ultraface-slim-320-onnx"
    (variant,) = (folder.name for folder in folders.iterdir() if "remove" in folder.name)
    ours = edited.latest("ultraface-slim-320-onnx", variant) / "model.onnx"
    theirs = data / "weights" / "ultraface-slim-320.no-postprocess.onnx"
    pair = toolchain(_PAIR, str(ours), str(theirs))
    assert pair["outputs"][0] == pair["outputs"][1]
    assert pair["error"] < 1e-4
    assert pair["nodes"][0] <= pair["nodes"][1]


_MIXED = """
import sys
import numpy as np, onnx
from onnx import TensorProto, helper, numpy_helper
x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 1, 6])
y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 12])
node = helper.make_node("Reshape", ["x", "shape"], ["y"], name="mix")
graph = helper.make_graph([node], "mixed", [x], [y], [numpy_helper.from_array(np.array([2, 12]), "shape")])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7), sys.argv[1])
print("null")
"""


def test_what_cannot_have_another_batch_is_refused_with_the_node(shop: Shop, tmp_path: Path,
                                                                 toolchain: Toolchain) -> None:
    folder = tmp_path / "models" / "mixed"
    folder.mkdir(parents=True)
    toolchain(_MIXED, str(folder / "source.onnx"))
    (folder / "model.yaml").write_text(
        RECIPE.format(name="mixed", file="source.onnx", input="x", shape=[4, 1, 6], outputs="y"))
    ran = replace(shop, models=tmp_path / "models").run("edit", "--model", "mixed", "--batch", "batch")
    assert ran.code == 5, ran.out + ran.err
    assert "Reshape mix mixes the batch with other axes" in ran.err
    assert not (shop.artifacts / "mixed").exists()


def test_the_difference_of_two_graphs_is_told(edited: Shop, data: Path) -> None:
    weights = data / "weights"
    ran = edited.run("diff", "--one", str(weights / "ultraface-slim-320.onnx"),
                     "--other", "ultraface-slim-320-onnx/onnx-batch4", MODELFARM_DATA=str(data))
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert "input    ~ input float32[1, 3, 240, 320] -> float32[4, 3, 240, 320]" in lines
    assert "opset    ai.onnx: 9 -> 12" in lines
    assert [line for line in lines if line.startswith("operator ")]
