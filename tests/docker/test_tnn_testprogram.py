"""TNN's test program and its model check: command lines, words, and what they mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from jobkit import GraphError, OptionError
from tnntoys import TIME, modelcheck, program, testprogram

INPUTS = {"x": np.array([[1.5, -2.0]], np.float32)}

ECHO = """\
#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in -ip) in=$2 ;; -op) out=$2 ;; esac
    shift 2
done
"""
ANSWER = 'printf "1\\ny mat_type: 32 dims: 2 1 2\\n" > "$out"; cat "$in" >> "$out"\n'
SAY_TIME = f'echo "{TIME}"\n'


def stand_in(home: Path, body: str, device: str = "x86") -> testprogram.OnDevice:
    path = home / "TNNTest"
    path.write_text(ECHO + body)
    path.chmod(0o755)
    return testprogram.OnDevice(home, home / "model.tnnproto", device, 2)


def test_the_command_is_upstreams_and_names_the_device() -> None:
    words = testprogram.command(Path("/opt/tnn"), Path("/j/model.tnnproto"), "x86", Path("/w"), 2, 1, 3)
    assert " ".join(words) == (
        "/opt/tnn/TNNTest -mt TNN -mp /j/model.tnnproto -dt X86 -nt NAIVE -ip /w/in.txt -op /w/out.txt "
        "-ic 1 -wc 3 -th 2"
    )
    assert testprogram.DEVICES == {"x86": "X86", "naive": "NAIVE"}


@pytest.mark.parametrize(
    "line",
    [
        TIME,
        "time cost: min = 82.104 ms | max = 83.5 ms | avg = 82.750 ms",
        "I/tnn: Print [File test/timer.cc][Line 58] model.tnnproto TNN Benchmark "
        "time cost: min = 82.104   ms  |  max = 83.5     ms  |  avg = 82.750   ms ",
    ],
)
def test_the_time_line_is_read(line: str) -> None:
    cost = testprogram.read_cost(["something", line, "else"])
    assert (cost.least, cost.most, cost.mean) == (82.104, 83.5, 82.75)


def test_the_last_of_several_time_lines_counts_and_none_is_none() -> None:
    assert testprogram.read_cost(["time cost: min = 1 ms | max = 1 ms | avg = 1 ms", TIME]).mean == 82.75
    assert testprogram.read_cost(["time cost: min = ? ms"]) is None


def test_a_run_gives_outputs_and_the_seconds_of_the_inference_alone(tmp_path: Path) -> None:
    runs = stand_in(tmp_path, ANSWER + SAY_TIME)
    assert runs.seconds is None
    assert runs(INPUTS)["y"].tolist() == [[1.5, -2.0]]
    assert runs.measured() == pytest.approx(0.08275)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("kill -SEGV $$\n", "X86 device crashed with signal 11 (SIGSEGV)"),
        (ANSWER + "kill -ABRT $$\n", "crashed with signal 6 (SIGABRT)"),
        # It ends with 0 all the same.
        ('echo "E/tnn: CheckResult [File a][Line 1] create instance failed: code: 0x6000 msg: no Einsum "\n',
         "cannot do it: create instance failed: code: 0x6000 msg: no Einsum"),
        (ANSWER + SAY_TIME + 'echo "E/tnn: CheckResult [File a][Line 1] Forward failed: code: 1 msg: dims"\n',
         "cannot do it: Forward failed: code: 1 msg: dims"),
        (SAY_TIME, "left no outputs"),
        (ANSWER, "left no time"),
        ('echo "Parameter -mp is not set"\nexit 255\n', "ended with code 255 and left no time: Parameter -mp"),
        (ANSWER + SAY_TIME + "exit 1\n", "ended with code 1 and left outputs that are not trusted"),
        ('printf "1\\ny mat_type: 32 dims: 2 1 2\\n1.5\\n" > "$out"\n' + SAY_TIME, "1 values; its headers promise 2"),
    ],
)  # fmt: skip
def test_a_run_that_fails_is_told_by_its_words_and_files_not_by_its_code(
    tmp_path: Path, body: str, words: str
) -> None:
    runs = stand_in(tmp_path, body)
    with pytest.raises(GraphError) as caught:
        runs(INPUTS)
    assert words in caught.value.message and caught.value.remedy


def test_the_plain_device_is_named_and_has_no_other_to_fall_back_to(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="TNN's NAIVE device") as caught:
        stand_in(tmp_path, "kill -SEGV $$\n", "naive")(INPUTS)
    assert "device: naive" not in caught.value.remedy


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="feeds one input, and the model has 2: x, z"):
        stand_in(tmp_path, "")({**INPUTS, "z": INPUTS["x"]})


def test_the_model_check_is_told_both_files_and_the_device() -> None:
    words = modelcheck.command(Path("/opt/tnn"), Path("/j/model.tnnproto"), "x86")
    assert " ".join(words) == "/opt/tnn/model_check -p /j/model.tnnproto -m /j/model.tnnmodel -d X86"


@pytest.mark.parametrize(
    ("code", "line", "verdict"),
    [
        (0, "model check pass!", "passed"),
        (255, "model check failed!", "failed"),
        (0, "model check failed!", "failed"),
        (1, "model check pass!", "no verdict: it ended with code 1"),
        (-11, "", "no verdict: it crashed with signal 11 (SIGSEGV)"),
        (0, "usage:", "no verdict: it ended with code 0"),
    ],
)
def test_the_verdict_of_the_model_check_is_in_its_words(code: int, line: str, verdict: str) -> None:
    assert modelcheck.verdict(program.Ended(code, ("init model config success!", line))) == verdict
