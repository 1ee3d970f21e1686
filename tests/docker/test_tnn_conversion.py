"""TNN's converter: what it is told, and what its words and files mean; its exit code means nothing."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from jobkit import GraphError
from tnntoys import CRASHED, GOOD, LIED, UNSUPPORTED, conversion, program

WISH = conversion.Wish(Path("/w/model.onnx"), {"images": (1, 3, 640, 640)}, half=False, optimize=True)


def test_the_command_is_upstreams() -> None:
    words = conversion.command("python3", Path("/opt/tnn"), WISH, Path("/w/tnn"))
    assert " ".join(words) == (
        "python3 -u /opt/tnn/onnx2tnn.py /w/model.onnx -version=v1.0 -optimize=1 -half=0 -o /w/tnn "
        "-input_shape images:1,3,640,640"
    )


def test_half_precision_and_several_inputs_are_said_too() -> None:
    wish = conversion.Wish(Path("/w/m.onnx"), {"a": (1, 2), "b": (3,)}, half=True, optimize=False)
    words = conversion.command("python3", Path("/opt/tnn"), wish, Path("/w"))
    assert words[4:] == ["-version=v1.0", "-optimize=0", "-half=1", "-o", "/w", "-input_shape", "a:1,2", "b:3"]
    assert conversion.made_by(wish, Path("/w")).proto == Path("/w/m.tnnproto")


def test_an_optimised_model_has_opt_in_its_name() -> None:
    made = conversion.made_by(WISH, Path("/w"))
    assert (made.proto, made.model) == (Path("/w/model.opt.tnnproto"), Path("/w/model.opt.tnnmodel"))


@pytest.mark.parametrize("name", ["images:0", "my input", "a,b", 'a"b', "-o", ""])
def test_a_name_that_the_command_line_splits_is_refused(name: str) -> None:
    with pytest.raises(GraphError, match="splits"):
        conversion.check_names(["fine", name])
    conversion.check_names(["images", "/model.0/x"])


def judged(folder: Path, text: str, *, code: int = 0, proto: int = 500, model: int = 4000, **changes: Any) -> str:
    """Give what is said of a conversion, empty where it succeeded; sizes below zero are absent files."""
    made = conversion.made_by(WISH, folder)
    for path, size in ((made.proto, proto), (made.model, model)):
        if size >= 0:
            path.write_bytes(b"x" * size)
    try:
        ended = program.Ended(code, tuple(text.splitlines()))
        conversion.judge(ended, made, **{"weights": 4000, "half": False, **changes})
    except GraphError as error:
        assert error.remedy
        return error.message
    return ""


def test_the_status_line_and_both_files_are_a_success(tmp_path: Path) -> None:
    assert judged(tmp_path, GOOD) == ""


def test_an_unsupported_operator_is_named_once_each_whatever_else_is_said(tmp_path: Path) -> None:
    wanted = "TNN's converter does not have the operator GRU, Mod"
    for code in (0, -6, -11):
        assert judged(tmp_path, UNSUPPORTED, code=code) == wanted
    # Even where it goes on, reports success and writes both files.
    assert judged(tmp_path, f"{UNSUPPORTED}\n{GOOD}") == wanted


@pytest.mark.parametrize(("code", "signal"), [(-11, "11 (SIGSEGV)"), (-6, "6 (SIGABRT)"), (139, "11 (SIGSEGV)")])
def test_a_crash_names_the_operator_that_was_being_converted(tmp_path: Path, code: int, signal: str) -> None:
    message = judged(tmp_path, CRASHED, code=code)
    assert f"crashed with signal {signal} at the operator GridSample, node /s/GridSample_output_0" in message


def test_a_crash_without_a_word_says_so(tmp_path: Path) -> None:
    assert "names no operator" in judged(tmp_path, "2.----onnx2tnn: x", code=-11)


def test_a_crash_after_the_status_line_is_none_the_less_one(tmp_path: Path) -> None:
    assert "SIGSEGV" in judged(tmp_path, GOOD, code=-11)


def test_being_killed_is_no_fault_of_an_operator(tmp_path: Path) -> None:
    assert "was killed, most likely for want of memory" in judged(tmp_path, CRASHED, code=-9)


def test_exit_code_0_without_the_status_line_is_a_failure_though_both_files_are_there(tmp_path: Path) -> None:
    message = judged(tmp_path, LIED)
    assert "ended with code 0 without success" in message and "ConstFolder Init Error" in message


def test_another_status_is_a_failure(tmp_path: Path) -> None:
    assert "without success" in judged(tmp_path, GOOD.replace("status: 0", "status: -1"))


def test_a_traceback_is_a_failure_with_its_last_line(tmp_path: Path) -> None:
    text = "Traceback (most recent call last):\n  File 'x'\nModuleNotFoundError: No module named 'onnx2tnn'"
    assert "No module named 'onnx2tnn'" in judged(tmp_path, text, code=1, proto=-1, model=-1)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"proto": -1}, "model.opt.tnnproto is absent"),
        ({"model": -1}, "model.opt.tnnmodel is absent"),
        ({"proto": 0}, "model.opt.tnnproto has 0 bytes"),
        ({"model": 1999}, "model.opt.tnnmodel has 1,999 bytes, fewer than the 2,000"),
        ({"proto": -1, "model": 0}, "absent and model.opt.tnnmodel has 0"),
    ],
)
def test_absent_and_implausibly_small_files_are_a_failure(tmp_path: Path, sizes: dict[str, int], words: str) -> None:
    assert words in judged(tmp_path, GOOD, **sizes)


def test_half_precision_may_have_half_the_size(tmp_path: Path) -> None:
    assert judged(tmp_path, GOOD, model=1999, half=True) == ""
    assert judged(tmp_path, GOOD, model=999, half=True)


def test_a_model_without_weights_still_needs_a_file_with_something_in_it(tmp_path: Path) -> None:
    assert judged(tmp_path, GOOD, weights=0, model=1) == ""
    assert "has 0 bytes" in judged(tmp_path, GOOD, weights=0, model=0)


def run(folder: Path, code: str) -> Any:
    return program.run([sys.executable, "-c", code], folder)


def test_both_streams_of_a_program_are_kept_and_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ended = run(tmp_path, "import os; os.write(1, b'one\\n'); os.write(2, b'two \\xff\\n'); print(os.getcwd())")
    assert ended.lines == ("one", "two \\xff", str(tmp_path)) and ended.code == 0 and not ended.signal
    assert "two \\xff\n" in capfd.readouterr().out


@pytest.mark.parametrize(("number", "name"), [(6, "SIGABRT"), (11, "SIGSEGV")])
def test_the_signal_that_ended_a_program_has_its_name(tmp_path: Path, number: int, name: str) -> None:
    ended = run(tmp_path, f"import os; os.kill(os.getpid(), {number})")
    assert ended.crashed and ended.signal == name and name in ended.how


def test_an_exit_code_of_4096_is_0_to_whoever_started_it(tmp_path: Path) -> None:
    assert run(tmp_path, "exit(4096)").code == 0


def test_what_a_program_started_does_not_outlive_it(tmp_path: Path) -> None:
    child = "if not os.fork():\n  print(os.getpid(), flush=True)\n  os.close(1)\n  os.close(2)\n  time.sleep(60)\n"
    ended = run(tmp_path, f"import os, time\n{child}else:\n  time.sleep(1)")
    state = Path("/proc", ended.lines[0], "stat")
    # Whoever took it over may not have looked yet: then it is there still, and dead.
    for _ in range(100):
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the child lives on")


def test_the_last_words_of_a_crashing_converter_are_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    words = "import ctypes, os\nctypes.CDLL(None).puts(b'node:a onnx:Conv -> tnn:Convolution')\nos.abort()"
    (tmp_path / "onnx2tnn.py").write_text(words)
    assert program.run([sys.executable, str(tmp_path / "onnx2tnn.py")], tmp_path).lines == ()
    ended = program.run(conversion.command(sys.executable, tmp_path, WISH, tmp_path), tmp_path)
    assert ended.crashed and ended.lines == ("node:a onnx:Conv -> tnn:Convolution",)
