"""The process that TensorFlow lives in: what it returns, refuses, and how its end by a signal is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from jobkit import GraphError, OptionError
from tfliteparts import Child, ChildError

MODULE = """
import os, signal, sys
from jobkit import OptionError
kept = []
def add(value):
    kept.append(value)
    return sum(kept)
def refuse():
    raise OptionError("no such option", "choose another")
def fail():
    raise KeyError("a key")
def memory():
    raise MemoryError("a lot")
def end(number):
    os.write(2, b"pad.cc:1 a value does not fit\\nFatal Python error: Aborted\\n")
    os.kill(os.getpid(), number)
def leave():
    os._exit(3)
def say():
    print("said by the child")
def parent():
    return os.getppid()
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    (tmp_path / "toyfunctions.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    with Child("toy") as running:
        yield running


def test_what_a_function_returns_comes_back_and_its_module_lives_on(child: Child) -> None:
    assert child.call("toyfunctions:add", 2, doing="add") == 2
    assert child.call("toyfunctions:add", 3, doing="add") == 5
    assert child.call("toyfunctions:parent", doing="ask") == os.getpid()


def test_a_refusal_comes_back_as_it_was(child: Child) -> None:
    with pytest.raises(OptionError) as caught:
        child.call("toyfunctions:refuse", doing="choose")
    assert (caught.value.message, caught.value.remedy) == ("no such option", "choose another")
    assert child.call("toyfunctions:add", 1, doing="add") == 1


def test_any_other_exception_is_named(child: Child) -> None:
    with pytest.raises(ChildError, match="KeyError: 'a key'"):
        child.call("toyfunctions:fail", doing="fail")
    with pytest.raises(MemoryError):
        child.call("toyfunctions:memory", doing="fail")


def test_a_signal_is_an_error_with_what_was_done_and_said_last(child: Child) -> None:
    with pytest.raises(GraphError) as caught:
        child.call("toyfunctions:end", signal.SIGABRT, doing="run it", remedy="mend it")
    assert caught.value.message == "run it: ended by signal 6 (SIGABRT): pad.cc:1 a value does not fit"
    assert caught.value.remedy == "mend it"
    # The next call has a new process.
    assert child.call("toyfunctions:add", 7, doing="add") == 7


def test_a_process_that_is_killed_most_likely_wanted_memory(child: Child) -> None:
    with pytest.raises(GraphError, match="want of memory"):
        child.call("toyfunctions:end", signal.SIGKILL, doing="run it")


def test_a_process_that_leaves_is_told_with_its_code(child: Child) -> None:
    with pytest.raises(ChildError, match="ended with code 3"):
        child.call("toyfunctions:leave", doing="run it")


def test_what_the_child_says_goes_into_the_log(child: Child, capfd: pytest.CaptureFixture[str]) -> None:
    child.call("toyfunctions:say", doing="speak")
    child.close()
    assert "said by the child" in capfd.readouterr().err


def test_closing_ends_the_process(child: Child) -> None:
    child.call("toyfunctions:add", 1, doing="add")
    process = child._process
    child.close()
    assert process.returncode == 0
    child.close()
