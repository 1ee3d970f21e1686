"""Failures from end to end: one clear error, the right code, nothing lost and nothing served."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelfarm.settings import ROOT
from tests.end.conftest import Ran, Shop

OwnModels = Callable[[str, str], Path]


def assert_fails(ran: Ran, code: int, *said: str) -> None:
    """Assert the exit code, that one message says all of `said`, and that no stack trace shows."""
    assert ran.code == code, ran.out + ran.err
    assert "Traceback" not in ran.out + ran.err
    assert ran.err.count("modelfarm: ") == 1
    for words in said:
        assert words in ran.err


@pytest.mark.parametrize(("words", "said"), [
    (["convert", "--model", "digit"], ["no model 'digit'", "did you mean digits"]),
    (["convert"], ["which model?", "MODEL="]),
    (["convert", "--model", "digits", "--target", "onx"], ["no target 'onx'", "did you mean onnx"]),
    (["convert", "--model", "digits", "--weights", "/nowhere/best.pt"], ["/nowhere/best.pt", "does not exist"]),
    (["convert", "--model", "digits", "--weights", "randm"], ["randm", "does not exist", "WEIGHTS=random"]),
    (["convert", "--model", "digits", "--options", "opset=99"], ["opset", "9 to 23", "99"]),
    (["convert", "--model", "digits", "--options", "opsett=12"], ["opsett", "did you mean opset"]),
    (["convert", "--model", "digits", "--options", "opset"], ["'opset' has no value"]),
    (["convert", "--model", "digits", "--expect", "nothing"], ["EXPECT=nothing"]),
    (["gc", "--keep", "many"], ["KEEP=many", "at least 1"]),
    (["view", "--model", "digits", "--port", "99999999"], ["PORT=99999999"]),
    (["convert", "--model", "shufflenet-v2-12-int8", "--weights", "random"], ["WEIGHTS=random needs an architecture"]),
])
def test_wrong_words_are_a_usage_error_with_the_right_ones(stocked: Shop, words: list[str], said: list[str]) -> None:
    assert_fails(stocked.run(*words), 2, *said)


@pytest.mark.parametrize(("name", "value"), [("RUNNER", "dcoker"), ("JOBS", "0"), ("MODELS_DIR", "/nowhere")])
def test_a_settings_unknown_value_is_a_usage_error(stocked: Shop, name: str, value: str) -> None:
    assert_fails(stocked.run("convert", "--model", "digits", **{name: value}), 2, value)


def test_a_broken_recipe_lists_every_problem_with_its_line(shop: Shop, own_models: OwnModels) -> None:
    models = own_models("shape: [1, 1, 8, 8], dtype: float32", "shpe: [1, 1, 8, 8], dtype: float31")
    ran = Shop(artifacts=shop.artifacts, models=models).run("convert", "--model", "digits")
    assert_fails(ran, 3, "shpe", "did you mean shape", "float31", "float32", "'shape' is missing", "model.yaml:12")


def test_missing_weights_say_where_they_were_sought(shop: Shop) -> None:
    ran = shop.run("convert", "--model", "yolov5s-face", MODELFARM_DATA="/nowhere/data")
    assert_fails(ran, 4, "/nowhere/data", "WEIGHTS=random")


def test_missing_pictures_say_where_they_were_sought(shop: Shop, own_models: OwnModels) -> None:
    models = own_models("samples/*.png", "samples/*.jpg")
    ran = Shop(artifacts=shop.artifacts, models=models).run("convert", "--model", "digits")
    assert_fails(ran, 4, "samples/*.jpg", str(models / "digits"))


def test_a_truncated_checkpoint_is_refused_and_its_log_is_kept(shop: Shop, tmp_path: Path) -> None:
    whole = (ROOT / "models" / "digits" / "digits.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    ran = shop.run("convert", "--model", "digits", "--weights", str(tmp_path / "half.pt"))
    assert_fails(ran, 5, "half.pt")
    (failed,) = (shop.artifacts / "failed" / "digits" / "onnx").iterdir()
    assert (failed / "convert.log").is_file()
    assert "half.pt" in (failed / "reason.txt").read_text()
    assert not (shop.artifacts / "digits").exists()


def test_weights_of_another_model_list_keys_and_shapes(shop: Shop, data: Path) -> None:
    ran = shop.run("convert", "--model", "digits", "--weights", str(data / "weights" / "slim-face-landmark.pth"))
    assert_fails(ran, 5, "missing", "unexpected")


def test_a_malicious_checkpoint_runs_nothing_and_is_named(shop: Shop, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    evil = tmp_path / "evil.pt"
    evil.write_bytes(b"cos\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR.")
    ran = shop.run("convert", "--model", "digits", "--weights", str(evil))
    assert_fails(ran, 5, "system")
    assert not canary.exists()


def test_a_wrong_expectation_stops_at_the_golden_gate_and_serves_nothing(shop: Shop, own_models: OwnModels) -> None:
    models = own_models('3.png: {top1: "3"}', '3.png: {top1: "8"}')
    ran = Shop(artifacts=shop.artifacts, models=models).run("convert", "--model", "digits")
    assert_fails(ran, 6, "golden", "3.png", "failed/digits/onnx")
    (failed,) = (shop.artifacts / "failed" / "digits" / "onnx").iterdir()
    states = {gate["name"]: gate["state"] for gate in json.loads((failed / "smoke.json").read_text())["gates"]}
    assert (states["golden"], states["parity"], states["device"]) == ("failed", "passed", "not run")
    assert (failed / "model.onnx").is_file()
    assert not (shop.artifacts / "digits").exists()


def test_expect_none_waives_the_golden_gate_and_the_manifest_says_so(shop: Shop, own_models: OwnModels) -> None:
    models = own_models('3.png: {top1: "3"}', '3.png: {top1: "8"}')
    ran = Shop(artifacts=shop.artifacts, models=models).run("convert", "--model", "digits", "--expect", "none")
    assert ran.code == 0, ran.err
    manifest = json.loads((shop.latest("digits") / "manifest.json").read_text())
    assert manifest["predicate"]["verification"]["gates"]["golden"] == "skipped"
    assert "waived" in manifest["predicate"]["verification"]["reasons"]["golden"]


def test_a_failure_among_several_models_leaves_the_others_converted(shop: Shop, own_models: OwnModels) -> None:
    models = own_models("samples/*.png", "samples/*.png")
    shutil.copytree(models / "digits", models / "broken")
    ran = Shop(artifacts=shop.artifacts, models=models).run("convert", "--model", "all")
    assert_fails(ran, 3, "broken", "the two must agree")
    assert (shop.latest("digits") / "model.onnx").is_file()


def test_a_failed_artifact_leaves_the_last_good_one_as_latest(shop: Shop, own_models: OwnModels) -> None:
    assert shop.run("convert", "--model", "digits").code == 0
    good = shop.latest("digits")
    models = own_models("accuracy: 0.99}", "accuracy: 1.0}")
    assert_fails(Shop(artifacts=shop.artifacts, models=models).run("convert", "--model", "digits"), 6, "golden")
    assert shop.latest("digits") == good


def test_a_damaged_artifact_is_named_and_made_anew(shop: Shop) -> None:
    assert shop.run("convert", "--model", "digits").code == 0
    file = shop.latest("digits") / "model.onnx"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"\0")
    assert_fails(shop.run("show", "--model", "digits"), 7, "model.onnx")
    ran = shop.run("convert", "--model", "digits")
    assert ran.code == 0
    assert "building it anew" in ran.out
    assert file.read_bytes() == content


def test_an_artifact_that_does_not_exist_is_named_with_the_command_that_makes_it(shop: Shop) -> None:
    assert_fails(shop.run("show", "--model", "digits"), 7, "make onnx MODEL=digits")


def test_an_interrupted_run_ends_with_130_and_leaves_nothing(shop: Shop) -> None:
    process = shop.start("convert", "--model", "digits")
    _wait_for(lambda: bool(_toolchains(process.pid)))
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130, out
    assert "interrupted" in out
    assert "Traceback" not in out
    assert not list((shop.artifacts / ".staging").iterdir())
    assert shop.run("convert", "--model", "digits").code == 0


def test_kill_minus_nine_leaves_no_orphan_and_the_next_run_needs_no_cleaning(shop: Shop) -> None:
    process = shop.start("convert", "--model", "digits")
    _wait_for(lambda: bool(_toolchains(process.pid)))
    (toolchain,) = _toolchains(process.pid)
    process.kill()
    process.communicate(timeout=30)
    _wait_for(lambda: not _alive(toolchain))
    assert not (shop.artifacts / "digits").exists()
    assert shop.run("convert", "--model", "digits").code == 0
    assert not list((shop.artifacts / ".staging").iterdir())


def test_two_processes_that_want_one_job_run_it_once(shop: Shop) -> None:
    started = [shop.start("convert", "--model", "digits") for _ in range(2)]
    outs = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], outs
    assert sum("export to ONNX" in out for out in outs) == 1
    assert sum("cached" in out for out in outs) == 1


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 100 kB, less than the artifact needs."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_a_clear_error_and_leaves_no_half_artifact(shop: Shop, full_disk: Path) -> None:
    full = Shop(artifacts=full_disk / "artifacts")
    assert_fails(full.run("convert", "--model", "digits"), 4, str(full_disk), "ARTIFACTS=")
    assert not list(full_disk.rglob("model.onnx"))


def test_a_store_that_is_a_file_is_a_clear_error(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = Shop(artifacts=tmp_path / "file").run("convert", "--model", "digits")
    assert ran.code in (2, 4)
    assert str(tmp_path / "file") in ran.err
    assert "Traceback" not in ran.err


def _toolchains(parent: int) -> list[int]:
    """Return the children of a process that run jobkit."""
    lists = Path(f"/proc/{parent}/task").glob("*/children")  # whichever of its threads started them
    pids = [pid for children in lists for pid in children.read_text().split()]
    return [int(pid) for pid in pids if b"jobkit" in _command(pid)]


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended meanwhile
        return b""


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)




def test_a_decoder_that_fails_on_the_outputs_leaves_everything_for_reading(shop: Shop, own_models: OwnModels) -> None:
    models = own_models("decoder: {classification: {output: probabilities, labels: labels.txt, activation: none}}",
                        "decoder: {yolo_face: {confidence: 0.3, iou: 0.5}}")
    ran = Shop(artifacts=shop.artifacts, models=models).run("convert", "--model", "digits")
    assert_fails(ran, 3, "yolo_face", "failed/digits/onnx")
    (failed,) = (shop.artifacts / "failed" / "digits" / "onnx").iterdir()
    assert (failed / "convert.log").is_file()
    assert (failed / "result.json").is_file()
