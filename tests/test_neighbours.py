"""The modules that an architecture brings along."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfarm.neighbours import neighbours


def write(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    return folder / "net.py"


def names(module: Path) -> list[str]:
    return [file.name for file in neighbours(module)]


def test_imports_are_followed_through_neighbours_and_around_circles(tmp_path: Path) -> None:
    module = write(tmp_path, net="import torch, blocks.inner\n", blocks="from heads import Head\n",
                   heads="def late():\n    import blocks\n    import net\n", unused="")
    assert names(module) == ["blocks.py", "heads.py"]


def test_what_does_not_lie_beside_it_is_nobodys_neighbour(tmp_path: Path) -> None:
    assert names(write(tmp_path, net="import torch\nfrom os import path\nfrom . import blocks\n", blocks="")) == []


@pytest.mark.parametrize("text", ["def broken(:\n", "\0", "import blocks\n  indented\n"])
def test_a_file_that_cannot_be_parsed_needs_nothing(tmp_path: Path, text: str) -> None:
    assert names(write(tmp_path, net=text, blocks="")) == []


def test_a_file_that_is_not_there_needs_nothing(tmp_path: Path) -> None:
    assert neighbours(tmp_path / "gone.py") == []


def test_nothing_is_run(tmp_path: Path) -> None:
    module = write(tmp_path, net=f"import blocks\nopen({str(tmp_path / 'canary')!r}, 'w')\n", blocks="1 / 0\n")
    assert names(module) == ["blocks.py"]
    assert not (tmp_path / "canary").exists()
