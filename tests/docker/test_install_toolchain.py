"""What a lock does without: pip's own check, with a real environment, where packages ask for others in vain."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import Any

import pytest
from jobfolder import DOCKER

from tests.runners.toolchains import make_wheel

PROGRAM = DOCKER / "base" / "bin" / "install-toolchain"


@pytest.fixture(scope="module")
def program() -> Any:
    """Return the program as a module: its name has no ending."""
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    loader = SourceFileLoader("install_toolchain", str(PROGRAM))
    spec = spec_from_loader("install_toolchain", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


@pytest.fixture(scope="module")
def checked(program: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that holds an environment, where `big` asks for `absent` and a newer `old`, against a lock."""
    folder = tmp_path_factory.mktemp("environment")
    wheels = [make_wheel(folder, "big", requires=("absent==3.0", "old==2.0")), make_wheel(folder, "old")]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "v"], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "v" / "bin" / "python")]
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", *wheels], check=True, stderr=subprocess.DEVNULL)

    def check(lock: str) -> list[str]:
        (folder / "lock.txt").write_text(lock)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(program, "PIP", pip)
            return list(program.unmet(folder / "lock.txt"))

    return check


def test_what_is_absent_or_of_another_version_is_found(checked: Any) -> None:
    found = checked("big==1.0\nold==1.0\n")
    assert any("requires absent, which is not installed" in line for line in found)
    assert any("old" in line and "2.0" in line for line in found) and len(found) == 2


@pytest.mark.parametrize("line", ["# without: absent", "# without: else, absent (for a reason, and another)"])
def test_what_the_lock_does_without_may_be_absent(checked: Any, line: str) -> None:
    (left,) = checked(f"{line}\nbig==1.0\nold==1.0\n")
    assert "old" in left


def test_a_wrong_version_is_no_absence(checked: Any) -> None:
    assert any("old" in line for line in checked("# without: absent, old\nbig==1.0\nold==1.0\n"))


@pytest.mark.parametrize("line", ["# other: old", "# other: else, old (for a reason, and another)"])
def test_what_the_lock_has_in_another_version_may_be_unwanted(checked: Any, line: str) -> None:
    (left,) = checked(f"{line}\nbig==1.0\nold==1.0\n")
    assert "requires absent, which is not installed" in left
    assert checked(f"# without: absent\n{line}\nbig==1.0\nold==1.0\n") == []


def test_what_is_absent_is_no_other_version(checked: Any) -> None:
    assert len(checked("# other: absent\nbig==1.0\nold==1.0\n")) == 2


def test_a_reason_names_nothing_that_may_be_absent(checked: Any) -> None:
    assert len(checked("# without: else (absent is another matter)\nbig==1.0\n")) == 2


def test_the_lock_of_this_project_says_why_it_does_without_something(program: Any) -> None:
    for lock in DOCKER.glob("*/requirements.txt"):
        lines = [line for line in lock.read_text().splitlines() if line.startswith(("# without", "# other"))]
        known = [program.WITHOUT.match(line) or program.OTHER.match(line) for line in lines]
        assert all(known) and all(line.endswith(")") for line in lines), lock
