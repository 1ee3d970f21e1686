"""Digests: canonical JSON, keys, and the cache of file digests."""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelfarm.digest import Digests, canonical, default_cache_folder, is_sha256, key_of
from modelfarm.errors import MachineError, UsageError

# FIPS 180-2, appendix B.1
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files written now count as old: ctime cannot be set back."""
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10_000_000_000)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record the name of each file whose bytes are read."""
    names: list[str] = []
    real = hashlib.file_digest

    def recording(stream: Any, algorithm: str) -> Any:
        names.append(Path(stream.name).name)
        return real(stream, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", recording)
    yield names


def test_canonical_json_is_sorted_compact_and_utf8() -> None:
    value = {"b": [1, 2.5, (True, None)], "a": {"é": '\n"', "Z": -0.0}}
    assert canonical(value) == '{"a":{"Z":-0.0,"é":"\\n\\""},"b":[1,2.5,[true,null]]}'.encode()


def test_a_key_does_not_depend_on_the_order_of_a_dictionary() -> None:
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 1.0})
    # printf '{}' | sha256sum
    assert key_of({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ({"scale": [1.0, math.nan]}, ValueError, r"value\.scale\[1\] is nan"),
        ([-math.inf], ValueError, r"value\[0\] is -inf"),
        ({"file": Path("x")}, TypeError, r"value\.file is a PosixPath"),
        (Point(1), TypeError, "value is a Point"),
        ([b"x"], TypeError, r"value\[0\] is a bytes"),
        ({"a": {1: 2}}, TypeError, r"value\.a has the key 1"),
        ({1, 2}, TypeError, "value is a set"),
        (["\ud800"], ValueError, "no valid Unicode"),
    ],
)
def test_what_json_cannot_say_is_refused_with_its_place(value: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        canonical(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="contains itself"):
        canonical(loop)


@pytest.mark.parametrize("value", ["", "a" * 63, "A" * 64, "g" * 64, " " * 64, 5, None])
def test_only_64_lower_case_hex_digits_are_a_sha256(value: object) -> None:
    assert is_sha256(ABC)
    assert not is_sha256(value)


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MODELFARM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / ".cache" / "modelfarm"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/ignored")
    assert default_cache_folder() == tmp_path / ".cache" / "modelfarm"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/xdg")
    assert default_cache_folder() == Path("/var/xdg/modelfarm")
    monkeypatch.setenv("MODELFARM_CACHE", "~/own")
    assert default_cache_folder() == tmp_path / "own"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODELFARM_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    with pytest.raises(MachineError, match="set MODELFARM_CACHE"):
        default_cache_folder()


def test_a_file_digest_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert Digests(tmp_path / "cache").file(tmp_path / "abc") == ABC


def test_an_old_file_is_read_once_and_by_no_later_process(tmp_path: Path, later: None, reads: list[str]) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    first = Digests(tmp_path / "cache")
    assert first.file(tmp_path / "abc") == first.file(tmp_path / "abc") == ABC
    first.save()
    assert Digests(tmp_path / "cache").file(tmp_path / "abc") == ABC
    assert reads == ["abc"]


def test_a_fresh_file_is_read_each_time(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "fresh"
    path.write_bytes(b"abc")
    digests = Digests(tmp_path / "cache")
    assert digests.file(path) == digests.file(path) == ABC
    assert reads == ["fresh", "fresh"]
    digests.save()
    assert not (tmp_path / "cache").exists()


def test_a_change_that_keeps_size_and_mtime_is_noticed(tmp_path: Path, later: None) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    digests, before = Digests(tmp_path / "cache"), path.stat()
    digests.file(path)
    wait_for_another_ctime(path)
    path.write_bytes(b"xyz")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digests.file(path) == hashlib.sha256(b"xyz").hexdigest()


def wait_for_another_ctime(path: Path) -> None:
    begun = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == begun:
        path.touch()


def change_after_reading(monkeypatch: pytest.MonkeyPatch, path: Path, times: int) -> None:
    real, left = hashlib.file_digest, iter(range(times))

    def changing(stream: Any, algorithm: str) -> Any:
        found = real(stream, algorithm)
        for _ in left:
            path.write_bytes(path.read_bytes() + b"c")
            break
        return found

    monkeypatch.setattr(hashlib, "file_digest", changing)


def test_a_file_changed_while_it_is_read_is_read_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"ab")
    change_after_reading(monkeypatch, path, times=1)
    assert Digests(tmp_path / "cache").file(path) == ABC


def test_a_file_that_never_rests_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"ab")
    change_after_reading(monkeypatch, path, times=99)
    with pytest.raises(MachineError, match="changes while it is read"):
        Digests(tmp_path / "cache").file(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    digests = Digests(tmp_path / "cache")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UsageError, match="is not a file"):
            digests.file(path)
    with pytest.raises(FileNotFoundError):
        digests.file(tmp_path / "missing")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        '"text"',
        '{"schema": 2, "files": {}}',
        '{"schema": 1, "files": []}',
        '{"schema": 1, "files": {"1:2": [1]}}',
        '{"schema": 1, "files": {"1:2": 5}}',
        "[" * 100_000,
        "\ufeff\x00",
    ],
)
def test_a_damaged_or_foreign_cache_counts_as_empty(text: str, tmp_path: Path, later: None) -> None:
    cache, path = tmp_path / "cache" / "digests.json", tmp_path / "abc"
    cache.parent.mkdir()
    cache.write_text(text)
    path.write_bytes(b"abc")
    digests = Digests(cache.parent)
    assert digests.file(path) == ABC
    digests.save()
    assert [e[3] for e in json.loads(cache.read_text())["files"].values()] == [ABC]


@pytest.mark.parametrize("spoil", [lambda e: [*e[:3], "x" * 64, *e[4:]], lambda e: [*e[:4], "now"]])
def test_an_entry_that_makes_no_sense_is_not_believed(
    spoil: Callable[[list[Any]], list[Any]], tmp_path: Path, later: None, reads: list[str]
) -> None:
    cache, path = tmp_path / "cache" / "digests.json", tmp_path / "abc"
    path.write_bytes(b"abc")
    warm(cache.parent, path)
    document = json.loads(cache.read_text())
    document["files"] = {identity: spoil(entry) for identity, entry in document["files"].items()}
    cache.write_text(json.dumps(document))
    assert Digests(cache.parent).file(path) == ABC
    assert reads == ["abc", "abc"]


def warm(folder: Path, *paths: Path) -> None:
    digests = Digests(folder)
    for path in paths:
        digests.file(path)
    digests.save()


def test_processes_that_save_keep_what_the_others_found(tmp_path: Path, later: None, reads: list[str]) -> None:
    paths = [tmp_path / f"file{n}" for n in range(8)]
    for path in paths:
        path.write_text(path.name)
    children = [fork(lambda p=path: warm(tmp_path / "cache", p)) for path in paths]  # type: ignore[misc]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    digests = Digests(tmp_path / "cache")
    for path in paths:
        assert digests.file(path) == hashlib.sha256(path.name.encode()).hexdigest()
    assert reads == []


def fork(action: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        action()
        os._exit(0)
    finally:
        os._exit(1)


def test_two_objects_that_loaded_the_same_cache_merge_on_saving(tmp_path: Path, later: None, reads: list[str]) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    first, second = Digests(tmp_path / "cache"), Digests(tmp_path / "cache")
    first.file(one)
    second.file(two)
    first.save()
    second.save()
    warm(tmp_path / "cache", one, two)
    assert reads == ["one", "two"]


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, later: None) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "abc").write_bytes(b"abc")
    digests = Digests(tmp_path / "file")
    assert digests.file(tmp_path / "abc") == ABC
    digests.save()
    assert (tmp_path / "file").read_text() == "no folder"


def test_a_cache_that_another_process_holds_is_not_waited_for(tmp_path: Path, later: None) -> None:
    import fcntl

    (tmp_path / "abc").write_bytes(b"abc")
    (tmp_path / "cache").mkdir()
    with (tmp_path / "cache" / "digests.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        began = time.monotonic()
        warm(tmp_path / "cache", tmp_path / "abc")
        assert time.monotonic() - began < 2
    assert not (tmp_path / "cache" / "digests.json").exists()


def test_the_oldest_used_entries_are_dropped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, later: None) -> None:
    cache = tmp_path / "cache" / "digests.json"
    cache.parent.mkdir()
    entries = {f"9:{n}": [1, 1, 1, ABC, n] for n in range(16384)}
    cache.write_text(json.dumps({"schema": 1, "files": entries}))
    (tmp_path / "abc").write_bytes(b"abc")
    warm(cache.parent, tmp_path / "abc")
    kept = json.loads(cache.read_text())["files"]
    assert len(kept) == 16384
    assert "9:0" not in kept
    assert "9:1" in kept


def test_use_renews_an_entry_once_a_day(tmp_path: Path, later: None) -> None:
    cache, path = tmp_path / "cache" / "digests.json", tmp_path / "abc"
    path.write_bytes(b"abc")
    warm(cache.parent, path)
    text = cache.read_text()
    warm(cache.parent, path)
    assert cache.read_text() == text
    document = json.loads(text)
    (identity, entry), *_ = document["files"].items()
    document["files"][identity] = [*entry[:4], entry[4] - 3 * 24 * 3600]
    cache.write_text(json.dumps(document))
    warm(cache.parent, path)
    assert abs(json.loads(cache.read_text())["files"][identity][4] - time.time()) < 60


def test_threads_may_share_one_object(tmp_path: Path, later: None) -> None:
    paths = [tmp_path / f"file{n}" for n in range(20)]
    for path in paths:
        path.write_text(path.name)
    digests, wrong = Digests(tmp_path / "cache"), []

    def work() -> None:
        for path in paths:
            if digests.file(path) != hashlib.sha256(path.name.encode()).hexdigest():
                wrong.append(path)
            digests.save()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(json.loads((tmp_path / "cache" / "digests.json").read_text())["files"]) == 20


def plant(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_a_tree_is_its_names_and_bytes_and_not_its_place(tmp_path: Path) -> None:
    digests, files = Digests(tmp_path / "cache"), {"a.py": "1", "b/c.py": "2"}
    one = digests.tree(plant(tmp_path / "one", files))
    assert one == digests.tree(plant(tmp_path / "two", dict(reversed(files.items()))))
    expected = b"a.py\0%s\nb/c.py\0%s\n" % tuple(hashlib.sha256(t).hexdigest().encode() for t in (b"1", b"2"))
    assert one == hashlib.sha256(expected).hexdigest()
    assert one != digests.tree(plant(tmp_path / "three", {"a.py": "1", "b/d.py": "2"}))
    assert one != digests.tree(plant(tmp_path / "four", {"a.py": "1", "b/c.py": "3"}))


def test_compiled_python_does_not_change_a_tree(tmp_path: Path) -> None:
    digests, folder = Digests(tmp_path / "cache"), plant(tmp_path / "tree", {"a.py": "1"})
    before = digests.tree(folder)
    plant(folder, {"__pycache__/a.cpython-311.pyc": "x", "old.pyc": "x", "sub/__pycache__/b.txt": "x"})
    assert digests.tree(folder) == before


def test_a_tree_may_hold_names_that_are_no_text(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    try:
        (folder / os.fsdecode(b"caf\xe9")).write_text("1")
    except OSError:
        pytest.skip("this file system takes only Unicode names")
    assert is_sha256(Digests(tmp_path / "cache").tree(folder))


def test_links_in_a_tree_count_as_what_they_lead_to(tmp_path: Path) -> None:
    digests = Digests(tmp_path / "cache")
    plain = digests.tree(plant(tmp_path / "plain", {"a": "1", "sub/b": "2"}))
    linked = plant(tmp_path / "linked", {"a": "1"})
    (linked / "sub").symlink_to(tmp_path / "plain" / "sub")
    assert digests.tree(linked) == plain


def test_a_link_that_leads_back_up_is_refused(tmp_path: Path) -> None:
    folder = plant(tmp_path / "tree", {"sub/a": "1"})
    (folder / "sub" / "up").symlink_to(folder)
    with pytest.raises(UsageError, match="links back"):
        Digests(tmp_path / "cache").tree(folder)
