"""Differences of two graphs, told by the onnx toolchain."""

from __future__ import annotations

from pathlib import Path

from modelfarm.command import output
from modelfarm.console import Console
from modelfarm.errors import ConversionError
from modelfarm.runners import VenvRunner
from modelfarm.target import Target

_EQUAL, _DIFFERENT = 0, 1  # what passes/diff.py ends with
_SECONDS = 600.0


def print_differences(runner: VenvRunner, target: Target, one: Path, other: Path, console: Console) -> None:
    """Print how two ONNX files differ: inputs, outputs, operators, changed nodes.

    Raises ConversionError with the toolchain's own words where one of them cannot be read.
    """
    runner.prepare(target, console)
    folders = f"{target.folder.parent}:{target.folder}"
    answer = output([runner.folder(target) / "bin" / "python", "-m", "passes.diff", one, other],
                    environment={"PYTHONPATH": folders, "PYTHONNOUSERSITE": "1"}, seconds=_SECONDS)
    if answer.code not in (_EQUAL, _DIFFERENT) or (answer.code and not answer.out):
        said = answer.err.strip().splitlines()[-1:] or ["nothing"]
        raise ConversionError(f"{one} and {other} cannot be compared: {said[0]}",
                              remedy="name two ONNX files, or models that make onnx has made")
    console.line(answer.out.rstrip())
