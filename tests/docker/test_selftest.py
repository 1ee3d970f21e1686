"""An image's test of itself: each check finds what it is for, and the small job is a whole one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobfolder import DOCKER
from jobkit import selftest
from jobkit.errors import ContractError
from jobkit.lock import Pin, read_lock

CONVERTER = """
import numpy as np
from jobkit import Device, Runtime, Tensor

def convert(job):
    (job.out / "model.toy").write_text("2")
    return ["model.toy"]

def load(files, job):
    return runtime(float((job.out / files[0]).read_text()))

def reference(job):
    return runtime(2.0)

def runtime(scale):
    signature = (Tensor("x", (1, 3), "float32"),)
    return Runtime(lambda inputs: {"y": inputs["x"] * np.float32(scale)}, signature, (), Device("cpu", "cpu", "toy"))
"""
JOB = {
    "schema": 1,
    "model": "toy",
    "target": "toy",
    "variant": "toy",
    "precision": "fp32",
    "source": {"kind": "toy", "file": "in/source/toy.bin"},
    "options": {},
    "inputs": [{"name": "x", "shape": [1, 3], "dtype": "float32", "layout": None}],
    "outputs": [{"name": "y", "shape": None, "dtype": None}],
    "samples": ["random-0", "random-1"],
    "calibration": None,
    "promises": ["model.toy"],
    "latency": {"warmup": 0, "runs": 1, "seconds": 1.0},
    "reference": True,
}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a toolchain whose image would pass."""
    folder = tmp_path / "toy"
    (folder / "self_test").mkdir(parents=True)
    (folder / "converter.py").write_text(CONVERTER)
    (folder / "requirements.txt").write_text(f"# a lock\nnumpy=={np.__version__}\n    # via nothing\n")
    (folder / "self_test" / "job.json").write_text(json.dumps(JOB))
    monkeypatch.setenv("MODELFARM_CONVERTER", str(folder / "converter.py"))
    monkeypatch.setenv("PYTHONPATH", str(DOCKER))
    return folder


def change(folder: Path, code: str) -> None:
    with (folder / "converter.py").open("a") as stream:
        stream.write(textwrap.dedent(code))


def change_job(folder: Path, **values: Any) -> None:
    (folder / "self_test" / "job.json").write_text(json.dumps({**JOB, **values}))


def test_the_small_job_is_done_and_leaves_the_toolchain_as_it_was(toy: Path) -> None:
    before = sorted(toy.rglob("*"))
    *phases, last = selftest.check_job(toy)
    assert [phase.split()[0] for phase in phases] == ["convert", "import", "inference", "load", "reference"]
    assert last == "model.toy, error 0.0e+00 in 2 outputs"
    assert sorted(path for path in toy.rglob("*") if "__pycache__" not in path.parts) == before


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("def load(files, job):\n    return runtime(2.01)", r"differs from the reference: 0\.005, allowed 0\.0001"),
        ('def load(files, job):\n    return runtime(float("nan"))', "differs from the reference: nan"),
        ("def convert(job):\n    raise ValueError('no')", "ValueError: no"),
        ("def convert(job):\n    import os; os._exit(3)", "ended with 3"),
        ("def prepare(job):\n    import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("reference = None", r"(?s)reference\.npz"),
    ],
)
def test_a_toolchain_that_does_not_work_fails(toy: Path, code: str, word: str) -> None:
    change(toy, code)
    with pytest.raises((ContractError, OSError), match=word):
        list(selftest.check_job(toy))


def test_the_first_sample_alone_being_no_number_is_seen(toy: Path) -> None:
    change(
        toy,
        """
        def load(files, job):
            ran = []
            def run(inputs):
                ran.append(inputs)
                return {"y": inputs["x"] * np.float32(2 if len(ran) != 2 else "nan")}
            return Runtime(run, (), (), Device("cpu", "cpu", "toy"))
        """,
    )
    with pytest.raises(ContractError, match="nan"):
        list(selftest.check_job(toy))


def test_a_job_may_allow_its_target_a_larger_error(toy: Path) -> None:
    change(toy, "def load(files, job):\n    return runtime(2.01)")
    change_job(toy, self_test={"tolerance": 0.01})
    assert list(selftest.check_job(toy))[-1].startswith("model.toy, error 5.0e-03")


def test_samples_are_equal_each_time_and_the_jobs_own_come_first(toy: Path) -> None:
    change(
        toy,
        """
        def prepare(job):
            raise ValueError(" ".join(f"{value:.3f}" for sample in job.samples for value in sample["x"].ravel()))
        """,
    )
    said = []
    for _ in range(2):
        with pytest.raises(ContractError) as caught:
            list(selftest.check_job(toy))
        said.append(caught.value.message)
    assert said[0] == said[1] and len(set(said[0].split()[1:])) == 6
    (toy / "self_test" / "in").mkdir()
    np.savez(toy / "self_test" / "in" / "samples.npz", **{f"{i}/x": np.full((1, 3), 7, np.float32) for i in (0, 1)})
    with pytest.raises(ContractError, match="ValueError: 7.000 7.000"):
        list(selftest.check_job(toy))


def test_a_program_may_make_the_source_first(toy: Path) -> None:
    change(toy, "def prepare(job):\n    assert job.source.file.read_text() == 'made here'")
    with pytest.raises(ContractError, match="FileNotFoundError"):
        list(selftest.check_job(toy))
    maker = toy / "self_test" / "make_source.py"
    maker.write_text(
        "from pathlib import Path\nPath('in/source').mkdir()\nPath('in/source/toy.bin').write_text('made here')\n"
    )
    assert "error 0.0e+00" in list(selftest.check_job(toy))[-1]
    maker.write_text("raise SystemExit('no flatbuffers here')\n")
    with pytest.raises(ContractError, match="ended with 1: no flatbuffers here"):
        list(selftest.check_job(toy))


def test_a_target_without_a_small_job_fails(toy: Path) -> None:
    (toy / "self_test" / "job.json").unlink()
    with pytest.raises(ContractError, match=r"there is no .*self_test/job\.json"):
        list(selftest.check_job(toy))


@pytest.mark.parametrize(
    ("lock", "word"),
    [
        ("numpy==0.1\n", rf"numpy 0\.1 is {np.__version__}"),
        ("no-such-package==1.0\n", r"no-such-package 1\.0 is absent"),
        ("# nothing\n", "has no pin"),
        ("numpy>=1\n", "'numpy>=1' is no pin"),
    ],
)
def test_what_is_not_as_in_the_lock_is_named(toy: Path, lock: str, word: str) -> None:
    (toy / "requirements.txt").write_text(lock)
    with pytest.raises(ContractError, match=word):
        list(selftest.check_packages(toy))


def test_a_lock_is_read_with_markers_extras_and_digests(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(
        "--extra-index-url https://index.invalid/simple\n"
        f'torch==2.0+cpu ; sys_platform == "{sys.platform}"\n'
        f'torch==2.0 ; sys_platform != "{sys.platform}"  # elsewhere\n'
        "oras[docker]==0.2 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
    )
    assert list(read_lock(path)) == [Pin("torch", "2.0+cpu"), Pin("oras", "0.2")]
    path.write_text('numpy==1.0 ; python_version < "3.9"\n')
    with pytest.raises(ContractError, match="cannot decide"):
        list(read_lock(path))


@pytest.mark.parametrize("name", ["gcc", "c++", "x86_64-linux-gnu-gcc-12", "clang-16", "ld", "nvcc"])
def test_a_compiler_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(selftest, "COMPILER_FOLDERS", ())
    for other in ("ldconfig", "cat", "python3.11", "dpkg-gencontrol", "gccess"):
        (tmp_path / other).touch()
    assert list(selftest.check_compiler(tmp_path)) == ["none"]
    (tmp_path / name).touch()
    with pytest.raises(ContractError, match=str(tmp_path)):
        list(selftest.check_compiler(tmp_path))


@pytest.mark.parametrize(("user", "passes"), [(0, False), (1000, True)])
def test_root_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, user: int, passes: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    if passes:
        assert list(selftest.check_user(tmp_path)) == ["not root, 1000"]
        return
    with pytest.raises(ContractError, match="root"):
        list(selftest.check_user(tmp_path))


def test_one_failed_check_fails_the_image_and_the_others_are_told_too(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(selftest, "COMPILER_FOLDERS", ())
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", "")
    assert selftest.test_image()
    (toy / "requirements.txt").write_text("numpy==0.1\n")
    assert not selftest.test_image()
    said = capsys.readouterr().out
    assert "FAIL  packages: not as in the lock: numpy 0.1" in said and "-> build the image anew" in said
    assert said.count("ok    job: model.toy") == 2
    monkeypatch.setenv("PATH", path)


def test_the_onnx_toolchain_passes_its_own_test(onnx_python: Path) -> None:
    environment = {**os.environ, "MODELFARM_CONVERTER": str(DOCKER / "onnx" / "converter.py")}
    command = [onnx_python, "-m", "jobkit", "--self-test"]
    done = subprocess.run(command, cwd=DOCKER, env=environment, capture_output=True, text=True)
    assert "ok    job: model.onnx, error" in done.stdout, done.stdout
    assert "ok    packages: " in done.stdout
    # On this machine there may be a compiler, and the user may be root.
    failed = [line for line in done.stdout.splitlines() if not line.startswith("ok ")]
    assert all(line.startswith(("FAIL  user", "FAIL  compiler")) for line in failed)
    assert done.returncode == bool(failed)


INSPECTING = """
from jobkit import Inspected

def load(files, job):
    x, y = Tensor("x", (1, 3), "float32"), Tensor("{name}", (1, {size}), "float32")
    return Inspected((x,), (y,), Device("gpu", "none", "not here"))
"""


def inspecting(folder: Path, name: str = "y", size: int = 3) -> None:
    outputs = [{"name": "y", "shape": [1, 3], "dtype": "float32"}]
    change_job(folder, self_test={"runs": False}, outputs=outputs)
    change(folder, INSPECTING.format(name=name, size=size))


def test_what_cannot_run_where_images_are_built_is_judged_by_its_signature(toy: Path) -> None:
    inspecting(toy)
    assert list(selftest.check_job(toy))[-1] == "model.toy, its signature as wanted, not run"


@pytest.mark.parametrize(("name", "size"), [("z", 3), ("y", 4)])
def test_another_signature_is_found(toy: Path, name: str, size: int) -> None:
    inspecting(toy, name, size)
    wrong = rf"its outputs are {name} float32 \[1, {size}\]; they were to be y float32 \[1, 3\]"
    with pytest.raises(ContractError, match=wrong):
        list(selftest.check_job(toy))


def test_a_job_that_should_run_must_not_be_inspected_only(toy: Path) -> None:
    change(toy, INSPECTING.format(name="y", size=3))
    with pytest.raises((ContractError, OSError)):
        list(selftest.check_job(toy))
