"""The package as pip installs it: its report has the templates, and writes what the checkout writes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from modelfarm.settings import ROOT
from tests.site.shelf import NOON, Shelf

# Run with no folder of its own on the path: what is imported is what was installed.
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import modelfarm
from modelfarm.digest import Digests
from modelfarm.site.writer import Writer
from modelfarm.store import Store
assert Path(modelfarm.__file__).is_relative_to(sys.argv[1]), modelfarm.__file__
written = Writer(Store(Path(sys.argv[2]), Digests(Path(sys.argv[3])))).write()
print(written.pages, written.fresh)
"""


def tracked() -> list[str]:
    """List the files that git has or would add; skip where this is no checkout."""
    done = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                          capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"not a checkout of git: {done.stderr.strip()}")
    return [name for name in done.stdout.split("\0") if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder into which pip has installed a copy of the checkout, without what it depends on."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name in tracked():
        if name.startswith("modelfarm/") or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    words = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    asked = subprocess.run([*words, "download", "-q", "--no-deps", "-d", str(site / "backend"), "setuptools>=77"],
                           capture_output=True, text=True)
    if asked.returncode:
        pytest.skip(f"pip gets no setuptools to build with: {asked.stderr.strip().splitlines()[-1]}")
    done = subprocess.run([*words, "install", "-q", "--no-deps", "--target", str(site / "packages"), str(source)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return site / "packages"


def test_every_file_of_the_package_is_installed_as_it_is(installed: Path) -> None:
    names = [name for name in tracked() if name.startswith("modelfarm/")]
    assert any(name.endswith(".html.j2") for name in names)
    missing = [name for name in names if not (installed / name).is_file()]
    assert missing == []
    changed = [name for name in names if (installed / name).read_bytes() != (ROOT / name).read_bytes()]
    assert changed == []


def test_the_installed_package_writes_the_same_report(installed: Path, shelf: Shelf, tmp_path: Path) -> None:
    folder = shelf.good(pictures=("a.png",), when=NOON)
    shelf.failed("other", when=NOON)
    done = subprocess.run([sys.executable, "-I", "-c", SCRIPT, str(installed), str(shelf.store.root),
                           str(tmp_path / "digests")], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "2"]
    page = shelf.page_of(folder)
    theirs = {file.relative_to(shelf.report): hashlib.sha256(file.read_bytes()).hexdigest()
              for file in shelf.report.rglob("*.*") if file.name not in ("index.html", ".memory.json")}
    assert page.file.relative_to(shelf.report) in theirs
    shelf.report.rename(tmp_path / "theirs")
    shelf.write()
    assert {name: hashlib.sha256((shelf.report / name).read_bytes()).hexdigest() for name in theirs} == theirs
    for file in (shelf.page(), page):
        assert file.faults() == []


def test_a_template_that_is_left_behind_is_noticed(installed: Path, shelf: Shelf, tmp_path: Path) -> None:
    shelf.good()
    away = installed / "modelfarm" / "site" / "templates" / "parts.html.j2"
    away.rename(tmp_path / "parts")
    try:
        done = subprocess.run([sys.executable, "-I", "-c", SCRIPT, str(installed), str(shelf.store.root),
                               str(tmp_path / "digests")], cwd=tmp_path, capture_output=True, text=True)
    finally:
        (tmp_path / "parts").rename(away)
    assert done.returncode != 0 and "parts.html.j2" in done.stderr
