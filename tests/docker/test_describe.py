"""What an image says of itself: a digest that only content changes, and its packages by version and digest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from jobfolder import DOCKER, ROOT
from jobkit.content import digest_of
from jobkit.describe import installed, system_packages

STATUS = """\
Package: libc6
Status: install ok installed
Multi-Arch: same
Version: 2.36-9+deb12u10
Description: GNU C Library
 Package: of a description

Package: gone
Status: deinstall ok config-files
Version: 1.0

Package: zlib1g
Status: install ok installed
Version: 1:1.2.13.dfsg-1
"""


def grow(folder: Path) -> Path:
    """Make a small tree with something of everything."""
    for name in ("usr/lib", "etc", "root"):
        (folder / name).mkdir(parents=True)
    (folder / "usr" / "lib" / "large.so").write_bytes(os.urandom(10) * 1_000_000)
    (folder / "usr" / "lib" / "small.py").write_text("x = 1\n")
    (folder / "usr" / "lib" / "link").symlink_to("small.py")
    (folder / "usr" / "empty").mkdir()
    (folder / "etc" / "shadow").write_text("secret\n")
    (folder / "root" / "key").write_text("secret\n")
    (folder / "etc" / "shadow").chmod(0o640)
    (folder / "root").chmod(0o700)
    os.mkfifo(folder / "etc" / "pipe")
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return grow(tmp_path / "tree")


def add(path: str, text: str = "y\n") -> Callable[[Path], object]:
    return lambda tree: (tree / path).write_text(text)


def spoil(path: Path, place: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(place)
        (byte,) = stream.read(1)
        stream.seek(place)
        stream.write(bytes([byte ^ 1]))


CHANGES: dict[str, Callable[[Path], object]] = {
    "bytes of the same length": lambda tree: (tree / "usr/lib/small.py").write_text("x = 2\n"),
    "length of a large file": lambda tree: os.truncate(tree / "usr/lib/large.so", 9_999_999),
    "a byte past the first block": lambda tree: spoil(tree / "usr/lib/large.so", 5_000_000),
    "mode": lambda tree: (tree / "usr/lib/small.py").chmod(0o755),
    "mode of a folder": lambda tree: (tree / "usr/empty").chmod(0o775),
    "name": lambda tree: (tree / "usr/lib/small.py").rename(tree / "usr/lib/other.py"),
    "another file": add("usr/new"),
    "an empty folder": lambda tree: (tree / "usr/new").mkdir(),
    "a folder less": lambda tree: (tree / "usr/empty").rmdir(),
    "target of a link": lambda tree: (
        (tree / "usr/lib/link").unlink(),
        (tree / "usr/lib/link").symlink_to("large.so"),
    ),
    "a copy for a link": lambda tree: ((tree / "usr/lib/link").unlink(), add("usr/lib/link", "x = 1\n")(tree)),
    "a file for a pipe": lambda tree: ((tree / "etc/pipe").unlink(), add("etc/pipe", "")(tree)),
    "size of what not everybody reads": lambda tree: (tree / "etc/shadow").write_text("secrets\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_content_changes_the_digest(tree: Path, change: str) -> None:
    before = digest_of(tree, outside=())
    CHANGES[change](tree)
    assert digest_of(tree, outside=()) != before


SAME: dict[str, Callable[[Path], object]] = {
    "times": lambda tree: [os.utime(path, (1, 1)) for path in tree.rglob("*") if not path.is_fifo()],
    "bytes of what not everybody reads": lambda tree: (tree / "etc/shadow").write_text("SECRET\n"),
    "what lies where not everybody enters": lambda tree: (tree / "root/key").write_text("another secret\n"),
    "bytecode": lambda tree: ((tree / "usr/lib/__pycache__").mkdir(), add("usr/lib/__pycache__/small.pyc")(tree)),
    "what is outside": add("etc/hostname"),
}


@pytest.mark.parametrize("change", SAME)
def test_what_is_no_content_does_not_change_the_digest(tree: Path, change: str) -> None:
    before = digest_of(tree, outside=("/etc/hostname",))
    SAME[change](tree)
    assert digest_of(tree, outside=("/etc/hostname",)) == before


def test_a_copy_made_in_another_order_elsewhere_has_the_same_digest(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "copy"
    copy.mkdir(parents=True)
    for path in sorted(tree.iterdir(), reverse=True):
        subprocess.run(["cp", "-a", path, copy], check=True)
    assert digest_of(copy, outside=()) == digest_of(tree, outside=())


CODE = "from pathlib import Path; from jobkit.content import digest_of; print(digest_of(Path({!r}), outside=()))"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_everybody_computes_the_same_digest() -> None:
    python = shutil.which("python3", path="/usr/bin:/bin") or pytest.skip("this machine's Python is root's own")
    # pytest's own folders are closed to others.
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        tree = grow(Path(name) / "tree")
        shutil.copytree(DOCKER / "jobkit", Path(name) / "jobkit")
        # Only content.py: numpy, which jobkit itself imports, may be missing there.
        code = f"import sys, types; kit = types.ModuleType('jobkit'); kit.__path__ = [{name + '/jobkit'!r}]\n"
        code += "sys.modules['jobkit'] = kit\n" + CODE.format(str(tree))
        done = subprocess.run([python, "-B", "-c", code], user=65534, group=65534, capture_output=True, text=True)
        assert done.stdout.strip() == digest_of(tree, outside=()), done.stderr


def test_what_is_mounted_does_not_count(tree: Path) -> None:
    (tree / "usr" / "mounted file").touch()
    script = (
        f"mount -t tmpfs none {tree}/usr/empty && mount --bind {tree}/usr/lib/small.py '{tree}/usr/mounted file'"
        f' && touch {tree}/usr/empty/x && {sys.executable} -c "$1"'
    )
    command = ["unshare", "--mount", "sh", "-c", script, "sh", CODE.format(str(tree))]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(DOCKER)}, capture_output=True, text=True)
    if "denied" in done.stderr or "permitted" in done.stderr:
        pytest.skip("this user cannot mount anything")
    (tree / "usr" / "mounted file").unlink()
    (tree / "usr" / "empty").rmdir()
    assert done.stdout.strip() == digest_of(tree, outside=()), done.stderr


def write_package(folder: Path, name: str, version: str, *records: str) -> None:
    place = folder / f"{name}-{version}.dist-info"
    place.mkdir(parents=True, exist_ok=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (place / "RECORD").write_text("\n".join([*records, f"{place.name}/RECORD,,"]) + "\n")


def digest_in(folder: Path) -> str:
    """Give the digest of Odd.Name in a folder of packages."""
    code = f"import sys; sys.path[:] = [{str(folder)!r}, *sys.path]\n"
    code += "from jobkit import describe; print(describe._digest(describe.installed()['odd-name']))"
    environment = {**os.environ, "PYTHONPATH": str(DOCKER)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout.strip()


def test_a_package_is_known_by_its_record_without_bytecode_and_who_installed_it(tmp_path: Path) -> None:
    records = ["odd/__init__.py,sha256=aa,10", "odd/b.py,sha256=bb,20"]
    aside = ["odd/__pycache__/b.cpython-311.pyc,sha256=cc,30", "Odd.Name-1.0.dist-info/INSTALLER,sha256=dd,4"]
    for place, lines in {
        "one": records,
        "two": [*reversed(records), *aside],
        "other": [records[0], "odd/b.py,sha256=b0,20"],
    }.items():
        write_package(tmp_path / place, "Odd.Name", "1.0", *lines)
    digests = [digest_in(tmp_path / place) for place in ("one", "two", "other")]
    assert len(digests[0]) == 64
    assert digests[0] == digests[1] != digests[2]


def test_of_two_packages_of_one_name_the_first_on_the_path_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0", "2.0"):
        write_package(tmp_path / version, "odd_name", version)
        monkeypatch.syspath_prepend(str(tmp_path / version))
    assert installed()["odd-name"].version == "2.0"


def test_debian_packages_are_listed_with_their_versions(tmp_path: Path) -> None:
    (tmp_path / "status").write_text(STATUS)
    assert system_packages(tmp_path / "status") == {"libc6": "2.36-9+deb12u10", "zlib1g": "1:1.2.13.dfsg-1"}
    assert system_packages(tmp_path / "none") == {}


def test_help_names_everything_that_can_be_asked_for() -> None:
    command = [sys.executable, "-m", "jobkit", "--help"]
    done = subprocess.run(command, cwd=ROOT / "docker", capture_output=True, text=True)
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("--describe", "--self-test", "<job folder"))
