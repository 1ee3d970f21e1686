"""Whole jobs of the trt-rtx target: real engines, built on a machine without a GPU, and what is refused by name."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobfolder import Ended, job_command
from rtxtoys import CONVERTER, GRAPHS, PATHS, enginefile, job, prepare

ALL = [75, 80, 86, 89, 120, 121]


@pytest.fixture(scope="module")
def graphs(script: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of graphs, made in the onnx toolchain."""
    folder = tmp_path_factory.mktemp("graphs")
    assert script("rtx_graphs", folder) == sorted(GRAPHS)
    return folder


@pytest.fixture(scope="module")
def conv(rtx_python: Path, graphs: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Return the job of a small convolution; tests only read it."""
    return job(tmp_path_factory.mktemp("conv") / "job", graphs / "conv.onnx", rtx_python)


@pytest.fixture
def run(rtx_python: Path, graphs: Path, tmp_path: Path) -> Callable[..., Ended]:
    """Return a function that runs a job on a graph of this name."""
    return lambda name, **changes: job(tmp_path / "job", graphs / f"{name}.onnx", rtx_python, **changes)


def refused(ended: Ended, kind: str) -> Any:
    """Return the error of a job that said no, and did not crash."""
    assert ended.code == 1, ended.output
    error = ended.result["error"]
    assert (error["kind"], error["class"]) == ("refused", kind), error
    assert error["remedy"]
    assert not (ended.folder / "out" / "model.engine").exists()
    return error


# What is built


def test_an_engine_is_built_for_every_generation_and_inspected(conv: Ended) -> None:
    assert conv.code == 0, conv.output
    result = conv.result
    assert result["files"] == ["model.engine"]
    assert result["facts"]["compute capabilities"] == ALL
    assert "left out" not in result["facts"]
    assert result["signature"] == {
        "inputs": [{"name": "x", "shape": [1, 3, 8, 8], "dtype": "float32"}],
        "outputs": [{"name": "y", "shape": [1, 4, 8, 8], "dtype": "float32"}],
    }
    assert result["latency"] is None and not (conv.folder / "out" / "outputs.npz").exists()
    assert result["device"]["used"] == "none"
    assert "on compute capabilities 7.5, 8.0, 8.6, 8.9, 12.0, 12.1" in result["device"]["detail"]


def test_the_manifests_facts_say_what_runs_it(conv: Ended) -> None:
    facts, versions = conv.result["facts"], conv.result["versions"]
    version = versions["tensorrt-rtx-cu13-libs"]
    assert facts["runtime"] == {"name": "TensorRT-RTX", "version": version}
    assert facts["engine"]["version"] == version == versions["tensorrt-rtx-cu13-bindings"]
    assert facts["engine"]["bytes"] == (conv.folder / "out" / "model.engine").stat().st_size
    assert facts["network"]["layers"]["convolution"] == 1 and facts["network"]["layers"]["activation"] == 1
    assert set(facts["network"]["types"]) == {"float32"}


def test_the_file_is_one_that_tensorrt_itself_knows(conv: Ended, rtx_python: Path) -> None:
    # It sees the version and the place of the engine, and then asks for a GPU.
    code = """
import json, sys, tensorrt_rtx_bindings as trt
logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
blob = open(sys.argv[1], "rb").read()
print(json.dumps([trt.__version__, trt.Runtime(logger).engine_header_size, str(blob[:4], "ascii")]))
"""
    done = subprocess.run([str(rtx_python), "-c", code, str(conv.folder / "out" / "model.engine")],
                          capture_output=True, text=True)
    version, header, magic = json.loads(done.stdout.splitlines()[-1])
    found = enginefile.read(conv.folder / "out" / "model.engine")
    assert (found.version, enginefile.HEADER, enginefile.MAGIC.decode()) == (version, header, magic)


def test_equal_jobs_give_equal_bytes(conv: Ended, run: Callable[..., Ended]) -> None:
    again = run("conv")
    first, second = ((ended.folder / "out" / "model.engine").read_bytes() for ended in (conv, again))
    assert first == second
    assert again.result["facts"] == conv.result["facts"]


def test_one_generation_makes_a_smaller_engine(conv: Ended, run: Callable[..., Ended]) -> None:
    one = run("conv", options={"compute_capabilities": ["8.6"]})
    assert one.code == 0, one.output
    assert one.result["facts"]["compute capabilities"] == [86]
    assert one.result["facts"]["engine"]["bytes"] < conv.result["facts"]["engine"]["bytes"]
    assert {"event": "note", "text": "it serves compute capabilities 8.6"}.items() <= {
        key: value for event in one.events if event.get("text", "").startswith("it serves")
        for key, value in event.items()}.items()


def test_a_free_batch_has_a_profile(run: Callable[..., Ended]) -> None:
    ended = run("free", options={"batch": "1,4,8"})
    assert ended.code == 0, ended.output
    (tensor,) = ended.result["signature"]["inputs"]
    assert isinstance(tensor["shape"][0], str) and tensor["shape"][1:] == [3, 8, 8]


def test_files_that_are_given_are_not_built_anew(conv: Ended, run: Callable[..., Ended], tmp_path: Path) -> None:
    given = tmp_path / "job" / "in" / "given"
    given.mkdir(parents=True)
    (given / "model.engine").write_bytes((conv.folder / "out" / "model.engine").read_bytes())
    ended = run("conv", given=["model.engine"])
    assert ended.code == 0, ended.output
    assert ended.result["facts"]["engine"] == conv.result["facts"]["engine"]
    assert "compute capabilities" not in ended.result["facts"]


# What a generation does not take


def test_a_generation_that_does_not_take_the_model_is_left_out_and_named(run: Callable[..., Ended]) -> None:
    ended = run("gemm")
    assert ended.code == 0, ended.output
    facts = ended.result["facts"]
    assert facts["compute capabilities"] == ALL[1:]
    assert list(facts["left out"]) == ["75"]
    assert "score" in facts["left out"]["75"] and "FP32 GEMM is not supported" in facts["left out"]["75"]
    assert "_src" not in facts["left out"]["75"]
    assert any(event.get("text", "").startswith("not for compute capability 7.5: ") for event in ended.events)


def test_where_it_was_asked_for_that_is_an_error(run: Callable[..., Ended]) -> None:
    error = refused(run("gemm", options={"compute_capabilities": ["75", "86"]}), "BuildError")
    assert "TensorRT-RTX 1.7.1.116 cannot build the network: " in error["message"]
    assert "'score'" in error["message"] and "SM75" in error["message"]


# What is refused


def test_every_node_that_tensorrt_has_not_is_named_with_its_operator(run: Callable[..., Ended]) -> None:
    error = refused(run("unsupported", outputs=("y", "z")), "GraphError")
    assert "cannot take 2 nodes of the graph: " in error["message"]
    assert "Det determinant: there is no such operator" in error["message"]
    assert "Unique once: there is no such operator" in error["message"]
    assert "first" not in error["message"]


def test_an_operator_of_another_domain_is_named(run: Callable[..., Ended]) -> None:
    error = refused(run("foreign"), "GraphError")
    assert "cannot take a node of the graph: Sharpen sharper: there is no such operator" in error["message"]


def test_a_node_without_a_name_is_told_by_its_operator(run: Callable[..., Ended]) -> None:
    assert "cannot take a node of the graph: Det: " in refused(run("nameless"), "GraphError")["message"]


@pytest.mark.parametrize("size", [0, 5, 300])
def test_a_damaged_graph_is_refused(rtx_python: Path, graphs: Path, tmp_path: Path, size: int) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes((graphs / "conv.onnx").read_bytes()[:size])
    error = refused(job(tmp_path / "job", damaged, rtx_python), "GraphError")
    assert error["remedy"] == "the file is damaged: make the ONNX artifact anew"


def test_a_file_that_is_no_onnx_is_refused(rtx_python: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("hello\n")  # the parser takes it, for a graph of nothing
    error = refused(job(tmp_path / "job", text, rtx_python), "GraphError")
    assert "holds no graph with inputs and outputs" in error["message"]


@pytest.mark.parametrize("capability", ["87", "7.0", "ampere"])
def test_a_generation_that_there_is_not_is_refused_at_once(run: Callable[..., Ended], capability: str) -> None:
    ended = run("conv", options={"compute_capabilities": ["86", capability]})
    error = refused(ended, "OptionError")
    assert f"no compute capability {capability}" in error["message"]
    assert error["remedy"].startswith("choose from 75 (7.5), 80 (8.0), 86 (8.6), ")
    assert "convert" not in ended.result["timings"]


def test_a_range_of_batches_for_a_fixed_batch_is_refused(run: Callable[..., Ended]) -> None:
    assert "the graph's batch is fixed" in refused(run("conv", options={"batch": "1,4,8"}), "OptionError")["message"]


def test_another_source_is_refused(run: Callable[..., Ended]) -> None:
    error = refused(run("conv", source={"kind": "tflite", "file": "in/source/model.onnx"}), "SourceError")
    assert "reads ONNX files" in error["message"]


def test_an_engine_of_another_model_is_not_taken_for_this_one(conv: Ended, run: Callable[..., Ended],
                                                              tmp_path: Path) -> None:
    given = tmp_path / "job" / "in" / "given"
    given.mkdir(parents=True)
    content = (conv.folder / "out" / "model.engine").read_bytes()
    (given / "model.engine").write_bytes(content[:-1000])
    error = run("conv", given=["model.engine"]).result["error"]
    assert error["class"] == "GraphError" and "it is truncated" in error["message"]


LITTLE = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
sys.argv = ["jobkit", sys.argv[2]]
runpy.run_module("jobkit", run_name="__main__")
"""


def test_too_little_memory_is_said(rtx_python: Path, graphs: Path, tmp_path: Path) -> None:
    folder = prepare(tmp_path / "job", graphs / "large.onnx", options={"compute_capabilities": ["86"]})
    _, environment = job_command(folder, CONVERTER, str(rtx_python))
    done = subprocess.run([str(rtx_python), "-c", LITTLE, str(1_300_000_000), str(folder)], cwd=folder,
                          env={**environment, "PYTHONPATH": PATHS, "OPENBLAS_NUM_THREADS": "1"})
    error = Ended(code=done.returncode, output="", folder=folder).result["error"]
    assert (error["class"], error["remedy"]) == ("MemoryError", "give it more memory"), error
