"""The words and exit codes of onnx2trt, recorded and written after its sources: it runs only where there is a GPU.

A stand-in program prints them where a whole process is wanted, so that codes and signals are real.
"""

from __future__ import annotations

import sys
from importlib import util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trttoys  # noqa: F401 - it puts docker/trt on the path
from jobfolder import DOCKER
from jobkit import GraphError, OptionError
from jobkit.program import Ended, run

FOLDER = DOCKER / "trt-onnx2trt"
sys.path.append(str(FOLDER))
import onnx2trt  # noqa: E402

HEAD = """\
----------------------------------------------------------------
Input filename:   in/source/model.onnx
ONNX IR version:  0.0.7
Opset version:    13
Producer name:    pytorch
Producer version: 2.13.0
Domain:
Model version:    0
Doc string:
----------------------------------------------------------------
Parsing model
"""
GOOD = HEAD + """\
Building TensorRT engine, FP16 available:1
    Max workspace size: 1024 MiB
[2026-11-25 12:00:03 WARNING] TensorRT was linked against cuDNN 8.2.1 but loaded cuDNN 8.4.0
Writing TensorRT engine to out/model.engine
All done
"""
SLOW_HALF = GOOD.replace("FP16 available:1", "FP16 available:0")
# Two nodes that it does not take; the second of TensorRT 8's parser, which names its file with a path.
UNSUPPORTED = HEAD + """\
[2026-11-25 12:00:01   ERROR] ModelImporter.cpp:773: While parsing node number 57 [GridSample -> "onnx::Add_674"]:
While parsing node number 57 [GridSample -> "onnx::Add_674"]:
ERROR: ModelImporter.cpp:140 In function parseGraph:
[8] No importer registered for op: GridSample
While parsing node number 249 [Unsqueeze -> "383"]:
ERROR: /src/onnx-tensorrt/onnx2trt_utils.cpp:188 In function convertAxis:
[8] Assertion failed: axis >= 0 && axis < nbDims && "the axis is outside the tensor"
"""
WITHOUT_NODE = HEAD + """\
ERROR: ModelImporter.cpp:92 In function parseGraph:
[6] Invalid graph
"""
NO_MEMORY = HEAD + """\
Building TensorRT engine, FP16 available:1
[2026-11-25 12:00:04   ERROR] 2: [virtualMemoryBuffer.cpp::resizePhysical::140] Error Code 2: OutOfMemory
terminate called after throwing an instance of 'std::runtime_error'
  what():  Failed to create object
"""
USAGE = "Unexpected argument -X\nONNX to TensorRT model parser\nUsage: onnx2trt onnx_model.pb\n"


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    file = tmp_path / "model.engine"
    file.write_bytes(b"ptrt" * 100)
    return file


def judged(text: str, code: int, engine: Path, precision: str = "fp32") -> GraphError | None:
    try:
        onnx2trt.judge(Ended(code, tuple(text.splitlines())), engine, precision)
    except GraphError as error:
        return error
    return None


def said(text: str, code: int, engine: Path, precision: str = "fp32") -> str:
    error = judged(text, code, engine, precision)
    assert error is not None and error.remedy
    return error.message


def test_a_build_that_went_well_is_no_matter(engine: Path) -> None:
    assert judged(GOOD, 0, engine) is None
    assert judged(GOOD, 0, engine, "fp16") is None


def test_the_command_names_file_engine_workspace_and_bits() -> None:
    words = onnx2trt.command(Path("/opt/onnx2trt"), Path("in/model.onnx"), Path("out/model.engine"), "fp16", 1 << 28)
    assert words == ["/opt/onnx2trt", "in/model.onnx", "-o", "out/model.engine", "-w", "268435456", "-d", "16"]


def test_every_node_that_it_cannot_take_is_named_once_with_its_operator(engine: Path) -> None:
    assert said(UNSUPPORTED, 251, engine) == (
        "onnx2trt cannot take the graph: GridSample onnx::Add_674: No importer registered for op: GridSample; "
        "Unsqueeze 383: the axis is outside the tensor")


def test_an_error_about_no_node_is_told_too(engine: Path) -> None:
    assert said(WITHOUT_NODE, 251, engine) == "onnx2trt cannot take the graph: Invalid graph"


def test_an_error_without_a_reason_tells_where_it_was(engine: Path) -> None:
    cut = "\n".join(UNSUPPORTED.splitlines()[:14])
    assert "GridSample onnx::Add_674: parseGraph in ModelImporter.cpp" in said(cut, 251, engine)


def test_a_node_without_an_output_has_its_number(engine: Path) -> None:
    text = UNSUPPORTED.replace(' -> "onnx::Add_674"', "")
    assert "GridSample number 57: No importer" in said(text, 251, engine)


def test_many_errors_are_counted_after_the_first_dozen(engine: Path) -> None:
    block = 'While parsing node number {0} [Odd -> "{0}"]:\nERROR: a.cpp:1 In function f:\n[8] no\n'
    message = said("".join(block.format(number) for number in range(20)), 251, engine)
    assert message.count("Odd ") == 12 and message.endswith("and 8 more")


@pytest.mark.parametrize(("code", "words"), [
    (255, "does not know its own options"), (254, "does not know this precision"), (253, "cannot read the ONNX file"),
    (252, "cannot read the ONNX file"), (250, "cannot write the engine"), (251, "ended with code 251"),
])
def test_each_exit_code_of_its_own_has_words(engine: Path, code: int, words: str) -> None:
    assert words in said(USAGE if code == 255 else HEAD, code, engine)


def test_a_builder_that_fails_ends_it_by_a_signal_and_is_quoted(engine: Path) -> None:
    message = said(NO_MEMORY, -6, engine)
    assert "crashed with signal 6 (SIGABRT)" in message and "OutOfMemory" in message


def test_a_silent_fall_back_to_fp32_is_a_failure(engine: Path) -> None:
    assert "this GPU has no fast half precision" in said(SLOW_HALF, 0, engine, "fp16")
    assert judged(SLOW_HALF, 0, engine, "fp32") is None


@pytest.mark.parametrize("content", [None, b"", b"ptrt"])
def test_success_without_an_engine_is_none(engine: Path, content: bytes | None) -> None:
    engine.unlink()
    if content is not None:
        engine.write_bytes(content)
    size = len(content or b"")
    assert f"reports success, and its engine has {size} bytes" in said(GOOD, 0, engine)


@pytest.mark.parametrize(("text", "code", "fragment"), [(UNSUPPORTED, -5, "GridSample"), (HEAD, -3, "cannot read"),
                                                        (USAGE, -1, "its own options")])
def test_negative_codes_of_a_real_process_come_as_bytes(tmp_path: Path, engine: Path, text: str, code: int,
                                                        fragment: str) -> None:
    program = tmp_path / "onnx2trt"
    program.write_text(f"#!{sys.executable}\nimport sys\nprint({text!r})\nsys.exit({code})\n")
    program.chmod(0o755)
    ended = run(onnx2trt.command(program, Path("a.onnx"), engine, "fp32", 1), tmp_path)
    with pytest.raises(GraphError, match=fragment):
        onnx2trt.judge(ended, engine, "fp32")


def converter() -> Any:
    spec = util.spec_from_file_location("onnx2trt_converter", FOLDER / "converter.py")
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("precision", "options", "words"), [
    ("int8", {}, "builds no engine in int8"), ("fp32", {"batch": "1,4,8"}, "no range of batches"),
    ("fp16", {"fp32_layers": ["conv"]}, "cannot keep single layers"),
])
def test_what_the_program_cannot_do_is_refused_before_anything_starts(precision: str, options: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words) as caught:
        converter().check_options(SimpleNamespace(precision=precision, options=options))
    assert "VIA=python" in caught.value.remedy


def test_what_it_can_do_is_let_through() -> None:
    for precision, options in [("fp32", {}), ("fp16", {"batch": "8", "workspace": 1}), ("fp32", {"batch": ""})]:
        converter().check_options(SimpleNamespace(precision=precision, options=options))
