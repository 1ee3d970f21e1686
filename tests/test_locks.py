"""Locks: exclusive between processes and threads, freed by death, leaving nothing behind."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import modelfarm
from modelfarm import locks
from modelfarm.errors import Interrupted

ROOT = Path(modelfarm.__file__).parent.parent
HOLDER = """
import sys, time
from pathlib import Path
from modelfarm import locks
with locks.exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def start_holder(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_file_exists_only_while_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locks.exclusive(path):
        assert locks.holder(path) == f"process {os.getpid()} on {os.uname().nodename}"
        with locks.attempt(path) as free:
            assert not free
        assert path.exists()
    assert not path.exists()
    with locks.attempt(path) as free:
        assert free


def test_an_error_inside_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locks.exclusive(tmp_path / "lock"):
        raise KeyError
    assert not (tmp_path / "lock").exists()


def test_the_one_who_waits_is_told_once_for_whom_and_death_frees_it(tmp_path: Path) -> None:
    path, told = tmp_path / "lock", list[str]()
    with start_holder(path) as process:
        threading.Timer(0.3, process.kill).start()
        with locks.exclusive(path, waiting=told.append):
            assert process.wait() == -signal.SIGKILL
    assert told == [f"process {process.pid} on {os.uname().nodename}"]


def test_a_lock_that_frees_at_once_is_not_worth_a_word(tmp_path: Path) -> None:
    path, told = tmp_path / "lock", list[str]()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    threading.Timer(0.002, os.close, [descriptor]).start()
    with locks.exclusive(path, waiting=told.append):
        assert told == []


def test_ctrl_c_ends_the_wait(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locks.exclusive(path):
        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt), locks.exclusive(path):
            pytest.fail("two holders")
        assert path.exists()


def test_a_thread_that_waits_can_be_called_off(tmp_path: Path) -> None:
    path, stop, errors = tmp_path / "lock", threading.Event(), []

    def wait() -> None:
        try:
            with locks.exclusive(path, cancelled=stop.is_set):
                pytest.fail("two holders")
        except Interrupted as error:
            errors.append(error)

    with locks.exclusive(path):
        thread = threading.Thread(target=wait)
        thread.start()
        stop.set()
        thread.join(5)
    assert [error.code for error in errors] == [130]


def test_threads_that_lock_and_remove_the_same_file_never_meet(tmp_path: Path) -> None:
    path, inside, meetings, turns = tmp_path / "lock", [], [], []

    def work() -> None:
        mine = 0
        while mine < 5:
            with locks.attempt(path) as free:
                if free:
                    inside.append(1)
                    meetings.extend(inside[1:])
                    time.sleep(0.0002)
                    inside.pop()
                    mine += 1
        turns.append(mine)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not meetings
    assert turns == [5] * 6


def test_a_lock_on_a_file_that_was_removed_meanwhile_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real, removed = tmp_path / "lock", fcntl.flock, list[int]()

    def removing(descriptor: int, operation: int) -> None:
        real(descriptor, operation)
        if not removed:
            removed.append(path.stat().st_ino)
            path.unlink()

    monkeypatch.setattr(fcntl, "flock", removing)
    with locks.exclusive(path):
        assert path.exists()
    assert removed


def test_a_lock_file_of_somebody_else_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locks.exclusive(path):
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"


def test_a_failing_open_or_lock_leaves_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    with pytest.raises(FileNotFoundError), locks.exclusive(tmp_path / "missing" / "lock"):
        pytest.fail("held")
    monkeypatch.setattr(fcntl, "flock", refuse)
    before = os.dup(0)
    os.close(before)
    with pytest.raises(OSError, match="No locks"), locks.attempt(tmp_path / "lock"):
        pytest.fail("held")
    after = os.dup(0)
    os.close(after)
    assert after == before


def test_a_holder_that_left_no_name_is_another_process(tmp_path: Path) -> None:
    assert locks.holder(tmp_path / "missing") == "another process"
    (tmp_path / "empty").touch()
    assert locks.holder(tmp_path / "empty") == "another process"
