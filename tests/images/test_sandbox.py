"""The container runner with real containers: what leaves the sandbox, by accident or will, is stopped and named."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfarm.containers import Client, Image
from modelfarm.errors import ConversionError, FarmError, Interrupted, MachineError
from modelfarm.settings import ROOT
from tests.images.boxes import Boxes, build_image, carry, make_boxes, make_toolchains, processes_with

FARM = """
import sys
from pathlib import Path
from modelfarm.containers import find_client
from tests.images.boxes import Boxes

boxes = Boxes(folder=Path(sys.argv[1]), cache=Path(sys.argv[2]), client=find_client(sys.argv[3]))
boxes.build()
"""


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine(request: pytest.FixtureRequest, client: Client) -> Client:
    """Return the client of an engine, or skip."""
    found: Client = client if request.param == client.name else request.getfixturevalue("podman")
    return found


@pytest.fixture(scope="module")
def toolchains(tmp_path_factory: pytest.TempPathFactory, engine: Client, client: Client,
               onnx_image: Image) -> Iterator[Path]:
    """Return the folder of the toys' toolchain, whose image the engine holds meanwhile."""
    folder = tmp_path_factory.mktemp(engine.name)
    toolchains = make_toolchains(folder)
    name = build_image(make_boxes(folder / "first", toolchains, client), client, onnx_image)
    try:
        if engine != client:
            carry(name, client, engine)
            _try(engine, name)
        yield toolchains
    finally:
        for each in {client, engine}:
            with contextlib.suppress(MachineError):  # another run uses it too
                each.ask("rmi", name)


def _try(engine: Client, name: str) -> None:
    try:
        engine.ask("run", "--rm", "--network", "none", name, "--help")
    except MachineError as error:
        pytest.skip(f"{engine.name} runs no containers here: {error.message}")


@pytest.fixture
def boxes(tmp_path: Path, toolchains: Path, engine: Client) -> Iterator[Boxes]:
    """Return a farm of boxes with an empty store; no container and no stage may be left of it."""
    boxes = make_boxes(tmp_path, toolchains, engine)
    yield boxes
    assert boxes.containers() == []
    assert not list((boxes.settings.artifacts / ".staging").glob("*"))


def fails(boxes: Boxes, kind: type[FarmError] = ConversionError, limits: Any = None, **wish: Any) -> FarmError:
    """Build a box that must fail, and return the error."""
    boxes.wish(**wish)
    with pytest.raises(FarmError) as caught:
        boxes.build(boxes.job(**(limits or {})))
    assert type(caught.value) is kind, caught.value
    assert not (boxes.settings.artifacts / "toy").exists()
    return caught.value


class Meanwhile:
    """Does something once, when a job that is to run for ever has begun to."""

    def __init__(self, boxes: Boxes, act: Callable[[], object]) -> None:
        self.started, self.act, self.done = boxes.folder / "scratch" / "out" / "started", act, False

    def __call__(self) -> None:
        if not self.done and self.started.exists():
            self.done = True
            self.act()


def start_farm(boxes: Boxes, **environment: str) -> subprocess.Popen[bytes]:
    """Start a farm in a process of its own, and wait for its container to run."""
    farm = subprocess.Popen([sys.executable, "-c", FARM, boxes.folder, boxes.cache, boxes.client.name], cwd=ROOT,
                            env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, stderr=subprocess.PIPE)
    end = time.monotonic() + 30
    while not list(boxes.settings.artifacts.glob(".staging/*/scratch/out/started")):
        assert farm.poll() is None and time.monotonic() < end, farm.stderr and farm.stderr.read().decode()
        time.sleep(0.05)
    return farm


# What works


def test_a_job_in_a_container_leaves_an_artifact_and_no_container(boxes: Boxes) -> None:
    built, said = boxes.build()
    assert built.artifact.path("model.toy").read_text() == "2"
    assert "  + convert to boxed" in said
    log = built.artifact.path("convert.log").read_text()
    assert log.startswith(f"$ {boxes.client.program} run --name modelfarm-boxed-{os.getpid()}-")
    again, _ = boxes.build()
    assert again.cached


def test_the_process_in_the_box_has_no_rights_no_network_and_one_place_to_write(boxes: Boxes) -> None:
    boxes.wish(do="look_around")
    ended, log = boxes.run()
    assert ended.code == 0, log
    seen = boxes.result()["facts"]
    rights = {name: int(value, 16) for name, value in seen["status"].items() if name.startswith("Cap")}
    assert rights == dict.fromkeys(["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"], 0)
    assert seen["status"]["NoNewPrivs"] == "1"
    assert seen["status"]["Seccomp"] == "2"
    assert seen["interfaces"] == ["lo"]
    assert {place for place in seen["writable"] if not place.startswith("/dev")} == {"/job/out", "/tmp"}
    assert seen["environment"]["MODELFARM_SANDBOX"] == "1"
    assert seen["environment"]["MODELFARM_LIMITS"] == '{"memory": 268435456, "processes": 64}'
    if not boxes.client.rootless:
        assert seen["user"] == [os.getuid(), os.getgid()]


def test_a_folder_with_an_odd_name_is_mounted(boxes: Boxes) -> None:
    ended, log = boxes.run(folder=boxes.folder / 'of "ours", src=x:y $HOME \'z\'')
    assert ended.code == 0, log


def test_tmp_can_be_used(boxes: Boxes) -> None:
    boxes.wish(do="use_tmp")
    ended, log = boxes.run()
    assert ended.code == 0, log


def test_much_output_is_kept_to_its_last_line_and_streams_while_the_job_runs(boxes: Boxes) -> None:
    boxes.wish(do="talk", lines=200_000)
    sizes: list[int] = []
    log = boxes.folder / "run.log"
    ended, said = boxes.run(on_tick=lambda: sizes.append(log.stat().st_size))
    assert ended.code == 0
    assert said.count("x" * 90) == 200_000
    assert "the last of it" in said
    assert len(set(sizes)) > 3


def test_a_child_left_behind_ends_with_its_container(boxes: Boxes) -> None:
    mark = f"98765.{os.getpid()}"
    boxes.wish(do="leave_a_child", mark=mark)
    ended, log = boxes.run()
    assert ended.code == 0, log
    assert processes_with(mark) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_what_a_job_makes_belongs_to_the_user_who_asked(boxes: Boxes, engine: Client) -> None:
    if engine.name == "podman":
        pytest.skip("podman of another user has other images")
    user, group = 12345, 23456
    boxes.run()  # prepares the folder
    job, theirs = boxes.job(), boxes.folder / "theirs"
    (boxes.folder / "scratch").rename(theirs)
    for entry in theirs.glob("out/*"):
        entry.unlink()
    for entry in (theirs, *theirs.rglob("*")):
        os.chown(entry, user, group)
    # The folders above are this user's alone.
    scratch = Path(tempfile.mkdtemp())
    scratch.chmod(0o755)
    scratch = Path(shutil.move(theirs, scratch))

    def as_somebody() -> None:
        socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
        os.setgroups([Path(socket).stat().st_gid])
        os.setgid(group)
        os.setuid(user)
        ended = boxes.runner.run(job.target, scratch, scratch / "their.log", lambda: None, 60)
        assert ended.code == 0

    in_a_fork(as_somebody)
    made = {entry.name: (entry.stat().st_uid, entry.stat().st_gid) for entry in (scratch / "out").iterdir()}
    assert made.keys() >= {"model.toy", "result.json", "outputs.npz"}
    assert set(made.values()) == {(user, group)}
    shutil.rmtree(scratch.parent)


def in_a_fork(act: Callable[[], None]) -> None:
    """Do something in a child process, which is this one's copy."""
    child = os.fork()
    if child == 0:
        try:
            act()
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


# What is forbidden


@pytest.mark.parametrize("host", ["192.0.2.1", "127.0.0.1", "example.org"])
def test_a_socket_is_refused(boxes: Boxes, host: str) -> None:
    error = fails(boxes, do="connect", host=host)
    if host != "127.0.0.1":  # that is the container's own
        assert "network" in error.message
    assert error.code == 5


@pytest.mark.parametrize("place", ["/x", "/job/x", "/job/in/source/toy.pt", "/job/job.json", "/home/x", "/var/tmp/x",
                                   "/opt/modelfarm/boxed/converter.py", "/proc/sys/kernel/hostname"])
def test_writing_elsewhere_is_refused(boxes: Boxes, place: str) -> None:
    error = fails(boxes, do="write", place=place)
    assert place in error.message
    assert "only /job/out is writable" in error.message


def test_forking_without_end_is_stopped(boxes: Boxes) -> None:
    error = fails(boxes, do="fork")
    assert "more processes than the sandbox allows" in error.message
    assert "64" in error.message


def test_forking_that_takes_no_refusal_runs_into_its_time(boxes: Boxes) -> None:
    error = fails(boxes, limits={"seconds": 2}, do="fork_for_ever")
    assert "was stopped after 2" in error.message
    assert processes_with("/opt/modelfarm/boxed") == []


def test_eating_all_memory_is_named_with_the_limit_and_where_it_is_set(boxes: Boxes) -> None:
    first = fails(boxes, do="eat").message.splitlines()[0]
    assert "ran out of memory" in first
    assert "256 MiB, memory in docker/boxed/target.yaml" in first


def test_a_child_that_eats_all_memory_is_told_from_one_that_fails(boxes: Boxes) -> None:
    if boxes.client.name == "podman":
        pytest.skip("podman tells of the want of memory only where it ends the first process, if at all")
    boxes.wish(do="eat_in_a_child")
    ended, _ = boxes.run()
    assert ended.code == 1
    assert ended.why.startswith("ran out of memory (its limit is 256 MiB")


def test_filling_tmp_is_named(boxes: Boxes) -> None:
    assert "/tmp" in fails(boxes, do="fill_tmp").message


@pytest.mark.parametrize("deaf", [False, True])
def test_running_for_ever_is_stopped(boxes: Boxes, deaf: bool) -> None:
    start = time.monotonic()
    error = fails(boxes, limits={"seconds": 2}, do="run_for_ever", deaf=deaf)
    assert re.search(r"was stopped after 2\S* s, its limit", error.message)
    assert time.monotonic() - start < 12
    assert "and on" in boxes.kept()


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_a_crash_is_named_by_its_signal(boxes: Boxes, number: signal.Signals) -> None:
    first, *last = fails(boxes, do="crash", signal=number).message.splitlines()
    assert f"was ended by signal {number:d} ({number.name}: a crash)" in first
    assert "memory" not in first
    assert last[-1].strip() == "before the crash"


def test_a_kill_from_outside_is_no_crash_and_no_want_of_memory_for_certain(boxes: Boxes) -> None:
    error = fails(boxes, do="crash", signal=signal.SIGKILL)
    assert "was killed from outside, or ran out of memory unnoticed" in error.message


@pytest.mark.parametrize("words", [("kill",), ("rm", "--force")])
def test_a_container_that_somebody_ends_is_told_as_that(boxes: Boxes, words: tuple[str, ...]) -> None:
    boxes.wish(do="run_for_ever")
    job = boxes.job()
    act = Meanwhile(boxes, lambda: boxes.client.ask(*words, *boxes.containers()))
    ended, _ = boxes.run(job, on_tick=act)
    assert act.done
    if boxes.client.name == "podman" and words[0] == "rm":
        assert ended.code == 130  # podman asks the job to end before it kills it
        return
    assert ended.code == -signal.SIGKILL
    assert ended.why.startswith("was killed from outside")


# What ends early


def test_a_job_that_is_cancelled_ends_with_its_container(boxes: Boxes) -> None:
    boxes.wish(do="run_for_ever")

    def stop() -> None:
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        boxes.run(on_tick=Meanwhile(boxes, stop))


@pytest.mark.parametrize("after", [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_a_job_that_is_cancelled_while_it_starts_leaves_nothing(boxes: Boxes, after: float) -> None:
    boxes.wish(do="run_for_ever")
    job, start = boxes.job(), time.monotonic()

    def stop() -> None:
        if time.monotonic() - start > after:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        boxes.run(job, on_tick=stop)
    time.sleep(0.5)  # for what the engine had begun


def test_ctrl_c_ends_the_farm_and_its_container(boxes: Boxes) -> None:
    boxes.wish(do="run_for_ever")
    with start_farm(boxes) as farm:
        assert boxes.containers()
        farm.send_signal(signal.SIGINT)
        farm.wait(20)
    assert farm.returncode != 0
    assert boxes.containers() == []


def test_a_killed_farms_container_is_swept_by_the_next_and_a_living_ones_is_not(boxes: Boxes) -> None:
    boxes.wish(do="run_for_ever")
    with start_farm(boxes) as farm:
        (name,) = boxes.containers()
        assert name not in boxes.runner.sweep()
        assert boxes.containers() == [name]
        farm.kill()
        farm.wait()
        assert boxes.containers() == [name]
        assert name in boxes.runner.sweep()
    assert boxes.containers() == []
    boxes.farm.store.sweep()


def test_a_container_can_be_kept(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEP_CONTAINER", "1")
    _, said = boxes.build()
    assert f"{boxes.client.name} ps --all --filter label=modelfarm.job=kept" in said
    (name,) = boxes.containers()
    assert name not in boxes.runner.sweep()
    assert "$" not in boxes.client.ask("logs", name)
    boxes.client.ask("rm", name)


def test_a_kept_container_does_not_run_on(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEP_CONTAINER", "1")
    fails(boxes, limits={"seconds": 2}, do="run_for_ever", deaf=True)
    (name,) = boxes.containers()
    assert boxes.client.ask("inspect", "--format", "{{.State.Running}}", name) == "false"
    boxes.client.ask("rm", name)


# What the engine cannot do


def test_an_image_that_is_gone_meanwhile_is_the_machines_fault(boxes: Boxes, engine: Client) -> None:
    job = boxes.job()
    gone = replace(boxes.runner.image(job.target), identity=f"sha256:{'0' * 64}")
    boxes.runner._images[job.target.name] = gone
    with pytest.raises(MachineError, match=r"could not run the boxed toolchain: .*") as caught:
        boxes.run(job)
    assert "make images" in caught.value.remedy
    assert "image" in caught.value.message.lower()


def test_a_folder_that_the_engine_does_not_see_is_the_machines_fault(boxes: Boxes) -> None:
    job = boxes.job()
    with pytest.raises(MachineError) as caught:
        boxes.runner.run(job.target, boxes.folder / "elsewhere", boxes.folder / "run.log", lambda: None, 60)
    assert "does not see the files of this machine" in caught.value.remedy
    assert "elsewhere" in caught.value.message


def test_an_engine_that_dies_meanwhile_is_the_machines_fault(boxes: Boxes, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    if boxes.client.name != "docker":
        pytest.skip("podman has no engine that could die")
    boxes.wish(do="run_for_ever")
    job, usual = boxes.job(), os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    with Relay(tmp_path / "relay.sock", usual) as relay:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{relay.path}")
        with pytest.raises(MachineError) as caught:
            boxes.run(job, on_tick=Meanwhile(boxes, relay.close))
    assert "docker" in caught.value.message
    assert "no more" in caught.value.message or "could not run" in caught.value.message
    monkeypatch.setenv("DOCKER_HOST", usual)
    boxes.client.ask("rm", "--force", *boxes.containers())  # this process lives, so no sweep would


class Relay:
    """A socket between a client and its engine, which can be cut."""

    def __init__(self, path: Path, engine: str) -> None:
        import socket

        if not engine.startswith("unix://"):
            pytest.skip("the engine has no socket on this machine")
        self.path, self._engine, self._open = path, engine.removeprefix("unix://"), True
        self._sockets: list[Any] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        import socket

        while self._open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX)
            engine.connect(self._engine)
            self._sockets += [client, engine]
            for pair in ((client, engine), (engine, client)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, one: Any, other: Any) -> None:
        import socket

        try:
            while data := one.recv(1 << 16):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        import socket

        self._open = False
        self.path.unlink(missing_ok=True)
        for each in (self._listener, *self._sockets):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
            finally:
                each.close()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
