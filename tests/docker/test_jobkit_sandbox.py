"""What the sandbox forbids, in words; real containers do it in tests/images/."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobfolder import DOCKER, Ended, run_job, write_job
from jobkit.errors import SandboxError, SourceError
from jobkit.sandbox import Sandbox, explain, find_sandbox

LIMITS = {"memory": 2 << 30, "processes": 64}
INSIDE = {"MODELFARM_SANDBOX": "1", "MODELFARM_LIMITS": json.dumps(LIMITS)}
SANDBOX = Sandbox(memory=2 << 30, processes=64)

NETWORK = "tried to use the network, and the sandbox has none"
WRITING = "in the sandbox only /job/out is writable"
PROCESSES = "more processes than the sandbox allows, 64 processes and threads"
MEMORY = "ran out of memory: it wanted more than the sandbox has, 2 GiB"

# As Python raises them there: Linux' numbers, the names of files where there are any.
FORBIDDEN = {
    "connect": ("raise OSError(errno.ENETUNREACH, 'Network is unreachable')", NETWORK, "fetched before it runs"),
    "look up": ("socket.getaddrinfo('nowhere.invalid', 80)", NETWORK, "fetched before it runs"),
    "download": ("urllib.request.urlopen('https://nowhere.invalid/x', timeout=5)", NETWORK, "fetched before it runs"),
    "write": ("raise OSError(errno.EROFS, 'Read-only', '/usr/x')", f"change /usr/x, and {WRITING}", "below /job/out"),
    "write input": (
        "raise OSError(errno.EROFS, 'Read-only', '/job/in/x')",
        f"change /job/in/x, and {WRITING}",
        "below",
    ),
    "other's folder": ("raise PermissionError(errno.EACCES, 'Denied', '/nowhere/x')", f"/nowhere/x, and {WRITING}", ""),
    "spawn": ("fork()", PROCESSES, "`processes` in its target.yaml"),
    "thread": ('raise RuntimeError("can\'t start new thread")', PROCESSES, "`processes`"),
    "memory": ("raise MemoryError", MEMORY, "`memory` in its target.yaml"),
    "numpy's memory": ("np.ones(1 << 58)", MEMORY, "`memory`"),
    "torch's memory": (
        "raise RuntimeError('DefaultCPUAllocator: can\\'t allocate memory')",
        MEMORY,
        "",
    ),
    "room": ("raise OSError(errno.ENOSPC, 'No space left on device')", "a file system is full", "below /job/out"),
    "chained": (
        "\ntry: raise OSError(errno.ENETUNREACH, 'unreachable')\n"
        "except OSError as error: raise SourceError('importing net.py failed', 'correct it') from error",
        f"{NETWORK}: [Errno 101] unreachable (SourceError: importing net.py failed)",
        "fetched before it runs",
    ),
    "hidden": (
        "\ntry: raise OSError(errno.ENETUNREACH, 'unreachable')\n"
        "except OSError:\n"
        "    try: raise KeyError('mirror')\n"
        "    except KeyError: raise ValueError('no weights') from None",
        f"{NETWORK}: [Errno 101] unreachable (ValueError: no weights)",
        "fetched before it runs",
    ),
}
HEAD = """
import errno, os, socket, urllib.request
import numpy as np
from jobkit import SourceError

def fork():
    # os.fork has no frame of its own; its caller's, which names it, is the last one.
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

def load(files, job):
    pass

def convert(job):
"""


def run_toy(tmp_path: Path, code: str, **environment: str) -> Ended:
    (tmp_path / "converter.py").write_text(HEAD + textwrap.indent(code, "    ") + "\n")
    folder = write_job(tmp_path / "job", [{"x": np.zeros((1, 3), np.float32)}])
    return run_job(folder, tmp_path / "converter.py", **environment)


@pytest.mark.parametrize("wish", FORBIDDEN)
def test_what_the_sandbox_forbids_is_said_with_what_to_do(tmp_path: Path, wish: str) -> None:
    code, message, remedy = FORBIDDEN[wish]
    ended = run_toy(tmp_path, code, **INSIDE)
    error = ended.result["error"]
    assert ended.code == 1
    assert (error["kind"], error["class"]) == ("refused", "SandboxError")
    assert message in error["message"]
    assert remedy in error["remedy"]
    assert f"SandboxError: {error['message']}" in ended.output, "the log says it too"


@pytest.mark.parametrize("wish", FORBIDDEN)
def test_outside_a_sandbox_nothing_is_said_of_one(tmp_path: Path, wish: str) -> None:
    error = run_toy(tmp_path, FORBIDDEN[wish][0], MODELFARM_SANDBOX="").result["error"]
    assert error["class"] != "SandboxError"
    assert "sandbox" not in error["message"] + error["remedy"]


OTHERS: list[Any] = [
    ValueError("opset 99"),
    SourceError("no factory", "write one"),
    FileNotFoundError(errno.ENOENT, "No such file", "/job/in/weights.pt"),
    BlockingIOError(errno.EAGAIN, "a pipe would have to wait"),
    PermissionError(errno.EACCES, "Permission denied", "/job/out/model.onnx"),
    PermissionError(errno.EACCES, "Permission denied", "/job/out"),
    RuntimeError("shape mismatch"),
]


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_other_failures_stay_what_they_are(error: Exception) -> None:
    def read() -> None:
        raise error

    try:
        read()
    except Exception as caught:
        assert explain(caught, SANDBOX) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_not_called_written(tmp_path: Path) -> None:
    (tmp_path / "closed").touch(mode=0o200)
    assert explain(PermissionError(errno.EACCES, "Denied", str(tmp_path / "closed")), SANDBOX) is None


def test_errors_that_lead_to_each_other_are_followed_once() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__context__ = other, one
    assert explain(one, SANDBOX) is None
    other.__cause__ = MemoryError()
    found = explain(one, SANDBOX)
    assert isinstance(found, SandboxError) and found.message.endswith("2 GiB (ValueError: one)")


@pytest.mark.parametrize("limits", ["", "no json", "[]", '{"memory": "much"}'])
def test_limits_that_are_not_known_are_left_out(limits: str) -> None:
    sandbox = find_sandbox({"MODELFARM_SANDBOX": "1", "MODELFARM_LIMITS": limits})
    assert sandbox == Sandbox(memory=0, processes=0)
    found = explain(MemoryError(), sandbox)
    assert found is not None and found.message == "the job ran out of memory: it wanted more than the sandbox has"


def test_a_process_that_the_converter_forked_reports_nothing(tmp_path: Path) -> None:
    code = """
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            assert not (job.out / "result.json").exists()
        raise ValueError("parent" if child else "child")
    """
    ended = run_toy(tmp_path, textwrap.dedent(code))
    assert ended.result["error"]["message"] == "parent"
    assert "child" not in ended.output.replace("child = os.fork()", "").replace('if child else "child"', "")


def test_the_variables_alone_tell_of_a_sandbox() -> None:
    code = "from jobkit.sandbox import find_sandbox; print(find_sandbox())"
    environment = {**os.environ, "PYTHONPATH": str(DOCKER), **INSIDE}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == f"{SANDBOX}\n"
    assert find_sandbox({}) is None and find_sandbox({"MODELFARM_SANDBOX": "0"}) is None
