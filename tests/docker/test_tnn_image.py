"""TNN itself, on real graphs: these tests run where its image is, and it is compiled in about ten minutes elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobfolder import Ended, write_job
from tnntoys import TNN

from modelfarm.containers import find_client
from modelfarm.digest import Digests
from modelfarm.target import read_target
from modelfarm.toolchain import local_name

PICTURE = {"name": "x", "shape": [1, 3, 16, 16], "dtype": "float32", "layout": "NCHW"}
INSIDE = "/opt/toolchain/bin/python"

# Made by the toolchain's own onnx: NODES is put in its place.
MAKE = """
import numpy as np, onnx
from onnx import TensorProto, helper, numpy_helper
def node(operator, *names, **attributes):
    return helper.make_node(operator, names[:-1], names[-1:], name=operator.lower(), **attributes)
random = np.random.RandomState(0)
weights = {"w": random.standard_normal((8, 3, 3, 3)), "r": random.standard_normal((1, 6, 16)),
           "s": random.standard_normal((1, 6, 2))}
nodes = NODES
read = {name for each in nodes for name in each.input}
tensors = [numpy_helper.from_array(weights[name].astype(np.float32), name) for name in weights if name in read]
x = helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)
y = helper.make_value_info("y", helper.make_tensor_type_proto(TensorProto.FLOAT, None))
graph = helper.make_graph(nodes, "toy", [x], [y], tensors)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=7)
onnx.save(onnx.shape_inference.infer_shapes(model), "/job/in/source/model.onnx")
"""

POOL = "kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return docker's program and the image of this checkout, or skip."""
    client = find_client("docker")
    if client is None or client.problem():
        pytest.skip("docker does not answer")
    name = local_name(read_target(TNN / "target.yaml"), Digests(tmp_path_factory.mktemp("digests")))
    if client.image(name) is None:
        pytest.skip(f"there is no image {name}; make images TARGET=tnn builds it")
    return str(client.program), name


@pytest.fixture
def run_graph(image: tuple[str, str], tmp_path: Path) -> Callable[..., Ended]:
    """Return a function that makes a graph in the image and converts and runs it there."""
    docker, name = image

    def container(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
        mount = ["--volume", f"{folder}:/job", "--user", f"{os.getuid()}:{os.getgid()}"]
        command = [docker, "run", "--rm", "--network", "none", "--tmpfs", "/tmp", *mount, *words]
        return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run(nodes: str, *, opset: int = 12, **changes: Any) -> Ended:
        folder = tmp_path / f"job{len(list(tmp_path.iterdir()))}"
        fields = {"inputs": [PICTURE], "outputs": [{"name": "y", "shape": None, "dtype": None}], "target": "tnn",
                  "source": {"kind": "onnx", "file": "in/source/model.onnx"}, "precision": "fp32", "variant": "tnn",
                  "promises": ["model.tnnproto", "model.tnnmodel"], **changes}  # fmt: skip
        (entry,) = fields["inputs"]
        sample = np.random.default_rng(0).standard_normal(entry["shape"], dtype=np.float32)
        write_job(folder, [{entry["name"]: sample}], **fields)
        code = MAKE.replace("NODES", nodes).replace("SHAPE", str(entry["shape"])).replace("OPSET", str(opset))
        made = container(folder, "--entrypoint", INSIDE, name, "-c", code)
        assert made.returncode == 0, made.stdout
        done = container(folder, name, "/job")
        return Ended(code=done.returncode, output=done.stdout, folder=folder)

    return run


def test_the_image_tests_itself_and_is_small(image: tuple[str, str]) -> None:
    docker, name = image
    command = [docker, "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", name, "--self-test"]
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout
    size = subprocess.run([docker, "image", "inspect", name], capture_output=True, text=True, check=True).stdout
    assert json.loads(size)[0]["Size"] < 600_000_000


def test_a_convolution_gives_what_onnx_runtime_gives_on_both_devices(run_graph: Callable[..., Ended]) -> None:
    ended = run_graph("[node('Conv', 'x', 'w', 'c', pads=[1, 1, 1, 1]), node('Relu', 'c', 'y')]")
    assert ended.code == 0, ended.output
    wanted = ended.arrays("reference.npz")["0/y"]
    for file in ("outputs.npz", "outputs-naive.npz"):
        np.testing.assert_allclose(ended.arrays(file)["0/y"], wanted, atol=1e-4 * np.abs(wanted).max())
    assert ended.result["latency"]["median_ms"] > 0


def test_half_precision_makes_smaller_weights(run_graph: Callable[..., Ended]) -> None:
    nodes = "[node('Conv', 'x', 'w', 'y', pads=[1, 1, 1, 1])]"
    whole, half = run_graph(nodes), run_graph(nodes, precision="fp16", variant="tnn-fp16")
    assert half.code == 0, half.output
    sizes = [(ended.folder / "out" / "model.tnnmodel").stat().st_size for ended in (whole, half)]
    assert sizes[1] < 0.75 * sizes[0]
    error = np.abs(half.arrays("outputs.npz")["0/y"] - half.arrays("reference.npz")["0/y"]).max()
    assert 0 < error < 0.05


def test_a_padded_average_is_as_wrong_as_lint_says(run_graph: Callable[..., Ended]) -> None:
    ended = run_graph(f"[node('AveragePool', 'x', 'y', {POOL})]")
    assert ended.code == 0, ended.output
    error = np.abs(ended.arrays("outputs.npz")["0/y"] - ended.arrays("reference.npz")["0/y"]).max()
    assert error > 0.05


@pytest.mark.parametrize(
    ("nodes", "operator", "shape", "opset"),
    [
        ("[helper.make_node('GRU', ['x', 'r', 's'], ['y'], hidden_size=2)]", "GRU", [3, 1, 16], 12),
        ("[node('Mod', 'x', 'x', 'y', fmod=1)]", "Mod", [1, 3, 16, 16], 12),
    ],
)
def test_an_operator_that_tnn_does_not_have_is_named(
    run_graph: Callable[..., Ended], nodes: str, operator: str, shape: list[int], opset: int
) -> None:
    ended = run_graph(nodes, opset=opset, inputs=[{**PICTURE, "shape": shape}])
    assert ended.code == 1, ended.output
    error = ended.result["error"]
    assert error["class"] == "GraphError" and operator in error["message"] and "make lint" in error["remedy"]
