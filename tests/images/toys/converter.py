"""y = 2 x, and on the way what `do` in the model's "weights" asks for: each way to leave the sandbox is a function."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from jobkit import Device, Runtime, Tensor

EAT = "hoard = [bytearray(b'x' * (10 << 20)) for _ in range(100)]"


def convert(job):
    wish = json.loads(job.source.weights.read_text())
    globals()[wish.get("do", "nothing")](job, wish)
    (job.out / "model.toy").write_text("2")
    return ["model.toy"]


def load(files, job):
    return _runtime(job)


def reference(job):
    return _runtime(job)


def _runtime(job):
    shape = job.inputs[0].shape
    tensors = (Tensor("x", shape, "float32"),), (Tensor("y", shape, "float32"),)
    return Runtime(lambda inputs: {"y": np.float32(2) * inputs["x"]}, *tensors, Device("cpu", "cpu", "numpy"))


def nothing(job, wish):
    """Behave."""


def look_around(job, wish):
    """Write down what this process may do."""
    status = Path("/proc/self/status").read_text().splitlines()
    job.facts["status"] = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    job.facts["interfaces"] = sorted(name for _, name in socket.if_nameindex())
    job.facts["environment"] = dict(os.environ)
    job.facts["user"] = [os.getuid(), os.getgid()]
    job.facts["writable"] = sorted(filter(_is_writable, _places()))


def _places():
    mounts = {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()}
    return mounts | {"/", "/job/in", "/job/in/source", "/opt", "/home", "/var/tmp"}


def _is_writable(place):
    try:
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False


def connect(job, wish):
    socket.create_connection((wish["host"], 443), timeout=5)


def write(job, wish):
    Path(wish["place"]).write_text("out of the box")


def fork(job, wish):
    while True:
        os.fork()


def fork_for_ever(job, wish):
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.01)


def eat(job, wish):
    exec(EAT)


def eat_in_a_child(job, wish):
    subprocess.run([sys.executable, "-c", EAT], check=True)


def fill_tmp(job, wish):
    with tempfile.TemporaryFile() as file:
        while True:
            file.write(bytes(1 << 20))


def run_for_ever(job, wish):
    if wish.get("deaf"):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
    print("and on", flush=True)
    (job.out / "started").touch()
    while True:
        time.sleep(0.1)


def crash(job, wish):
    print("before the crash", flush=True)
    if wish["signal"] == signal.SIGSEGV:
        ctypes.string_at(0)
    os.kill(os.getpid(), wish["signal"])


def talk(job, wish):
    for number in range(wish["lines"]):
        print(f"{number:8d} " + "x" * 90)
    print("the last of it")


def leave_a_child(job, wish):
    subprocess.Popen(["sleep", wish["mark"]], start_new_session=True)


def use_tmp(job, wish):
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(10 << 20))
        assert Path(file.name).stat().st_size == 10 << 20
