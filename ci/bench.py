"""Benchmarks: pairs of commands in turn, so that their ratio holds while the machine's speed drifts."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ci import pages, scale
from modelfarm.artifact import MANIFEST, version_of
from modelfarm.console import Console
from modelfarm.containers import find_client
from modelfarm.digest import key_of
from modelfarm.errors import FarmError
from modelfarm.farm import Farm
from modelfarm.plan import Planner, Request
from modelfarm.toolchain import local_name

ROOT = Path(__file__).resolve().parent.parent
_BY_HAND = ROOT / "ci" / "by_hand"
_INVOKE = [sys.executable, "-m", "invoke"]


def run() -> int:
    """Run every benchmark and print its figures; timings are never a verdict."""
    bench_cached()
    bench_status(300)
    bench_cold("digits")
    bench_cold("yolov5n-0.5-face")
    bench_container("digits")
    bench_scale()
    return 0


def bench_scale() -> None:
    """Print what thousands of jobs, their report and dozens of workers cost."""
    pattern = Farm.here().artifact("digits", "onnx").folder
    for name, figure in (*scale.bench_plan(pattern), *pages.bench_report(pattern), *scale.bench_engines()):
        print(f"  {name:<56} {figure:8.3f}", flush=True)


def bench_cached() -> None:
    """Time a conversion that is there already, beside `invoke --version` and a bare interpreter."""
    command = ["make", "--no-print-directory", "onnx", "MODEL=digits"]
    _quiet(command)
    pairs = _pairs(lambda: _quiet(command), lambda: _quiet([*_INVOKE, "--version"]), count=15)
    _print("make onnx MODEL=digits, cached", "invoke --version", pairs)


def bench_status(count: int) -> None:
    """Time the list of a store with hundreds of artifacts, copies of one under other keys."""
    farm = Farm.here()
    model = farm.artifact("digits", "onnx")
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(count):
            key = key_of(number)
            folder = Path(scratch) / "digits" / f"onnx-{number % 10}" / version_of(key)
            shutil.copytree(model.folder, folder)
            (folder / MANIFEST).write_text((folder / MANIFEST).read_text().replace(model.key, key))

        def status() -> None:
            _quiet(["make", "status"], ARTIFACTS=scratch)

        pairs = _pairs(status, lambda: _quiet([*_INVOKE, "--version"]), count=7)
        _print(f"make status, {count} artifacts", "invoke --version", pairs)


def bench_cold(model: str) -> None:
    """Time a conversion into an empty store beside the same steps run by hand in the same environments."""
    farm = Farm.here()
    try:
        planner = Planner(target=farm.targets["onnx"], runner=farm.runners.venv, lookup=farm.lookup,
                          digests=farm.digests, request=Request())
        job = next(planner.jobs(farm.recipe(model)))
    except FarmError as error:
        print(f"{model}: skipped, {error.message}")
        return
    with tempfile.TemporaryDirectory() as scratch:
        (module,), (weights,) = job.having("module"), job.having("weights")
        _, channels, height, _ = job.recipe.inputs[0].shape
        files = [material.path for role in ("pictures", "arrays") for material in job.having(role)]
        samples = Path(scratch) / "samples.npz"
        python = farm.runners.venv.folder(job.target) / "bin" / "python"
        prepare: list[str | Path] = [sys.executable, _BY_HAND / "pictures.py", samples, str(height), str(channels)]
        prepare += files
        change: list[str | Path] = [python, _BY_HAND / "convert.py", samples, module.path,
                                    job.identity["source"]["factory"], weights.path, scratch]

        def cold() -> None:
            with tempfile.TemporaryDirectory() as store:
                _quiet([*_INVOKE, "convert", "--model", model], ARTIFACTS=store)

        def by_hand() -> None:
            _quiet(prepare)
            _quiet(change, OMP_WAIT_POLICY="PASSIVE")  # as jobkit has it: spinning threads slow a busy machine down

        _print(f"make onnx MODEL={model}, cold", "by hand", _pairs(cold, by_hand, count=5))


def bench_container(model: str) -> None:
    """Time a job in its container beside the same job in its virtual environment, each into an empty store."""
    farm = Farm.here()
    client = find_client("docker")
    if client is None or client.problem() or client.image(local_name(farm.targets["onnx"], farm.digests)) is None:
        print("containers: skipped, docker has no image of this checkout (make images TARGET=onnx)")
        return

    def cold(runner: str) -> None:
        with tempfile.TemporaryDirectory() as store:
            _quiet([*_INVOKE, "convert", "--model", model], ARTIFACTS=store, RUNNER=runner)

    pairs = _pairs(lambda: cold("docker"), lambda: cold("venv"), count=7)
    _print(f"make onnx MODEL={model} RUNNER=docker, cold", "RUNNER=venv", pairs)


def _quiet(words: Sequence[str | Path], **settings: str) -> None:
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def _pairs(ours: Callable[[], None], theirs: Callable[[], None], count: int) -> list[tuple[float, float]]:
    _timed(ours), _timed(theirs)  # warm the disk's caches
    return [(_timed(ours), _timed(theirs)) for _ in range(count)]


def _timed(action: Callable[[], None]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _print(ours: str, theirs: str, pairs: Sequence[tuple[float, float]]) -> None:
    console = Console(live=False)
    rows = [("", "min", "median", "max")]
    for name, values in ((f"{ours}, s", [a for a, _ in pairs]), (f"{theirs}, s", [b for _, b in pairs]),
                         ("difference, s", [a - b for a, b in pairs]), ("ratio", [a / b for a, b in pairs])):
        rows.append((name, f"{min(values):.3f}", f"{statistics.median(values):.3f}", f"{max(values):.3f}"))
    console.table(rows)
    console.line()
