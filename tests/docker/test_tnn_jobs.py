"""Whole jobs of the tnn target in its own Python environment, with stand-ins for what only the image has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobfolder import DOCKER, Ended, run_job
from tnntoys import TNN, fake_programs

from modelfarm.console import Console
from modelfarm.errors import MachineError
from modelfarm.runners.venv import VenvRunner
from modelfarm.settings import from_environment
from modelfarm.target import read_target

CONVERTER = TNN / "converter.py"
SHAPE = "picture:1,3,16,16"


@pytest.fixture(scope="module")
def python() -> Path:
    """Return the interpreter of the Python half of the toolchain, installed where it is not yet."""
    target, settings = read_target(TNN / "target.yaml"), from_environment()
    runner = VenvRunner(environments=settings.environments, torch_index="")
    known = sorted((Path.home() / ".pyenv" / "versions").glob("3.9.*/bin"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", os.pathsep.join([*map(str, known[-1:]), os.environ["PATH"]]))
        found = shutil.which("python3.9")
        # pyenv puts a python3.9 on the path that may only say that it is not switched on.
        if not found or subprocess.run([found, "--version"], capture_output=True).returncode:
            pytest.skip("there is no Python 3.9 on this machine")
        try:
            runner.prepare(target, Console())
        except MachineError as error:
            pytest.skip(f"the packages of the tnn toolchain cannot be installed here: {error}")
    return runner.folder(target) / "bin" / "python"


def run_tiny(folder: Path, python: Path, mode: str = "good", *, shape: str = SHAPE, **changes: Any) -> Ended:
    """Run the self-test's small job as `mode` says that TNN's programs behave; `changes` replace fields of it."""
    shutil.copytree(TNN / "self_test", folder)
    subprocess.run([python, folder / "make_source.py"], cwd=folder, check=True)
    document = {**json.loads((folder / "job.json").read_text()), **changes}
    (folder / "job.json").write_text(json.dumps(document))
    random = np.random.default_rng(0)
    arrays = {f"{index}/{item['name']}": random.random(item["shape"]).astype(item["dtype"])
              for index in range(len(document["samples"])) for item in document["inputs"]}  # fmt: skip
    np.savez(folder / "in" / "samples.npz", **arrays)
    home = fake_programs(folder.with_name(f"{folder.name}-tnn"), python)
    return run_job(folder, CONVERTER, str(python), MODE=mode, MODELFARM_TNN=str(home), SHAPE=shape)


def refusal(ended: Ended, kind: str = "GraphError") -> str:
    assert ended.code == 1, ended.output
    error = ended.result["error"]
    assert error["class"] == kind and error["remedy"], error
    left = {path.name for path in (ended.folder / "out").iterdir()}
    assert not [name for name in left if name.endswith(".partial")], left
    return str(error["message"])


def test_a_job_converts_runs_on_both_devices_and_gives_what_onnx_runtime_gives(tmp_path: Path, python: Path) -> None:
    ended = run_tiny(tmp_path / "job", python)
    assert ended.code == 0, ended.output
    result, outputs, reference = ended.result, ended.arrays("outputs.npz"), ended.arrays("reference.npz")
    plain = ended.arrays("outputs-naive.npz")
    assert sorted(outputs.files) == sorted(reference.files) == sorted(plain.files) == ["0/scores", "1/scores"]
    for name in outputs.files:
        np.testing.assert_allclose(outputs[name], reference[name], atol=2e-6)
        np.testing.assert_array_equal(outputs[name], plain[name])
    assert result["files"] == ["model.tnnproto", "model.tnnmodel"]
    # What the stand-in prints for every run, whatever the clock says.
    assert result["latency"]["median_ms"] == result["latency"]["p95_ms"] == 82.75
    assert result["signature"]["outputs"] == [{"name": "scores", "shape": [1, 3], "dtype": "float32"}]
    assert result["device"] == {"wanted": "cpu", "used": "cpu", "detail": "TNN X86, 1 threads"}
    facts = result["facts"]
    assert facts["weights"] == "fp32" and facts["model check"] == "passed"
    assert facts["difference from NAIVE"] == {"scores": 0.0} and facts["simplified"]["before"] == 5
    assert {"onnx", "onnxsim", "onnxruntime", "protobuf", "numpy", "python"} == set(result["versions"])
    assert result["versions"]["protobuf"] == "3.20.3" and result["versions"]["python"].startswith("3.9.")
    steps = [event["step"] for event in ended.events if event["event"] == "end"]
    assert "convert with onnx2tnn" in steps and "compare X86 with NAIVE" in steps
    left = {path.name for path in (ended.folder / "out").iterdir()}
    assert left == {"model.tnnproto", "model.tnnmodel", "outputs.npz", "outputs-naive.npz", "reference.npz",
                    "result.json", "events.jsonl"}  # fmt: skip


def test_the_graph_is_folded_before_it_is_converted(tmp_path: Path, python: Path) -> None:
    ended = run_tiny(tmp_path / "job", python)
    code = "import onnx, sys; print(*[n.op_type for n in onnx.load(sys.argv[1]).graph.node])"
    made = subprocess.run([python, "-c", code, ended.folder / "out" / "model.tnnmodel"], capture_output=True, text=True)
    # The stand-in keeps the graph that it was given as its weights.
    assert made.stdout.split() == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert "$ " in ended.output and "folding.py" in ended.output


def test_half_precision_and_no_optimisation_reach_the_converter(tmp_path: Path, python: Path) -> None:
    options = {"device": "naive", "optimize": False, "threads": 1}
    ended = run_tiny(tmp_path / "job", python, precision="fp16", options=options)
    assert ended.code == 0, ended.output
    assert "-half=1" in ended.output and "-optimize=0" in ended.output
    assert ended.result["facts"]["weights"] == "fp16" and ended.result["device"]["detail"] == "TNN NAIVE"
    assert "difference from NAIVE" not in ended.result["facts"] and "-dt X86" not in ended.output


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("unsupported", "does not have the operator GRU, Mod"),
        ("segv", "crashed with signal 11 (SIGSEGV) at the operator GridSample"),
        ("abort", "crashed with signal 6 (SIGABRT) at the operator GridSample"),
        ("lied", "ended with code 0 without success"),
        ("small", "model.opt.tnnproto has 1 bytes"),
        ("run crashes", "TNN's X86 device crashed with signal 11 (SIGSEGV)"),
        ("no instance", "create instance failed: code: 0x6000 msg: no layer Einsum"),
        ("devices differ", "another scores than its plain device on random-0"),
    ],
)
def test_a_failure_is_named_whatever_its_exit_code(tmp_path: Path, python: Path, mode: str, words: str) -> None:
    assert words in refusal(run_tiny(tmp_path / "job", python, mode))


def test_what_the_test_program_cannot_be_given_is_refused_before_anything_runs(tmp_path: Path, python: Path) -> None:
    one = {"name": "picture", "shape": [1, 3, 16, 16], "dtype": "float32", "layout": "NCHW"}
    for name, changes, kind, words in [
        ("two", {"inputs": [one, {**one, "name": "other"}]}, "OptionError", "has 2: picture, other"),
        ("bytes", {"inputs": [{**one, "dtype": "uint8"}]}, "OptionError", "picture is uint8"),
        ("colon", {"inputs": [{**one, "name": "picture:0"}]}, "GraphError", "splits"),
        ("device", {"options": {"device": "cuda"}}, "OptionError", "'cuda'"),
    ]:
        ended = run_tiny(tmp_path / name, python, **changes)
        assert words in refusal(ended, kind) and "$ " not in ended.output


def test_an_output_of_another_shape_is_refused_unless_only_ones_differ(tmp_path: Path, python: Path) -> None:
    outputs = [{"name": "scores", "shape": [3], "dtype": "float32"}]
    ended = run_tiny(tmp_path / "ones", python, outputs=outputs, reference=False)
    assert ended.code == 0 and ended.arrays("outputs.npz")["0/scores"].shape == (3,)
    assert ended.arrays("outputs-naive.npz")["0/scores"].shape == (3,)
    outputs = [{"name": "scores", "shape": [1, 4], "dtype": "float32"}]
    assert "the shape [1, 3]; the recipe has [1, 4]" in refusal(run_tiny(tmp_path / "job", python, outputs=outputs))


def test_a_damaged_graph_is_refused_with_what_onnxsim_says(tmp_path: Path, python: Path) -> None:
    folder = tmp_path / "job"
    run_tiny(folder, python)
    (folder / "in" / "source" / "model.onnx").write_bytes(b"no graph")
    home = folder.with_name("job-tnn")
    document = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps({**document, "reference": False}))
    ended = run_job(folder, CONVERTER, str(python), MODELFARM_TNN=str(home), SHAPE=SHAPE)
    assert ended.result["error"]["message"].startswith("onnxsim ended with code 1: ")


def test_files_that_are_given_are_run_and_not_converted(tmp_path: Path, python: Path) -> None:
    first = run_tiny(tmp_path / "first", python)
    given = tmp_path / "job" / "in" / "given"
    shutil.copytree(tmp_path / "first", tmp_path / "job")
    shutil.rmtree(tmp_path / "job" / "out")
    given.mkdir()
    for name in ("model.tnnproto", "model.tnnmodel"):
        shutil.copy(first.folder / "out" / name, given)
    document = json.loads((tmp_path / "job" / "job.json").read_text())
    document.update(given=["model.tnnproto", "model.tnnmodel"], reference=False)
    (tmp_path / "job" / "job.json").write_text(json.dumps(document))
    home = str(tmp_path / "first-tnn")
    ended = run_job(tmp_path / "job", CONVERTER, str(python), MODE="lied", MODELFARM_TNN=home, SHAPE=SHAPE)
    assert ended.code == 0, ended.output
    np.testing.assert_array_equal(ended.arrays("outputs.npz")["0/scores"], first.arrays("outputs.npz")["0/scores"])


def test_without_tnns_programs_the_image_is_named(tmp_path: Path, python: Path) -> None:
    run_tiny(tmp_path / "job", python)
    empty = str(tmp_path / "nothing")
    ended = run_job(tmp_path / "job", CONVERTER, str(python), MODELFARM_TNN=empty)
    assert "onnx2tnn.py, TNNTest, model_check are not in" in refusal(ended, "ContractError")
    assert "make images TARGET=tnn" in ended.result["error"]["remedy"]


def test_the_modules_need_what_the_lock_has_and_their_own_python(tmp_path: Path, python: Path) -> None:
    shutil.copytree(TNN, tmp_path / "tnn")
    done = subprocess.run([python, "-m", "compileall", "-q", tmp_path / "tnn"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    lines = [line for path in TNN.glob("*.py") for line in path.read_text().splitlines()]
    roots = {line.split()[1].split(".")[0] for line in lines if line.strip().startswith(("import ", "from "))}
    own = {path.stem for path in TNN.glob("*.py")}
    assert roots - own - {"jobkit", "numpy", "onnx", "onnxsim", "onnxruntime"} <= set(sys.stdlib_module_names)
    assert (DOCKER / "tnn" / "requirements.txt").read_text().count("protobuf==3.20.3") == 1
