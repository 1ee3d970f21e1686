"""Files that are given: a job that converts nothing, and runs what was made earlier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobfolder import Ended, run_job, write_job

CONVERTER = """
import numpy as np
from jobkit import Device, Runtime, Tensor

def convert(job):
    raise RuntimeError("nothing was to be converted")

def load(files, job):
    scale = float((job.out / files[0]).read_text()) + float((job.out / files[1]).read_text())
    tensor = Tensor("x", ("batch", 3), "float32")
    return Runtime(lambda inputs: {"y": inputs["x"] * np.float32(scale)}, (tensor,), (tensor,),
                   Device("cpu", "cpu", "toy"))
"""


def run(tmp_path: Path, given: Any, **files: str) -> Ended:
    folder = write_job(tmp_path / "job", [{"x": np.array([[1, 2, 3]], np.float32)}], reference=False, given=given)
    (folder / "in" / "given").mkdir()
    for name, text in files.items():
        (folder / "in" / "given" / name.replace("_", ".")).write_text(text)
    (tmp_path / "converter.py").write_text(CONVERTER)
    return run_job(folder, tmp_path / "converter.py")


def test_given_files_are_loaded_and_run_in_their_order(tmp_path: Path) -> None:
    ended = run(tmp_path, ["model.toy", "more.toy"], model_toy="2", more_toy="0.5")
    assert ended.code == 0, ended.output
    assert ended.result["files"] == ["model.toy", "more.toy"]
    assert ended.arrays("outputs.npz")["0/y"].tolist() == [[2.5, 5, 7.5]]
    assert not (ended.folder / "out" / "reference.npz").exists()
    steps = [event["step"] for event in ended.events if event["event"] == "start"]
    assert "take the files that are given" in steps and "convert to toy" not in steps


def test_files_that_the_target_promises_must_be_among_them(tmp_path: Path) -> None:
    ended = run(tmp_path, ["more.toy"], more_toy="1")
    assert ended.result["error"]["class"] == "ContractError"
    assert "model.toy" in ended.result["error"]["message"]


def test_without_any_the_job_is_converted(tmp_path: Path) -> None:
    ended = run(tmp_path, [])
    assert ended.result["error"]["message"] == "nothing was to be converted"


@pytest.mark.parametrize("given", [["../source/x"], [".."], 5, None])
def test_what_is_given_lies_in_its_folder(tmp_path: Path, given: Any) -> None:
    ended = run(tmp_path, given)
    assert ended.result["error"]["class"] == "JobError"
    assert "'given' is wrong" in ended.result["error"]["message"]
