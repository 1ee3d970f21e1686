"""Neighbours: the modules beside an architecture that it imports, and they in turn."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def neighbours(module: Path) -> list[Path]:
    """Return the .py files in the module's folder that it needs, itself left out, in the order of their names.

    Imports are read, not run. A file that cannot be parsed needs nothing: importing it tells what is wrong.
    """
    found = {module}
    waiting = [module]
    while waiting:
        for name in _imported(waiting.pop()):
            file = module.with_name(f"{name}.py")
            if file not in found and file.is_file():
                found.add(file)
                waiting.append(file)
    return sorted(found - {module})


def _imported(module: Path) -> Iterator[str]:
    """Yield the first part of each name that a file imports, wherever the import stands."""
    try:
        tree = ast.parse(module.read_bytes())
    except (SyntaxError, ValueError, RecursionError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
