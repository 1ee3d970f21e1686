"""The store under kill -9: whole artifacts or none at any moment, and no cleaning up afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import modelfarm
from modelfarm.artifact import Artifact
from modelfarm.digest import Digests
from modelfarm.errors import ArtifactError
from modelfarm.store import Store

ROOT = Path(modelfarm.__file__).parent.parent
MODEL, VARIANT = "digits", "onnx"


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def fill(folder: Path, number: int) -> None:
    subjects = []
    for name in ("model.onnx", "labels.txt"):
        content = f"{name} {number} ".encode() * 500
        (folder / name).write_bytes(content)
        digest = {"sha256": hashlib.sha256(content).hexdigest()}
        subjects.append({"name": name, "digest": digest, "annotations": {"size": len(content)}})
    parameters = {"internalParameters": {"key": key(number)}}
    manifest = {"subject": subjects, "predicate": {"buildDefinition": parameters}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def make(store: Store, number: int) -> Artifact:
    """Do what a build does: find it, or discard what is damaged, make it and publish it."""
    with store.lock(key(number)):
        try:
            artifact = store.find(MODEL, VARIANT, key(number))
        except ArtifactError as error:
            artifact = None
            store.discard_damaged(MODEL, VARIANT, key(number), error.message)
        if artifact is None:
            with store.stage() as stage:
                fill(stage.folder, number)
                return store.publish(stage, MODEL, VARIANT, key(number))
        store.point_latest(artifact)
        return artifact


def fail(store: Store, number: int) -> None:
    with store.lock(key(number)), store.stage() as stage:
        (stage.folder / "smoke.log").write_text("a log")
        store.fail(stage, MODEL, VARIANT, key(number), "a gate")


def is_whole(folder: Path) -> bool:
    """Check a version by plain hashing, with nothing of the store."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        return bool(manifest["subject"]) and all(
            hashlib.sha256((folder / s["name"]).read_bytes()).hexdigest() == s["digest"]["sha256"]
            for s in manifest["subject"]
        )
    except FileNotFoundError:
        return False


def versions(root: Path) -> Iterator[Path]:
    for path in (root / MODEL / VARIANT).iterdir():
        if not path.is_symlink():
            yield path


def litter(root: Path) -> list[Path]:
    return [path for name in (".staging", ".locks") for path in (root / name).iterdir()]


# Each scenario: what there is before, and the run that is killed before each step that touches a disk.


def publish_a_new_version(store: Store) -> None:
    make(store, 2)


def publish_over_a_damaged_one(store: Store) -> None:
    make(store, 0)


def collect(store: Store) -> None:
    store.gc(1)


def fail_again(store: Store) -> None:
    fail(store, 7)


def go_back(store: Store) -> None:
    make(store, 1)


def prepare(store: Store) -> None:
    """Leave two whole versions, a damaged one that was not the latest, and two failures."""
    for number in (0, 1, 3):
        age = 100 - number
        os.utime(make(store, number).path("manifest.json"), (time.time() - age,) * 2)
    (store.root / MODEL / VARIANT / key(0)[:16] / "labels.txt").write_text("damaged")
    fail(store, 7)
    fail(store, 8)


STEPS = {
    *("open", "fcntl.flock", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove", "os.rmdir"),
    *("os.symlink", "os.chmod", "os.utime", "os.truncate"),
}


def killed_before_step(step: int, action: Callable[[], None]) -> bool:
    """Run `action` in a child that kills itself before its `step`-th call on files; tell whether it did."""
    child = os.fork()
    if child == 0:
        left = iter(range(step))

        def count(event: str, _: tuple[object, ...]) -> None:
            if event in STEPS and next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(count)
            action()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.parametrize("scenario", [publish_a_new_version, publish_over_a_damaged_one, collect, fail_again, go_back])
def test_a_kill_before_any_step_leaves_whole_artifacts_and_a_store_that_works(
    scenario: Callable[[Store], None], tmp_path: Path
) -> None:
    before = Store(tmp_path / "before", Digests(tmp_path / "cache"))
    prepare(before)
    step, killed = 0, True
    while killed:
        root = shutil.copytree(before.root, tmp_path / "artifacts", symlinks=True)
        store = Store(root, Digests(tmp_path / "cache"))
        killed = killed_before_step(step, lambda store=store: scenario(store))  # type: ignore[misc]
        assert_all_whole(root, f"after a kill before step {step}")
        scenario(store)
        assert_all_whole(root, f"after a kill before step {step} and another run")
        store.sweep()
        assert litter(root) == []
        shutil.rmtree(root)
        step += 1
    assert step > 20


def assert_all_whole(root: Path, when: str) -> None:
    damaged = root / MODEL / VARIANT / key(0)[:16]
    assert is_whole(root / MODEL / VARIANT / "latest"), f"latest {when}"
    assert [v for v in versions(root) if v != damaged and not is_whole(v)] == [], when


WORKER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_store_killed import make, Store, Digests
store = Store(Path(sys.argv[1]), Digests(Path(sys.argv[1]).parent / "cache"))
print("ready", flush=True)
for number in range(int(sys.argv[3]), 10**9):
    make(store, number)
    if number % 4 == 3:
        store.gc(2)
"""


@contextmanager
def worker(root: Path, number: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WORKER, str(root), str(Path(__file__).parent), str(number)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


class Reader(threading.Thread):
    """Follow `latest` all the time, as a deployment would."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.link = root / MODEL / VARIANT / "latest"
        self.stop = threading.Event()
        self.seen: set[str] = set()
        self.broken: list[str] = []

    def run(self) -> None:
        while not self.stop.is_set():
            if not self.link.is_symlink():
                continue
            version = str(self.link.readlink())
            # A version may be collected as soon as latest has moved on, and not before.
            if is_whole(self.link.parent / version):
                self.seen.add(version)
            elif str(self.link.readlink()) == version:
                self.broken.append(version)


def test_kills_at_random_moments_are_never_seen_by_a_reader(tmp_path: Path) -> None:
    root, chance = tmp_path / "artifacts", random.Random(20)
    reader = Reader(root)
    reader.start()
    try:
        for turn in range(6):
            with worker(root, turn * 1000) as one, worker(root, turn * 1000) as two:
                for process in (one, two):
                    assert process.stdout is not None
                    assert process.stdout.readline() == "ready\n"
                for process in (one, two):
                    time.sleep(chance.uniform(0.0, 0.15))
                    process.kill()
    finally:
        reader.stop.set()
        reader.join()
    assert reader.broken == []
    assert len(reader.seen) > 5
    assert all(is_whole(version) for version in versions(root))
    store = Store(root, Digests(tmp_path / "cache"))
    assert make(store, 77) == store.latest(MODEL, VARIANT)
    store.sweep()
    assert litter(root) == []


ONCE = """
import sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_store_killed import MODEL, VARIANT, Digests, Store, fill, key
root = Path(sys.argv[1])
store, told = Store(root, Digests(root.parent / "cache")), []
print("ready", flush=True)
sys.stdin.readline()
with store.lock(key(1), waiting=told.append):
    found = store.find(MODEL, VARIANT, key(1))
    if found is None:
        with store.stage() as stage:
            fill(stage.folder, 1)
            time.sleep(0.3)
            store.publish(stage, MODEL, VARIANT, key(1))
print("found" if found else "made", len(told), flush=True)
"""


def test_four_processes_that_want_one_key_do_its_work_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ONCE, str(tmp_path / "artifacts"), str(Path(__file__).parent)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = sorted(process.communicate(timeout=30)[0].strip() for process in processes)
    assert said == ["found 1", "found 1", "found 1", "made 0"]
