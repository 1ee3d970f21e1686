"""The door: every way of ending has its exit code and leaves a message, or silence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from modelfarm.settings import ROOT


def through(code: str) -> subprocess.CompletedProcess[str]:
    script = f"from modelfarm.door import door\nfrom modelfarm.errors import *\nwith door() as console:\n    {code}\n"
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=20)


def test_what_goes_well_ends_with_0() -> None:
    done = through("console.line('hello')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


@pytest.mark.parametrize(("kind", "code"), [
    ("UsageError", 2), ("RecipeError", 3), ("MachineError", 4), ("ConversionError", 5), ("GateError", 6),
    ("ArtifactError", 7), ("RegistryError", 8), ("Interrupted", 130),
])
def test_a_failure_ends_with_its_code_and_says_what_to_do(kind: str, code: int) -> None:
    done = through(f"console.line('before'); raise {kind}('it broke', remedy='mend it')")
    assert done.returncode == code
    assert done.stdout == "before\n"
    first, second, third = done.stderr.splitlines()
    assert (first, second) == ("modelfarm: it broke", "  -> mend it")
    assert third.startswith(f"  (exit code {code}: ")


def test_ctrl_c_is_an_interruption_without_a_traceback() -> None:
    done = through("raise KeyboardInterrupt")
    assert done.returncode == 130
    assert done.stderr.startswith("modelfarm: interrupted\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_an_interruption_that_cleans_up(number: signal.Signals) -> None:
    code = ("import time\nfrom modelfarm.door import door\nwith door() as console:\n    try:\n"
            "        console.line('ready')\n        time.sleep(30)\n    finally:\n        console.line('cleaned')\n")
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        start = time.perf_counter()
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert time.perf_counter() - start < 5
    assert (process.returncode, out) == (130, "cleaned\n")
    assert err.startswith("modelfarm: interrupted\n")


def test_an_unforeseen_failure_shows_where_it_happened() -> None:
    done = through("1 / 0")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_a_reader_that_goes_away_is_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = "from modelfarm.door import door\nwith door() as console:\n    console.line('x')\n    console.line('y')\n"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, timeout=20,
                          env=buffered)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
