"""The local engine: order, contiguous output, failures among others, and Ctrl-C, with real jobs."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelfarm.console import Console
from modelfarm.engines.engine import Outcome
from modelfarm.errors import ConversionError, GateError
from modelfarm.settings import ROOT
from tests.runners.toolchains import make_slow_package
from tests.toys import Toys

NAMES = ["a", "b", "c", "d", "e"]

# What a command does, with toys: the door, the farm, the engine.
COMMAND = """
import sys
from pathlib import Path
from modelfarm.door import door
from modelfarm.plan import Request
from tests.toys import Toys
toys = Toys(folder=Path(sys.argv[1]), cache=Path(sys.argv[2]))
with door() as console:
    raise SystemExit(toys.farm.convert("toy", sys.argv[3], Request(), console))
"""


def run(toys: Toys, *models: str, workers: int = 2) -> tuple[list[Outcome], list[str]]:
    """Run the jobs of models; return their outcomes and the lines on the console."""
    stream = io.StringIO()
    outcomes = toys.run(toys.jobs(*models), Console(stream, live=False), at_a_time=workers)
    return outcomes, stream.getvalue().splitlines()


def start(toys: Toys, *models: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", COMMAND, toys.folder, toys.cache, ",".join(models)], cwd=ROOT,
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("workers", [1, 3])
def test_outcomes_come_in_the_order_of_the_jobs_whoever_is_ready_first(toys: Toys, workers: int) -> None:
    for index, name in enumerate(NAMES):
        toys.model(name, seconds=0.4 if index == 0 else 0)
    outcomes, _ = run(toys, *NAMES, workers=workers)
    assert [outcome.name for outcome in outcomes] == [f"{name}/toy" for name in NAMES]
    assert all(outcome.built and not outcome.built.cached for outcome in outcomes)


def test_the_output_of_each_job_stays_together(toys: Toys) -> None:
    for name in NAMES:
        toys.model(name, seconds=0.2)
    _, lines = run(toys, *NAMES, workers=3)
    current, notes = "", {}
    for line in lines:
        if heading := re.fullmatch(r"(\w)/toy [0-9a-f]{16} in venv", line):
            current = heading[1]
        elif note := re.fullmatch(r"  \. this is (\w)", line):
            notes[note[1]] = current
    assert notes == {name: name for name in NAMES}
    for step in ("prepare the samples", "run the source model", "convert to toy", "check the gates", "publish"):
        assert sum(line.startswith(f"  + {step}") for line in lines) == len(NAMES)


def test_several_workers_work_at_a_time_and_no_more_than_asked(toys: Toys) -> None:
    mark = toys.folder / "mark"
    for name in NAMES:
        toys.model(name, seconds=0.6, mark=str(mark))
    began = time.monotonic()
    run(toys, *NAMES[:4], workers=4)
    assert time.monotonic() - began < 4 * 0.6, "they waited for each other"
    assert len(toys.wait_for(mark, 4)) == 4


def test_one_that_fails_stops_no_other(toys: Toys) -> None:
    toys.model("a")
    toys.model("b", refuse="no such gain")
    toys.model("c", crash="table")
    toys.model("d", error=0.5)
    toys.model("e", seconds=0.2)
    outcomes, lines = run(toys, *NAMES)
    assert [bool(outcome.built) for outcome in outcomes] == [True, False, False, False, True]
    errors = [outcome.error for outcome in outcomes if outcome.error]
    assert [type(error) for error in errors] == [ConversionError, ConversionError, GateError]
    assert errors[0].message == "no such gain"
    assert errors[0].remedy.startswith("write another gain; everything is kept in ")
    assert sum(line.startswith("  x convert to toy") for line in lines) == 2
    assert sum(line.startswith("  + publish") for line in lines) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_in_the_store_is_found_without_a_word(toys: Toys, workers: int) -> None:
    toys.model("a")
    run(toys, "toy", "a")
    outcomes, lines = run(toys, "toy", "a", workers=workers)
    assert [outcome.built and outcome.built.cached for outcome in outcomes] == [True, True]
    assert lines == []


def test_a_job_that_stands_twice_is_made_once(toys: Toys) -> None:
    mark = toys.folder / "mark"
    toys.model(seconds=0.3, mark=str(mark))
    outcomes, _ = run(toys, "toy", "toy")
    assert [outcome.name for outcome in outcomes] == ["toy/toy"]
    assert len(mark.read_text().splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_running_jobs_in_worker_threads_and_leaves_nothing(toys: Toys, number: int) -> None:
    mark = toys.folder / "mark"
    for name in NAMES:
        toys.model(name, seconds=60, mark=str(mark))
    with start(toys, *NAMES) as process:
        running = toys.wait_for(mark, 2)
        began = time.monotonic()
        os.kill(process.pid, number)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130, out
    assert time.monotonic() - began < 5
    assert "interrupted" in out
    assert "Traceback" not in out
    assert not any(map(alive, running))
    assert len(mark.read_text().splitlines()) == 2, "no other job was started"
    assert {path.name for path in toys.settings.artifacts.iterdir()} == {".locks", ".staging"}
    assert not list((toys.settings.artifacts / ".staging").iterdir())
    assert not list((toys.settings.artifacts / ".locks").iterdir())


def test_ctrl_c_ends_a_job_that_waits_for_another_process(toys: Toys) -> None:
    mark = toys.folder / "mark"
    toys.model(seconds=60, mark=str(mark))
    toys.model("other", seconds=60, mark=str(mark))
    with start(toys, "toy") as first:
        toys.wait_for(mark, 1)
        with start(toys, "toy", "other") as second:
            toys.wait_for(mark, 2)
            second.send_signal(signal.SIGINT)
            out, _ = second.communicate(timeout=30)
        assert second.returncode == 130, out
        assert first.poll() is None, "the first goes on"
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=30)


@pytest.fixture
def slow_install(tmp_path: Path, toys: Toys, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the toolchain be one that takes a minute to install; return where pip's process notes its group."""
    make_slow_package(tmp_path / "wheels")
    (toys.target.requirements).write_text("slow==1.0\n")
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels"), "SLOW_SECONDS": "60",
                        "SLOW_MARKS": str(tmp_path / "marks")}.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "marks"


def test_ctrl_c_ends_an_install_in_a_worker_thread_and_who_waits_for_it(toys: Toys, slow_install: Path) -> None:
    own = Toys(folder=toys.folder, cache=toys.folder / "cache")
    own.model("a")
    with start(own, "toy", "a") as process:
        (group,) = own.wait_for(slow_install, 1)
        time.sleep(0.3)  # for the other thread to wait
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=90)
    assert process.returncode == 130, out
    assert time.monotonic() - began < 6
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    states = [state for number, state in map(str.split, listed.splitlines()) if int(number) == group]
    assert all(state.startswith("Z") for state in states), "pip goes on"


def test_after_an_interruption_the_next_run_does_it_all(toys: Toys) -> None:
    mark = toys.folder / "mark"
    for name in NAMES:
        toys.model(name, seconds=60, mark=str(mark))
    with start(toys, *NAMES) as process:
        toys.wait_for(mark, 2)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    for name in NAMES:
        toys.model(name)
    outcomes, _ = run(toys, *NAMES)
    assert all(outcome.built for outcome in outcomes)


def test_kill_minus_nine_takes_the_toolchains_along(toys: Toys) -> None:
    mark = toys.folder / "mark"
    for name in NAMES[:2]:
        toys.model(name, seconds=60, mark=str(mark))
    with start(toys, *NAMES[:2]) as process:
        running = toys.wait_for(mark, 2)
        process.kill()
        process.communicate(timeout=30)
    end = time.monotonic() + 10
    while any(map(alive, running)):
        assert time.monotonic() < end, "a toolchain goes on without its farm"
        time.sleep(0.02)
    toys.model("a")
    assert run(toys, "a")[0][0].built
    toys.farm.store.sweep()
    assert not list((toys.settings.artifacts / ".staging").iterdir())
