"""The house: each room imports from the floors below its own, and no room is too large."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from modelfarm.settings import ROOT

# From the top. A package is one room, unless the list names its parts; modules of one room may know each other.
FLOORS = [
    ["tasks"],
    ["demo", "shift", "hand", "gpucheck"],
    ["farm"],
    ["reproduce", "look"],
    ["comparison", "summary", "viewer", "why", "differ", "board", "matrix", "site"],
    ["engines"],
    ["build", "doctor", "registry"],
    ["trial"],
    ["plan", "manifest", "report", "script"],
    ["verify", "changes", "night"],
    ["gates"],
    ["calibration"],
    ["samples", "handed", "meaning"],
    ["arrays", "pictures", "lookup", "job", "runners", "images", "lint", "edits", "request"],
    ["toolchain", "survey", "passport"],
    ["recipe", "target"],
    ["grammar", "contradictions", "neighbours"],
    ["decoders", "store", "containers", "pins", "gpu", "machine"],
    ["schema", "artifact", "settings", "command"],
    ["document", "digest", "disk", "locks", "door", "repository"],
    ["console", "errors", "phrase", "__init__"],
]
LONGEST = 500  # lines; a longer module asks to be two
HEAVY = {"torch", "torchvision", "onnx", "onnxruntime", "tensorflow", "keras"}
OUTSIDE = {"artifacts", "build", "__pycache__", "node_modules"}


def files(*endings: str) -> list[Path]:
    """List the project's files: all but the store, environments and caches."""
    found = []
    for folder, below, names in os.walk(ROOT):
        below[:] = [name for name in below if name not in OUTSIDE and (name[0] != "." or name in (".ci", ".github"))
                    and not name.endswith(".egg-info")]
        found += [Path(folder) / name for name in names
                  if (not endings or name.endswith(endings)) and (name[0] != "." or name == ".gitignore")]
    return sorted(found)


def modules() -> dict[str, Path]:
    """Return the host side by names below the package: `runners.venv`, `tasks`."""
    found = {"tasks": ROOT / "tasks.py"}
    for file in files(".py"):
        if file.is_relative_to(ROOT / "modelfarm"):
            parts = file.relative_to(ROOT / "modelfarm").with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = file
    return found


def imports(file: Path) -> Iterator[str]:
    """Yield what a file imports, also inside functions and for type checkers, as dotted names."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(file: Path, known: Iterable[str]) -> set[str]:
    """Return the modules of the package that a file imports."""
    names = {name.removeprefix("modelfarm").lstrip(".") for name in imports(file) if name.split(".")[0] == "modelfarm"}
    return {_nearest_module(name, set(known)) for name in names}


def _nearest_module(name: str, known: set[str]) -> str:
    while name and name not in known:
        name = name.rpartition(".")[0]  # from the name of a function to that of its module
    return name or "__init__"


def room(module: str) -> str:
    """Return the most specific name of the list that a module belongs to."""
    rooms = [name for floor in FLOORS for name in floor if module == name or module.startswith(f"{name}.")]
    assert rooms, f"{module} has no place in the house: give it one in FLOORS"
    return max(rooms, key=len)


def floor(module: str) -> int:
    return next(number for number, names in enumerate(FLOORS) if room(module) in names)


def test_every_room_imports_from_the_floors_below_only() -> None:
    known = modules()
    wrong = [f"{module} (floor {floor(module)}) imports {other} (floor {floor(other)})"
             for module, file in known.items() for other in imported_modules(file, known)
             if room(other) != room(module) and floor(other) <= floor(module)]
    assert wrong == []


def test_every_room_is_there() -> None:
    known = modules()
    assert [name for names in FLOORS for name in names if name not in known] == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    known = modules()
    graph = {module: imported_modules(file, known) - {module} for module, file in known.items()}
    while graph:
        leaves = {module for module, others in graph.items() if not others & graph.keys()}
        assert leaves, f"these import each other: {sorted(graph)}"
        graph = {module: others for module, others in graph.items() if module not in leaves}


@pytest.mark.parametrize("folder", ["docker", "models"])
def test_toolchains_and_models_know_nothing_of_the_host(folder: str) -> None:
    wrong = [(str(file), name) for file in files(".py") if file.is_relative_to(ROOT / folder)
             for name in imports(file) if name.split(".")[0] == "modelfarm"]
    assert wrong == []


def test_the_host_needs_no_toolchain() -> None:
    wrong = [(module, name) for module, file in modules().items() for name in imports(file)
             if name.split(".")[0] in HEAVY | {"jobkit"}]
    assert wrong == []


def test_jobkit_needs_the_standard_library_and_numpy_only() -> None:
    allowed = {"numpy", "jobkit", *sys.stdlib_module_names}
    wrong = [(str(file), name) for file in files(".py") if file.is_relative_to(ROOT / "docker" / "jobkit")
             for name in imports(file) if name.split(".")[0] not in allowed]
    assert wrong == []


def test_no_module_is_too_long() -> None:
    lengths = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files(".py")}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_nothing_names_a_place_of_the_machine_that_it_was_written_on() -> None:
    places = [f"/{name}/".encode() for name in ("work", "root")] + [b"/tmp" + b"/x/"]
    wrong = [(str(file.relative_to(ROOT)), place) for file in files() for place in places if place in file.read_bytes()]
    assert wrong == []


def test_every_file_of_tests_tests_something() -> None:
    for file in (ROOT / "tests").rglob("test_*.py"):
        text = file.read_text(encoding="utf-8")
        assert "\ndef test_" in text, f"{file} tests nothing"
