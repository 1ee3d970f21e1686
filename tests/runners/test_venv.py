"""The venv runner: an environment is there whole or not at all, whoever interrupts, competes or fails."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelfarm.console import Console
from modelfarm.digest import Digests, key_of
from modelfarm.errors import MachineError, UsageError
from modelfarm.runners import Runners, VenvRunner
from modelfarm.runners.venv import interpreter, unreachable
from modelfarm.settings import ROOT, from_environment
from modelfarm.target import Target, read_target
from modelfarm.toolchain import sources
from tests.runners.toolchains import make_slow_package, make_target, make_wheel

HERE = "{}.{}".format(*sys.version_info[:2])
PREPARE = """
import sys
from pathlib import Path
from modelfarm.console import Console
from modelfarm.runners import VenvRunner
from modelfarm.target import read_target
runner = VenvRunner(environments=Path(sys.argv[1]), torch_index="")
runner.prepare(read_target(Path(sys.argv[2])), Console(live=False))
"""


@pytest.fixture(autouse=True)
def _no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("SLOW_MARKS", str(tmp_path / "marks"))
    monkeypatch.setenv("SLOW_SECONDS", "60")
    monkeypatch.delenv("PYTHONPATH", raising=False)


@pytest.fixture
def runner(tmp_path: Path) -> VenvRunner:
    return VenvRunner(environments=tmp_path / "venvs", torch_index="")


def prepare(runner: VenvRunner, target: Target) -> str:
    """Prepare a toolchain and return what the console said."""
    stream = io.StringIO()
    runner.prepare(target, Console(stream))
    return stream.getvalue()


def in_another_process(runner: VenvRunner, target: Target) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PREPARE, runner.environments, target.folder / "target.yaml"],
                            cwd=ROOT, stdout=subprocess.PIPE, text=True)


def imports(runner: VenvRunner, target: Target, module: str) -> bool:
    code = f"import {module}; assert {module}.VALUE == 1"
    return subprocess.run([runner.folder(target) / "bin" / "python", "-I", "-c", code]).returncode == 0


def everything(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


def test_an_environment_is_installed_once_and_runs_jobs(tmp_path: Path, runner: VenvRunner) -> None:
    make_wheel(tmp_path / "wheels")
    target = make_target(tmp_path, "# pinned\ntoy==1.0\n", HERE)
    assert not runner.ready(target)
    said = prepare(runner, target)
    assert said.startswith("  + install the toy toolchain (once) ")
    assert runner.ready(target)
    assert imports(runner, target, "toy")

    before = everything(tmp_path / "venvs")
    start = time.perf_counter()
    assert prepare(runner, target) == ""
    assert time.perf_counter() - start < 0.05
    assert everything(tmp_path / "venvs") == before
    assert not list((tmp_path / "venvs").glob("*partial*"))

    _runs_a_job(tmp_path, runner, target)
    _stops_a_job_at_its_limit(tmp_path, runner, target)


def test_what_a_package_asks_for_beside_the_lock_is_not_installed(tmp_path: Path, runner: VenvRunner) -> None:
    make_wheel(tmp_path / "wheels", requires=("absent==1.0",))
    target = make_target(tmp_path, "# without: absent (for the test)\ntoy==1.0\n", HERE)
    prepare(runner, target)
    assert imports(runner, target, "toy")
    assert "pip install --no-deps -r docker/toy/requirements.txt" in runner.script(target)


def _runs_a_job(folder: Path, runner: VenvRunner, target: Target) -> None:
    (folder / "docker" / "jobkit" / "__main__.py").write_text(
        "import os, sys, toy\nassert os.getcwd() == sys.argv[1]\n"
        "print(toy.VALUE, sys.argv[1:], os.environ['MODELFARM_CONVERTER'])\n"
        "print(os.environ['MODELFARM_PARENT'], sys.prefix)\nraise SystemExit(1)\n")
    (folder / "job").mkdir()
    ended = runner.run(target, folder / "job", folder / "job.log", lambda: None, 60)
    assert ended.code == 1
    assert (folder / "job.log").read_text().splitlines()[1:] == [
        f"1 ['{folder / 'job'}'] {target.converter}", f"{os.getpid()} {runner.folder(target)}"]


def _stops_a_job_at_its_limit(folder: Path, runner: VenvRunner, target: Target) -> None:
    (folder / "docker" / "jobkit" / "__main__.py").write_text("import time; time.sleep(30)\n")
    ticks: list[None] = []
    ended = runner.run(target, folder / "job", folder / "job.log", lambda: ticks.append(None), 1)
    assert ended.timed_out
    assert ticks


def test_an_install_that_is_killed_is_never_used_and_the_next_one_succeeds(tmp_path: Path, runner: VenvRunner) -> None:
    make_slow_package(tmp_path / "wheels")
    target = make_target(tmp_path, "slow==1.0\n", HERE)
    with in_another_process(runner, target) as process:
        for _ in range(1000):
            if (tmp_path / "marks").exists() and (tmp_path / "marks").read_text().endswith("\n"):
                break
            time.sleep(0.02)
        process.kill()
    try:
        assert not runner.ready(target)
        (left,) = (tmp_path / "venvs").glob("*.partial*")
        assert "install the toy toolchain" in prepare(runner, target)  # while the killed one's pip still lives
        assert runner.ready(target)
        assert imports(runner, target, "slow")
        assert not left.exists()
        log = runner.folder(target).with_name(f"{runner.folder(target).name}.log").read_text()
        assert str(left) not in log, "the killed one's pip may write there still"
    finally:
        os.killpg(int((tmp_path / "marks").read_text().split()[0]), signal.SIGKILL)


def test_of_two_that_come_at_once_one_installs(tmp_path: Path, runner: VenvRunner,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOW_SECONDS", "1")
    make_slow_package(tmp_path / "wheels")
    target = make_target(tmp_path, "slow==1.0\n", HERE)
    processes = [in_another_process(runner, target) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert len([words for words in said if "install the toy toolchain" in words]) == 1
    assert len((tmp_path / "marks").read_text().splitlines()) == 1
    assert imports(runner, target, "slow")


def test_who_comes_second_says_that_it_waits_and_installs_nothing(tmp_path: Path, runner: VenvRunner) -> None:
    target = make_target(tmp_path, "toy==1.0\n", HERE)
    folder = runner.folder(target)
    folder.parent.mkdir()
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with in_another_process(runner, target) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "  . waiting for another process, which installs the same toolchain\n"
            folder.mkdir()
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert process.communicate(timeout=20)[0] == ""
    assert process.returncode == 0


def test_a_package_that_is_nowhere_is_named_with_the_reason(tmp_path: Path, runner: VenvRunner) -> None:
    make_wheel(tmp_path / "wheels")
    target = make_target(tmp_path, "toy==1.0\nno-such-package==7.0\n", HERE)
    with pytest.raises(MachineError) as caught:
        prepare(runner, target)
    assert "the toolchain cannot be installed: pip ended with code 1" in caught.value.message
    assert "No matching distribution found for no-such-package==7.0" in caught.value.message
    log = Path(caught.value.remedy.removeprefix("the whole output is in "))
    assert "$ " in log.read_text()
    assert not runner.ready(target)


def test_a_cpu_build_is_tried_elsewhere_where_pytorchs_index_is_out_of_reach(tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels", "torch", "2.0+cpu")
    target = make_target(tmp_path, "torch==2.0+cpu\n", HERE)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    runner = VenvRunner(environments=tmp_path / "venvs", torch_index=f"http://127.0.0.1:{port}")
    said = prepare(runner, target)
    assert "PyTorch's index is out of reach ([Errno 111] Connection refused); trying pip's own sources" in said
    assert imports(runner, target, "torch")


def test_a_missing_cpu_build_says_what_to_set(tmp_path: Path, runner: VenvRunner) -> None:
    (tmp_path / "wheels").mkdir()
    target = make_target(tmp_path, "torch==2.0+cpu\n", HERE)
    with pytest.raises(MachineError) as caught:
        prepare(runner, target)
    assert "torch==2.0+cpu" in caught.value.message
    assert "TORCH_INDEX=" in caught.value.remedy
    assert "PIP_FIND_LINKS=" in caught.value.remedy


@pytest.fixture
def index() -> Iterator[str]:
    """Serve anything that is asked for with an empty answer."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Index(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200 if self.path == "/cpu/torch/" else 404)
            self.end_headers()

        def log_message(self, format: str, *words: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_index_that_answers_is_given_to_pip_for_cpu_builds_only(tmp_path: Path, index: str) -> None:
    runner = VenvRunner(environments=tmp_path / "venvs", torch_index=f"{index}/cpu")
    console = Console(io.StringIO())
    assert runner._index(make_target(tmp_path, "torch==2.0+cpu\n"), console) == ["--extra-index-url", f"{index}/cpu"]
    assert runner._index(make_target(tmp_path, "torch==2.0\n"), console) == []
    assert replace(runner, torch_index="")._index(make_target(tmp_path, "torch==2.0+cpu\n"), console) == []


def test_an_index_is_asked_for_torch(index: str) -> None:
    assert unreachable(f"{index}/cpu") == ""
    assert unreachable(f"{index}/other") == "Not Found"


def test_an_index_that_never_answers_costs_a_few_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.perf_counter()
        assert "timed out" in unreachable(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert time.perf_counter() - start < 5


def test_an_index_that_answers_nonsense_is_out_of_reach() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        def answer() -> None:
            connection, _ = server.accept()
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        assert "SSH-2.0" in unreachable(f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join()


@pytest.mark.parametrize("text", ["", "/a/folder", "no url"])
def test_an_index_that_is_no_url_is_out_of_reach(text: str) -> None:
    assert "unknown url type" in unreachable(text)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "venvs").write_text("a file")
    runner = VenvRunner(environments=tmp_path / "venvs", torch_index="")
    with pytest.raises(MachineError, match="cannot be written") as caught:
        prepare(runner, make_target(tmp_path, "toy==1.0\n"))
    assert "MODELFARM_CACHE=" in caught.value.remedy


def test_an_interpreter_that_is_not_here_is_named(tmp_path: Path, runner: VenvRunner) -> None:
    with pytest.raises(MachineError, match=r"the toy toolchain needs Python 3\.99, which is not on the PATH"):
        prepare(runner, make_target(tmp_path, "toy==1.0\n", "3.99"))
    assert list((tmp_path / "venvs").glob("*.partial*")) == []


def test_another_interpreter_is_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tmp_path / "python3.99"
    found.write_text("#!/bin/sh\n")
    found.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert interpreter(make_target(tmp_path, "", "3.99")) == str(found)
    assert Path(interpreter(make_target(tmp_path, "", HERE))).name == f"python{HERE}"


def _identity(runner: VenvRunner, target: Target, folder: Path) -> str:
    return key_of(runner.identity(target, Digests(folder / "cache")))


def test_the_identity_changes_with_the_toolchain(tmp_path: Path, runner: VenvRunner) -> None:
    target = make_target(tmp_path, "toy==1.0\n", HERE)
    seen = [_identity(runner, target, tmp_path), _identity(runner, replace(target, python="3.99"), tmp_path)]
    for change in (target.requirements, target.converter, target.folder / "more.py",
                   target.folder.parent / "jobkit" / "__init__.py"):
        with change.open("a") as file:
            file.write("# another line\n")
        seen.append(_identity(runner, target, tmp_path))
    assert len(set(seen)) == len(seen)


@pytest.fixture
def sharing(tmp_path: Path) -> Target:
    """Return a target that shares a folder whose module it has too, one that it lacks, and a package."""
    target = make_target(tmp_path, "", HERE)
    texts = {"common.py": "1", "mine.py": "2", "parts/one.py": "3", "self_test/in/source/tiny.py": "4"}
    for name, value in texts.items():
        (file := target.folder.parent / "other" / name).parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"VALUE = {value}\n")
    (target.folder / "mine.py").write_text("VALUE = 0\n")
    with (target.folder / "target.yaml").open("a") as file:
        file.write("shares: [other]\n")
    return read_target(target.folder / "target.yaml")


def test_a_job_finds_the_modules_that_its_toolchain_shares_after_its_own(
    tmp_path: Path, runner: VenvRunner, sharing: Target
) -> None:
    prepare(runner, sharing)
    (sharing.folder.parent / "jobkit" / "__main__.py").write_text(
        "import os, sys\nsys.path.insert(0, os.path.dirname(os.environ['MODELFARM_CONVERTER']))  # as jobkit does\n"
        "import common, mine, parts.one\nprint(common.VALUE, mine.VALUE, parts.one.VALUE)\n")
    ended = runner.run(sharing, tmp_path, tmp_path / "log", lambda: None, 60)
    assert ended.code == 0
    assert (tmp_path / "log").read_text().splitlines()[-1] == "1 0 3"
    assert "PYTHONPATH=docker:docker/other MODELFARM_CONVERTER=docker/toy/converter.py" in runner.script(sharing)


@pytest.mark.parametrize(("name", "counts"), [
    ("common.py", True), ("parts/one.py", True), ("more.py", True), ("self_test/in/source/tiny.py", False),
    ("requirements.txt", False), ("target.yaml", False)])
def test_shared_modules_are_part_of_the_toolchain(
    tmp_path: Path, runner: VenvRunner, sharing: Target, name: str, counts: bool
) -> None:
    before = _identity(runner, sharing, tmp_path), sources(sharing, Digests(tmp_path / "cache"))
    with (sharing.folder.parent / "other" / name).open("a") as file:
        file.write("# another line\n")
    after = _identity(runner, sharing, tmp_path), sources(sharing, Digests(tmp_path / "cache"))
    assert [one != other for one, other in zip(before, after, strict=True)] == [counts, counts]


def test_the_identity_changes_with_a_package_of_the_toolchain(tmp_path: Path, runner: VenvRunner) -> None:
    target = make_target(tmp_path, "", HERE)
    (target.folder / "passes").mkdir()
    seen = [_identity(runner, target, tmp_path)]
    for text in ("x = 1\n", "x = 22\n"):
        (target.folder / "passes" / "first.py").write_text(text)
        seen.append(_identity(runner, target, tmp_path))
    assert len(set(seen)) == 3


def test_the_identity_does_not_change_with_anything_else(tmp_path: Path, runner: VenvRunner) -> None:
    target = make_target(tmp_path / "one", "toy==1.0\n", HERE)
    before = _identity(runner, target, tmp_path)
    os.utime(target.converter, (1, 1))
    (target.folder / "README.md").write_text("words")
    (target.folder / "__pycache__").mkdir()
    (target.folder / "__pycache__" / "converter.cpython-311.pyc").write_bytes(b"compiled")
    (target.folder / "target.yaml").write_text((target.folder / "target.yaml").read_text() + "# a remark\n")
    assert _identity(runner, target, tmp_path) == before
    moved = make_target(tmp_path / "two", "toy==1.0\n", HERE)
    assert _identity(VenvRunner(environments=tmp_path, torch_index="x"), moved, tmp_path) == before


def test_the_folder_follows_the_lock_file_and_the_interpreter(tmp_path: Path, runner: VenvRunner) -> None:
    target = make_target(tmp_path, "toy==1.0\n", HERE)
    first = runner.folder(target)
    assert first.parent == tmp_path / "venvs"
    assert first.name.startswith("toy-")
    assert runner.folder(replace(target, python="3.99")) != first
    with target.converter.open("a") as file:
        file.write("# the converter is no package\n")
    assert runner.folder(target) == first
    target.requirements.write_text("toy==1.1\n")
    assert runner.folder(target) != first


def test_only_known_runners_can_be_chosen(tmp_path: Path) -> None:
    settings = from_environment({"RUNNER": "venv"})
    runner = Runners(settings=settings, digests=Digests(tmp_path)).of(make_target(tmp_path, ""))
    assert isinstance(runner, VenvRunner) and runner.environments == settings.environments
    with pytest.raises(UsageError, match="RUNNER=vnev is not known; did you mean venv"):
        Runners(settings=replace(settings, runner="vnev"), digests=Digests(tmp_path))


def test_auto_is_venv_where_a_target_has_no_image(tmp_path: Path) -> None:
    runners = Runners(settings=from_environment({}), digests=Digests(tmp_path))
    assert isinstance(runners.of(make_target(tmp_path, "")), VenvRunner)


def test_a_client_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODMAN", "no-such-program")
    runners = Runners(settings=from_environment({"RUNNER": "podman"}), digests=Digests(tmp_path))
    with pytest.raises(MachineError, match="there is no podman on the PATH") as caught:
        runners.of(make_target(tmp_path, ""))
    assert "RUNNER=venv" in caught.value.remedy
