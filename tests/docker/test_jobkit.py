"""The life of a job, in real processes with a converter of numpy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobfolder import Ended, job_command, run_job, write_job

DOUBLING = """
import time
import numpy as np
from jobkit import Device, Refused, Runtime, Tensor

PACKAGES = ("numpy", "no-such-package")

def convert(job):
    job.facts["scale"] = 2
    print("converting", job.model)
    (job.out / "model.toy").write_text("2")
    return ["model.toy"]

def load(files, job):
    scale = float((job.out / files[0]).read_text())
    return runtime(scale, "toy runtime")

def reference(job):
    return runtime(2.0, "source")

def runtime(scale, detail):
    def run(inputs):
        return {"y": inputs["x"] * np.float32(scale), "unasked": inputs["x"]}
    x, y = (Tensor(name, ("batch", 3), "float32") for name in "xy")
    return Runtime(run, (x,), (y,), Device("cpu", "cpu", detail))
"""

SAMPLES = [{"x": np.array([[1, 2, 3]], np.float32)}, {"x": np.array([[-1, 0, 0.5]], np.float32)}]


def run_toy(tmp_path: Path, converter: str = DOUBLING, extra: str = "", **changes: Any) -> Ended:
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "converter.py"
    path.write_text(converter + textwrap.dedent(extra))
    return run_job(write_job(tmp_path / "job", SAMPLES, **changes), path)


def test_a_job_writes_its_outputs_its_reference_and_its_result(tmp_path: Path) -> None:
    ended = run_toy(tmp_path)
    assert ended.code == 0, ended.output
    outputs, reference = ended.arrays("outputs.npz"), ended.arrays("reference.npz")
    assert sorted(outputs.files) == ["0/y", "1/y"] == sorted(reference.files)
    assert outputs["0/y"].tolist() == [[2, 4, 6]]
    assert reference["1/y"].tolist() == [[-2, 0, 1]]
    result = ended.result
    assert result["schema"] == 1 and result["ok"] is True and result["error"] is None
    assert result["files"] == ["model.toy"]
    assert result["signature"]["inputs"] == [{"name": "x", "shape": ["batch", 3], "dtype": "float32"}]
    assert result["device"] == {"wanted": "cpu", "used": "cpu", "detail": "toy runtime"}
    assert result["facts"] == {"scale": 2}
    assert result["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert result["versions"]["numpy"] == np.__version__ and "no-such-package" not in result["versions"]
    assert set(result["timings"]) == {"import", "convert", "load", "reference", "inference"}
    assert result["latency"]["sample"] == "sample-0" and result["latency"]["runs"] == 6
    assert 0 < result["latency"]["median_ms"] <= result["latency"]["p95_ms"]


def test_what_this_machine_cannot_run_is_inspected(tmp_path: Path) -> None:
    ended = run_toy(tmp_path, extra="""
        from jobkit import Inspected

        def load(files, job):
            x, y = (Tensor(name, ("batch", 3), "float32") for name in "xy")
            return Inspected((x,), (y,), Device("gpu", "none", "it wants a toy machine"))
    """)
    assert ended.code == 0, ended.output
    result = ended.result
    assert result["ok"] is True and result["latency"] is None
    assert result["device"] == {"wanted": "gpu", "used": "none", "detail": "it wants a toy machine"}
    assert [tensor["name"] for tensor in result["signature"]["outputs"]] == ["y"]
    assert set(result["timings"]) == {"import", "convert", "load", "reference"}
    assert not (ended.folder / "out" / "outputs.npz").exists()
    assert ended.arrays("reference.npz")["0/y"].tolist() == [[2, 4, 6]]
    assert {"event": "note", "text": "not run: it wants a toy machine"}.items() <= ended.events[-1].items()


def test_the_folder_holds_nothing_half_written_at_the_end(tmp_path: Path) -> None:
    ended = run_toy(tmp_path)
    names = sorted(path.name for path in (ended.folder / "out").iterdir())
    assert names == ["events.jsonl", "model.toy", "outputs.npz", "reference.npz", "result.json"]


def test_events_tell_of_each_step_with_its_seconds_and_of_progress(tmp_path: Path) -> None:
    events = run_toy(
        tmp_path,
        extra="""
        def prepare(job):
            with job.events.step("look around"):
                job.events.note("a note, with an umlaut: ü")
    """,
    ).events
    begun = [event["step"] for event in events if event["event"] == "start"]
    ended = [event for event in events if event["event"] == "end"]
    assert begun[:3] == ["import the toy toolchain", "look around", "run the source model"]
    assert sorted(begun) == sorted(event["step"] for event in ended)
    assert all(event["seconds"] >= 0 for event in ended)
    assert {"text": "a note, with an umlaut: ü"}.items() <= next(e for e in events if e["event"] == "note").items()
    assert [(e["done"], e["of"]) for e in events if e["event"] == "progress"] == [(1, 2), (2, 2), (1, 2), (2, 2)]
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)


def test_a_tensor_tells_its_layout_and_its_numbers_where_it_has_them(tmp_path: Path) -> None:
    ended = run_toy(
        tmp_path,
        extra="""
        def load(files, job):
            plain = runtime(2.0, "toy")
            whole = Tensor("x", (1, 3), "uint8", layout="NHWC", scale=0.25, zero_point=0)
            return Runtime(plain.run, (whole,), plain.outputs, plain.device)
    """,
    )
    assert ended.result["signature"]["inputs"] == [
        {"name": "x", "shape": [1, 3], "dtype": "uint8", "layout": "NHWC", "scale": 0.25, "zero_point": 0}
    ]
    assert set(ended.result["signature"]["outputs"][0]) == {"name", "shape", "dtype"}


CALIBRATED = """
def convert(job):
    if job.calibration is None:
        job.facts["calibration"] = None
    else:
        job.facts["calibration"] = [sample["x"].tolist() for sample in job.calibration]
        job.facts["second"] = job.calibration[1]["x"].tolist()
    (job.out / "model.toy").write_text("2")
    return ["model.toy"]
"""


def calibrate(tmp_path: Path, arrays: dict[str, Any], **changes: Any) -> Ended:
    (tmp_path / "job" / "in").mkdir(parents=True)
    np.savez(tmp_path / "job" / "in" / "calibration.npz", **arrays)
    return run_toy(tmp_path, extra=CALIBRATED, calibration="in/calibration.npz", **changes)


def test_calibration_samples_come_as_samples_do(tmp_path: Path) -> None:
    rows = [np.array([[index, 0, 1]], np.float32) for index in range(11)]
    ended = calibrate(tmp_path, {f"{index}/x": row for index, row in enumerate(rows)})
    assert ended.code == 0, ended.output
    assert ended.result["facts"] == {"calibration": [row.tolist() for row in rows], "second": [[1, 0, 1]]}


def test_without_calibration_there_is_none(tmp_path: Path) -> None:
    assert run_toy(tmp_path, extra=CALIBRATED).result["facts"] == {"calibration": None}


@pytest.mark.parametrize(("arrays", "said"), [
    ({}, "holds no arrays"),
    ({"0/other": np.zeros((1, 3), np.float32)}, "cannot read sample 0"),
    ({"0/x": np.zeros((1, 3), np.float32), "7/x": np.zeros((1, 3), np.float32)}, "cannot read sample 1"),
])
def test_calibration_that_is_not_whole_is_an_error(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    ended = calibrate(tmp_path, arrays)
    assert ended.code == 1
    assert said in ended.result["error"]["message"]


def test_calibration_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    ended = run_toy(tmp_path, extra=CALIBRATED, calibration="in/calibration.npz")
    assert "cannot read" in ended.result["error"]["message"] and "calibration.npz" in ended.result["error"]["message"]


def test_a_converter_is_told_what_the_model_means(tmp_path: Path) -> None:
    extra = """
        def convert(job):
            job.facts["labels"] = job.meaning.get("labels")
            (job.out / "model.toy").write_text("2")
            return ["model.toy"]
    """
    assert run_toy(tmp_path / "one", extra=extra, meaning={"labels": ["cat"]}).result["facts"] == {"labels": ["cat"]}
    assert run_toy(tmp_path / "two", extra=extra).result["facts"] == {"labels": None}


def test_a_refusal_gives_its_class_message_and_remedy(tmp_path: Path) -> None:
    ended = run_toy(
        tmp_path,
        extra="""
        def convert(job):
            print("reading the weights")
            from jobkit import CheckpointError
            raise CheckpointError("these are no weights", "fetch them anew")
    """,
    )
    error = ended.result["error"]
    assert ended.code == 1 and ended.result["ok"] is False
    assert (error["kind"], error["class"]) == ("refused", "CheckpointError")
    assert (error["message"], error["remedy"]) == ("these are no weights", "fetch them anew")
    assert error["log"] == ["reading the weights"]
    assert "reference" in ended.result["timings"] and "convert" in ended.result["timings"]
    assert "CheckpointError: these are no weights" in ended.output


def test_a_crash_gives_the_last_thirty_lines_with_the_traceback(tmp_path: Path) -> None:
    ended = run_toy(
        tmp_path,
        extra="""
        def convert(job):
            for number in range(100):
                print("line", number)
            return 1 / 0
    """,
    )
    error = ended.result["error"]
    assert (error["kind"], error["class"], error["message"]) == ("crash", "ZeroDivisionError", "division by zero")
    assert len(error["log"]) == 30
    assert error["log"][-1] == "ZeroDivisionError: division by zero" and "line 99" in error["log"]
    assert "line 0\n" in ended.output


@pytest.mark.parametrize("end", ["raise SystemExit('over')", "import sys; sys.exit(0)"])
def test_a_converter_that_exits_has_failed(tmp_path: Path, end: str) -> None:
    ended = run_toy(
        tmp_path,
        extra=f"""
        def convert(job):
            {end}
    """,
    )
    assert ended.code == 1 and ended.result["error"]["class"] == "SystemExit"


@pytest.mark.parametrize(
    ("convert", "word"),
    [
        ("return []", "promised ['model.toy']"),
        ("return ['model.toy']", "absent or empty: ['model.toy']"),
        ("(job.out / 'model.toy').touch(); return ['model.toy']", "absent or empty"),
    ],
)
def test_a_broken_promise_is_found(tmp_path: Path, convert: str, word: str) -> None:
    ended = run_toy(
        tmp_path,
        extra=f"""
        def convert(job):
            {convert}
    """,
    )
    assert ended.code == 1 and ended.result["error"]["class"] == "ContractError"
    assert word in ended.result["error"]["message"]


def test_an_output_that_the_model_lacks_is_named_and_leaves_no_array_file(tmp_path: Path) -> None:
    ended = run_toy(tmp_path, outputs=[{"name": "z", "shape": None, "dtype": None}])
    assert ended.result["error"]["message"] == "the model has no output 'z'; it has 'y', 'unasked'"
    assert not list((ended.folder / "out").glob("reference.npz*"))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"schema": 2}, "schema 2"),
        ({"inputs": [{"name": "x"}]}, "'inputs' is wrong: KeyError: 'shape'"),
        ({"source": {"kind": "toy", "file": "../../etc/passwd"}}, "leaves the job folder"),
        ({"source": {"kind": "toy", "file": "/etc/passwd"}}, "leaves the job folder"),
        ({"latency": None}, "'latency' is wrong"),
    ],
)
def test_a_job_that_breaks_the_contract_is_refused_with_the_field(
    tmp_path: Path, change: dict[str, Any], word: str
) -> None:
    ended = run_toy(tmp_path, **change)
    assert ended.code == 1 and ended.result["error"]["class"] == "JobError"
    assert word in ended.result["error"]["message"]


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "job", SAMPLES)
    document = json.loads((folder / "job.json").read_text())
    del document["promises"]
    (folder / "job.json").write_text(json.dumps(document))
    ended = run_job(folder, tmp_path / "converter.py")
    assert ended.result["error"]["message"] == "job.json: 'promises' is absent"


def test_a_missing_sample_is_named(tmp_path: Path) -> None:
    (tmp_path / "converter.py").write_text(DOUBLING)
    folder = write_job(tmp_path / "job", SAMPLES, samples=["one", "two", "three"])
    message = run_job(folder, tmp_path / "converter.py").result["error"]["message"]
    assert "sample 2 (three)" in message


@pytest.mark.parametrize(("converter", "word"), [("load = None", "no convert"), (None, "is no file")])
def test_a_converter_that_is_absent_or_incomplete_is_refused(tmp_path: Path, converter: str | None, word: str) -> None:
    if converter:
        (tmp_path / "converter.py").write_text(converter)
    ended = run_job(write_job(tmp_path / "job", SAMPLES), tmp_path / "converter.py")
    assert ended.result["error"]["class"] == "ContractError" and word in ended.result["error"]["message"]


def test_a_folder_without_a_job_is_a_usage_error(tmp_path: Path) -> None:
    ended = run_job(tmp_path, tmp_path / "converter.py")
    assert ended.code == 2 and "usage" in ended.output


def test_without_a_reference_function_or_wish_there_is_no_reference(tmp_path: Path) -> None:
    ended = run_toy(tmp_path, reference=False)
    assert ended.code == 0 and not (ended.folder / "out" / "reference.npz").exists()
    assert "reference" not in ended.result["timings"]


def test_slow_models_are_measured_five_times_and_no_more(tmp_path: Path) -> None:
    slow = DOUBLING.replace("    def run(inputs):", "    def run(inputs):\n        time.sleep(0.02)")
    ended = run_toy(tmp_path, slow, latency={"warmup": 100, "runs": 100, "seconds": 0.01})
    latency = ended.result["latency"]
    assert latency["runs"] == 5
    assert latency["median_ms"] >= 20


def test_a_runtime_that_measures_itself_is_believed_rather_than_the_clock(tmp_path: Path) -> None:
    own = "np.mean([0, 0.004])"  # seconds
    ended = run_toy(tmp_path, DOUBLING.replace("detail))", f"detail), lambda: {own})"))
    assert ended.result["latency"] == {"median_ms": 2.0, "p95_ms": 2.0, "runs": 6, "sample": "sample-0", "figures": {}}


def test_what_a_runtime_measures_further_stands_beside_its_latency(tmp_path: Path) -> None:
    figures = "figures=lambda sample: {'items per second': float(sample['x'].size)}"
    ended = run_toy(tmp_path, DOUBLING.replace("detail))", f"detail), {figures})"))
    assert ended.result["latency"]["figures"] == {"items per second": 3.0}


SLEEPING = (
    DOUBLING
    + """
def convert(job):
    (job.out / "begun").touch()
    while True:
        time.sleep(0.05)
"""
)


def start_sleeping(tmp_path: Path) -> tuple[subprocess.Popen[bytes], Path]:
    (tmp_path / "converter.py").write_text(SLEEPING)
    folder = write_job(tmp_path / "job", SAMPLES)
    command, environment = job_command(folder, tmp_path / "converter.py")
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(folder / "out" / "begun")
    return process, folder


def wait_for(path: Path) -> None:
    limit = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < limit, f"{path.name} did not appear"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_job_with_a_result_and_code_130(tmp_path: Path, number: signal.Signals) -> None:
    process, folder = start_sleeping(tmp_path)
    process.send_signal(number)
    assert process.wait(20) == 130
    error = json.loads((folder / "out" / "result.json").read_text())["error"]
    assert error["class"] == "Interrupted" and number.name in error["message"]


PARENT = """
import os, subprocess, sys
os.environ["MODELFARM_PARENT"] = str(os.getpid())
child = subprocess.Popen(sys.argv[1:])
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's parent death signal is of Linux")
def test_killing_the_parent_kills_the_job(tmp_path: Path) -> None:
    (tmp_path / "converter.py").write_text(SLEEPING)
    folder = write_job(tmp_path / "job", SAMPLES)
    command, environment = job_command(folder, tmp_path / "converter.py")
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *command], env=environment, stdout=subprocess.PIPE)
    assert parent.stdout
    child = int(parent.stdout.readline())
    wait_for(folder / "out" / "begun")
    parent.kill()
    parent.wait()
    limit = time.monotonic() + 10
    while is_running(child):
        assert time.monotonic() < limit, "the job outlives its parent"
        time.sleep(0.02)
    assert not (folder / "out" / "result.json").exists()


def is_running(pid: int) -> bool:
    try:
        # An orphan that nobody has waited for yet is a zombie: Z in its status.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's parent death signal is of Linux")
def test_a_job_whose_parent_has_gone_before_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "converter.py").write_text(DOUBLING)
    folder = write_job(tmp_path / "job", SAMPLES)
    ended = run_job(folder, tmp_path / "converter.py", MODELFARM_PARENT=str(os.getpid() + 100_000))
    assert ended.code == 1 and "is gone" in ended.output
    assert not (folder / "out" / "model.toy").exists()
