"""Checks: style, types, coverage of the core, and tests at least as large as the source."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Modules whose branches must be tested, each by the tests whose names begin with its own.
CORE = ("recipe", "contradictions", "digest", "plan", "store", "verify", "gates/*")
LEAST_COVERAGE = 95.0  # per cent of lines and branches together
_SOURCES = ("modelfarm/**/*.py", "docker/**/*.py", "models/**/*.py", "ci/**/*.py", "tasks.py")


def run() -> int:
    """Run every check, print what is wrong, and return 0 or 1."""
    problems = [*_tool("ruff", "check", "."), *_tool("mypy"), *_coverage(), *_sizes()]
    for problem in problems:
        print(f"check: {problem}")
    print("check: all good" if not problems else f"check: {len(problems)} failed")
    return 1 if problems else 0


def _tool(*words: str) -> Iterator[str]:
    print(f"$ {' '.join(words)}", flush=True)
    if subprocess.run([sys.executable, "-m", *words], cwd=ROOT).returncode:
        yield f"{words[0]} has complaints"


def _coverage() -> Iterator[str]:
    """Run the core's tests and yield each core module that they cover too little."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "coverage.json"
        options = ["--cov=modelfarm", "--cov-branch", "--cov-report=", f"--cov-report=json:{report}"]
        yield from _tool("pytest", "-q", "--no-header", *_core_tests(), *options)
        files = json.loads(report.read_text())["files"] if report.is_file() else {}
    for file in (file for name in CORE for file in sorted(ROOT.glob(f"modelfarm/{name}.py"))):
        name = str(file.relative_to(ROOT))
        covered = files.get(name, {}).get("summary", {}).get("percent_covered", 0.0)
        print(f"  {name}: {covered:.1f} % of lines and branches")
        if not covered >= LEAST_COVERAGE:
            yield f"{name} is covered to {covered:.1f} %, less than {LEAST_COVERAGE:.0f} %"


def _core_tests() -> list[str]:
    names = [Path(name).with_name(f"test_{Path(name).name.removesuffix('*')}*.py") for name in CORE]
    return [str(file) for name in names for file in ROOT.glob(f"tests/{name}")]


def _sizes() -> Iterator[str]:
    source = _lines(file for pattern in _SOURCES for file in ROOT.glob(pattern))
    tests = _lines(ROOT.glob("tests/**/*.py"))
    print(f"  {source} lines of source, {tests} of tests")
    if tests < source:
        yield f"{tests} lines of tests are fewer than {source} of source"


def _lines(files: Iterable[Path]) -> int:
    return sum(1 for file in files for line in file.read_text().splitlines() if line.strip())
