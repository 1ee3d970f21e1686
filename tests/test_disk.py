"""The disk refuses: full, read-only, forbidden, no folder. Real file systems, real limits."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelfarm import disk
from modelfarm.digest import Digests
from modelfarm.errors import FarmError, MachineError, UsageError
from modelfarm.store import Store

KEY = hashlib.sha256(b"key").hexdigest()
NOBODY = 65534


def publish(store: Store, content: bytes = b"weights", key: str = KEY) -> None:
    with store.lock(key), store.stage() as stage:
        (stage.folder / "model.onnx").write_bytes(content)
        subject = {"name": "model.onnx", "digest": {"sha256": hashlib.sha256(content).hexdigest()}}
        manifest = {
            "subject": [{**subject, "annotations": {"size": len(content)}}],
            "predicate": {"buildDefinition": {"internalParameters": {"key": key}}},
        }
        (stage.folder / "manifest.json").write_text(json.dumps(manifest))
        store.publish(stage, "digits", "onnx", key)


def open_store(root: Path, tmp_path: Path) -> Store:
    return Store(root, Digests(tmp_path / "cache"))


def mount(*arguments: str) -> None:
    program = shutil.which("mount")
    if program is None or sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting needs Linux and root")
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of one MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m,nr_inodes=200", "none", str(folder))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def in_child(action: Callable[[], object]) -> tuple[int, str]:
    """Run `action` in a process of its own; return its exit code and error message."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code, text = 0, ""
        try:
            action()
        except FarmError as error:
            code, text = error.code, str(error)
        except BaseException as error:
            code, text = 99, repr(error)
        os.write(writing, text.encode())
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def test_a_full_disk_is_named_and_nothing_half_written_stays(small: Path, tmp_path: Path) -> None:
    store = open_store(small / "artifacts", tmp_path)
    publish(store)
    other = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(MachineError, match="takes no more") as caught:
        publish(store, b"x" * 2**21, other)
    assert str(store.root) in caught.value.message
    assert "MiB free" in caught.value.message
    assert "ARTIFACTS=" in caught.value.remedy
    assert list((store.root / ".staging").iterdir()) == []
    assert [a.key for a in store.artifacts()] == [KEY]
    assert store.find("digits", "onnx", KEY) == store.latest("digits", "onnx")
    publish(store, b"fits", other)


def test_a_disk_that_fills_up_at_any_step_is_named(small: Path, tmp_path: Path) -> None:
    store, refusals = open_store(small / "artifacts", tmp_path), 0
    ballast = [small / str(number) for number in range(1000)]
    with pytest.raises(OSError, match="No space"):
        for path in ballast:
            path.touch()
    # One inode more each time: every step of publishing is once the one that fails.
    for path in ballast[:30]:
        try:
            publish(store)
            break
        except MachineError as error:
            assert "takes no more" in error.message
        refusals += 1
        assert [a.check(store.digests).key for a in store.artifacts()] in ([], [KEY])
        assert disk.names(store.root / ".staging") == []
        path.unlink()
    assert 10 < refusals < 30
    assert store.latest("digits", "onnx") == store.find("digits", "onnx", KEY)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_write_that_names_no_file_is_explained_too(tmp_path: Path) -> None:
    store = open_store(tmp_path / "artifacts", tmp_path)
    with pytest.raises(MachineError, match="takes no more: no space left"), store.stage():
        os.write(os.open("/dev/full", os.O_WRONLY), b"x")
    assert list((store.root / ".staging").iterdir()) == []


def test_a_limit_on_file_sizes_is_explained(tmp_path: Path) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        publish(open_store(tmp_path / "artifacts", tmp_path), b"x" * 10_000)

    code, text = in_child(limited)
    assert code == 4
    assert "file too large" in text
    assert list((tmp_path / "artifacts" / ".staging").iterdir()) == []


def test_a_read_only_store_can_be_read_and_not_written(tmp_path: Path) -> None:
    publish(open_store(tmp_path / "artifacts", tmp_path))
    (tmp_path / "mirror").mkdir()
    mount("--bind", str(tmp_path / "artifacts"), str(tmp_path / "mirror"))
    try:
        mount("-o", "remount,bind,ro", str(tmp_path / "mirror"))
        store = open_store(tmp_path / "mirror", tmp_path)
        assert store.find("digits", "onnx", KEY) is not None
        assert [a.key for a in store.artifacts()] == [KEY]
        store.sweep()
        for write in (store.stage, lambda: store.lock(KEY)):
            with pytest.raises(MachineError, match="refuses: read-only file system") as caught, write():
                pytest.fail("written")
            assert "ARTIFACTS=" in caught.value.remedy
    finally:
        subprocess.run(["umount", str(tmp_path / "mirror")], check=True)


@pytest.fixture
def common() -> Iterator[Path]:
    """Make a folder that any user may enter, and only its owner may write."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    disk.remove(folder)


def as_an_ordinary_user(action: Callable[[], object]) -> tuple[int, str]:
    def dropped() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        action()

    return in_child(dropped)


def test_a_store_of_somebody_else_is_named_with_the_remedy(common: Path, tmp_path: Path) -> None:
    root = common / "artifacts"
    publish(open_store(root, tmp_path))
    root.chmod(0o555)
    for folder in (".staging", ".locks"):
        (root / folder).chmod(0o555)
    store = open_store(root, common)
    code, text = as_an_ordinary_user(lambda: publish(store))
    assert code == 4
    assert f"the store {root} refuses: permission denied" in text
    assert "ARTIFACTS=" in text
    assert as_an_ordinary_user(lambda: store.find("digits", "onnx", KEY)) == (0, "")
    root.chmod(0o000)
    for read in (store.find, lambda *names: list(store.artifacts())):
        code, text = as_an_ordinary_user(lambda read=read: read("digits", "onnx", KEY))  # type: ignore[misc]
        assert (code, "permission denied" in text) == (4, True)


def test_a_root_that_cannot_be_made_is_named(common: Path) -> None:
    common.chmod(0o555)
    store = open_store(common / "new" / "artifacts", common)
    code, text = as_an_ordinary_user(lambda: publish(store))
    assert (code, "permission denied" in text) == (4, True)


@pytest.mark.parametrize("below", [".", "deeper/artifacts"])
def test_a_root_on_a_file_is_named(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("the user's")
    store = open_store(tmp_path / "file" / below, tmp_path)
    calls: list[Callable[[], object]] = [
        lambda: publish(store),
        lambda: store.find("digits", "onnx", KEY),
        lambda: list(store.artifacts()),
        lambda: store.gc(1),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="something else") as caught:
            call()
        assert str(tmp_path / "file") in caught.value.message
    assert (tmp_path / "file").read_text() == "the user's"


def test_a_root_on_a_broken_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"something else: .*/link"):
        publish(open_store(tmp_path / "link", tmp_path))


def test_a_model_on_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "digits").write_text("the user's")
    with pytest.raises(UsageError, match=r"something else: .*/digits"):
        publish(open_store(tmp_path, tmp_path))


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied", "/somewhere/else"),
        FileNotFoundError(errno.ENOENT, "No such file"),
        FileExistsError(errno.EEXIST, "File exists"),
        PermissionError(errno.EACCES, "Permission denied", 5),
    ],
)
def test_errors_that_are_not_about_the_store_pass_unchanged(error: OSError, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=error.strerror) as caught, disk.explained(tmp_path):
        raise error
    assert caught.value is error


def test_a_file_system_without_locks_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="files cannot be locked"), disk.explained(tmp_path):
        raise OSError(errno.ENOLCK, "No locks available")


def test_a_folder_that_cannot_be_synced_is_accepted_and_a_failing_disk_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter([errno.EINVAL, errno.EIO])

    def failing(_: int) -> None:
        raise OSError(next(numbers), "fsync")

    monkeypatch.setattr(os, "fsync", failing)
    disk.sync(tmp_path)
    with pytest.raises(OSError, match="fsync"):
        disk.sync(tmp_path)


def test_free_space_is_that_of_the_nearest_folder(tmp_path: Path) -> None:
    assert disk.free(tmp_path / "not" / "yet") == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.01)


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    disk.remove(tmp_path / "missing")
    assert disk.names(tmp_path / "missing") == disk.folders(tmp_path / "missing") == []
