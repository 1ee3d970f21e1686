"""One and the same test for every image: what it must not be, what it must hold, and a small job from end to end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable, Dict, Iterator, Sequence

import numpy as np

from jobkit.converter import VARIABLE
from jobkit.describe import installed, normalise
from jobkit.errors import ContractError, DeviceError, Refused, brief
from jobkit.lock import Pin, read_lock
from jobkit.process import PARENT_VARIABLE

# Beside the converter: the small job, and where its source is not worth keeping, the program that makes it.
FOLDER = "self_test"
SOURCE_MAKER = "make_source.py"

COMPILERS = re.compile(r"(.+-)?(cc|c\+\+|gcc|g\+\+|clang|clang\+\+|tcc|cc1|cc1plus|as|ld|nvcc)(-[\d.]+)?")
COMPILER_FOLDERS = ("/usr/lib/gcc", "/usr/libexec/gcc", "/usr/lib/llvm*/bin")

# Of the largest value of an output; a job.json with other needs has {"self_test": {"tolerance": 0.05}}. Where the
# machine of the build cannot run what is made, {"self_test": {"runs": false}}: then its signature is compared.
TOLERANCE = 1e-4

Check = Callable[[Path], Iterator[str]]


def test_image() -> bool:
    """Run every check and print one line for each; say whether all succeeded."""
    converter = Path(os.environ.get(VARIABLE, ""))
    checks: Dict[str, Check] = {
        "user": check_user,
        "compiler": check_compiler,
        "packages": check_packages,
        "job": check_job,
    }
    # All of them are run, also after one that failed.
    return not [name for name, check in checks.items() if not _succeeds(name, check, converter.parent)]


def _succeeds(name: str, check: Check, folder: Path) -> bool:
    try:
        for line in check(folder):
            print(f"ok    {name}: {line}", flush=True)
    except Exception as error:
        remedy = f" -> {error.remedy}" if isinstance(error, Refused) and error.remedy else ""
        said = error.message if isinstance(error, Refused) else f"{type(error).__name__}: {brief(error)}"
        print(f"FAIL  {name}: {said}{remedy}", flush=True)
        return False
    return True


def check_user(folder: Path) -> Iterator[str]:
    """Refuse to be root: nothing that a job does needs it."""
    if os.geteuid() == 0:
        raise ContractError("this process is root's", "run it with --user, or as the image says")
    yield f"not root, {os.geteuid()}"


def check_compiler(folder: Path) -> Iterator[str]:
    """Look for compilers on the path and where they keep their parts."""
    found = sorted(str(path) for path in _programs() if COMPILERS.fullmatch(path.name))
    if found:
        raise ContractError(
            f"there are compilers: {', '.join(found[:5])}", "compile in another stage of the Dockerfile"
        )
    yield "none"


def _programs() -> Iterator[Path]:
    for folder in os.get_exec_path():
        if Path(folder).is_dir():
            yield from Path(folder).iterdir()
    for pattern in COMPILER_FOLDERS:
        for parts in Path("/").glob(pattern[1:]):
            yield from parts.rglob("*")


def check_packages(folder: Path) -> Iterator[str]:
    """Compare what is installed with the lock file beside the converter."""
    there = {name: distribution.version for name, distribution in installed().items()}
    pins = list(read_lock(folder / "requirements.txt"))
    wrong = [_wrong(pin, there) for pin in pins if there.get(normalise(pin.name)) != pin.version]
    if wrong:
        raise ContractError(f"not as in the lock: {'; '.join(wrong)}", "build the image anew")
    if not pins:
        raise ContractError("the lock has no pin", "requirements.txt names every package")
    yield f"{len(pins)} as in the lock"


def _wrong(pin: Pin, there: Dict[str, str]) -> str:
    return f"{pin.name} {pin.version} is {there.get(normalise(pin.name), 'absent')}"


def check_job(folder: Path) -> Iterator[str]:
    """Do the small job in a process of its own and compare what it made with what it was to be."""
    with _job_folder(folder / FOLDER) as job:
        document = json.loads((job / "job.json").read_text(encoding="utf-8"))
        result = _run(job)
        wish = document.get("self_test", {})
        if wish.get("device") and result["error"] and result["error"]["class"] == DeviceError.__name__:
            yield f"the toolchain is whole, and its job is left out: {result['error']['message']}"
            return
        _raise_failure(result)
        for phase, seconds in result["timings"].items():
            yield f"{phase} {seconds:.2f} s"
        runs, tolerance = wish.get("runs", True), float(wish.get("tolerance", TOLERANCE))
        said = _compare(job, tolerance) if runs else _compare_signature(document, result["signature"])
        yield f"{', '.join(result['files'])}, {said}"


@contextmanager
def _job_folder(origin: Path) -> Iterator[Path]:
    """Give a writable copy of the small job, with its source and its samples."""
    if not (origin / "job.json").is_file():
        raise ContractError(f"there is no {origin / 'job.json'}", "every target brings a small job of its own")
    with TemporaryDirectory(prefix="self-test-") as temporary:
        job = Path(temporary) / "job"
        shutil.copytree(origin, job)
        for name in ("in", "out"):
            (job / name).mkdir(exist_ok=True)
        if (job / SOURCE_MAKER).is_file():
            _call([str(job / SOURCE_MAKER)], job)
        _make_samples(job)
        yield job


def _make_samples(job: Path) -> None:
    """Write random inputs from a fixed seed, unless the job brings its own."""
    path = job / "in" / "samples.npz"
    if path.is_file():
        return
    document = json.loads((job / "job.json").read_text(encoding="utf-8"))
    random = np.random.RandomState(0)
    np.savez(
        path,
        **{
            f"{index}/{item['name']}": random.standard_normal(item["shape"]).astype(item["dtype"])
            for index in range(len(document["samples"]))
            for item in document["inputs"]
        },
    )


def _run(job: Path) -> Any:
    said = _call(["-m", "jobkit", str(job)], job, codes=(0, 1))
    path = job / "out" / "result.json"
    if not path.is_file():
        raise ContractError(f"the job left no result: {said}")
    return json.loads(path.read_text(encoding="utf-8"))


def _raise_failure(result: Any) -> None:
    error = result["error"]
    if error:
        raise ContractError(f"{error['class']}: {error['message']}", error["remedy"])


def _call(arguments: Sequence[str], folder: Path, codes: Sequence[int] = (0,)) -> str:
    """Run Python to its end and give the last that it said."""
    path = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, PARENT_VARIABLE: str(os.getpid()), "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=str(folder),
        env=environment,
        universal_newlines=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    said = " | ".join(line for line in done.stdout.splitlines()[-5:] if line.strip())
    if done.returncode not in codes:
        raise ContractError(f"{' '.join(arguments)} ended with {done.returncode}: {said}")
    return said


def _compare(job: Path, tolerance: float) -> str:
    """Give the largest error in words; raises ContractError where it is too large or there is nothing to compare."""
    made, wanted = (np.load(job / "out" / name) for name in ("outputs.npz", "reference.npz"))
    if not wanted.files or sorted(made.files) != sorted(wanted.files):
        raise ContractError(f"outputs {sorted(made.files)}, reference {sorted(wanted.files)}")
    # Not Python's max, which passes over what is not a number.
    error = float(np.max([_error(made[name], wanted[name]) for name in wanted.files]))
    if not error <= tolerance:
        raise ContractError(f"the artifact differs from the reference: {error:.3g}, allowed {tolerance:.3g}")
    return f"error {error:.1e} in {len(wanted.files)} outputs"


def _compare_signature(document: Any, found: Any) -> str:
    for kind in ("inputs", "outputs"):
        wanted, made = ([_described(item) for item in items] for items in (document[kind], found[kind]))
        if made != wanted:
            raise ContractError(f"its {kind} are {', '.join(made)}; they were to be {', '.join(wanted)}")
    return "its signature as wanted, not run"


def _described(item: Any) -> str:
    return f"{item['name']} {item['dtype']} {list(item['shape'])}"


def _error(made: Any, wanted: Any) -> float:
    if made.shape != wanted.shape:
        return float("inf")
    scale = max(float(np.abs(wanted).max()), 1e-6)
    return float(np.abs(made.astype(np.float64) - wanted).max()) / scale
