"""onnx2tnn.py, upstream's converter: its command, and whether it succeeded, which its exit code does not say.

A failure of it returns 4096, which the shell sees as 0, and files may be written all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Mapping, Sequence, Tuple

from jobkit import GraphError
from jobkit.program import Ended

SCRIPT = "onnx2tnn.py"
VERSION = "v1.0"

STATUS = "3.----onnx2tnn status: 0"
UNSUPPORTED = re.compile(r"op convert failed onnx: *([A-Za-z_]\w*)")
STARTED = re.compile(r"node:(?P<node>.+?) onnx:(?P<operator>\w+) -> tnn:")
ERROR = re.compile(r"E/tnn|\b\w*(Error|Exception)\b|[Aa]ssertion|\bfailed\b")

# A proto has a line for its inputs, its tensors and each layer.
LEAST_PROTO = 64

# Of the weights' own size: folding may drop some of them, and never half.
LEAST_WEIGHTS = 0.5

LINT = "make lint TARGET=tnn names what TNN does not take, and what to do about it"


@dataclass(frozen=True)
class Wish:
    """A conversion: the model, which ends with .onnx, its inputs' shapes by name, and how."""

    model: Path
    shapes: Mapping[str, Sequence[int]]
    half: bool
    optimize: bool


@dataclass(frozen=True)
class Made:
    """Where the converter puts its two files."""

    proto: Path
    model: Path


def command(python: str, home: Path, wish: Wish, folder: Path) -> List[str]:
    """Give the command that converts into `folder`, which must exist and be empty.

    Python's ``-u`` holds for the C library too: what the converter says last is else lost when it crashes.
    """
    shapes = [f"{name}:{','.join(map(str, shape))}" for name, shape in wish.shapes.items()]
    return [
        *(python, "-u", str(home / SCRIPT), str(wish.model), f"-version={VERSION}"),
        *(f"-optimize={int(wish.optimize)}", f"-half={int(wish.half)}", "-o", str(folder)),
        *("-input_shape", *shapes),
    ]


def made_by(wish: Wish, folder: Path) -> Made:
    """Say where the files of a conversion lie: an optimised model has ``.opt`` in its name."""
    stem = wish.model.stem + (".opt" if wish.optimize else "")
    return Made(folder / f"{stem}.tnnproto", folder / f"{stem}.tnnmodel")


def check_names(names: Sequence[str]) -> None:
    """Raise GraphError where the name of an input cannot be said on the converter's command line."""
    wrong = [name for name in names if not name or re.search(r"[\s:,\"]", name) or name.startswith("-")]
    if wrong:
        raise GraphError(
            f"the input {wrong[0]!r} has a name that TNN's converter splits",
            "give it a name without blanks, colons, commas and quotes",
        )


def judge(ended: Ended, made: Made, weights: int, half: bool) -> None:
    """Raise GraphError unless the conversion succeeded, naming the operator where one is the cause.

    `weights` are the bytes of the graph's weights in fp32.
    """
    unsupported = list(dict.fromkeys(name for line in ended.lines for name in UNSUPPORTED.findall(line)))
    if unsupported:
        raise GraphError(f"TNN's converter does not have the operator {', '.join(unsupported)}", LINT)
    if ended.crashed:
        raise GraphError(f"TNN's converter {ended.how}{_at(ended.lines)}", LINT)
    if ended.code or STATUS not in "\n".join(ended.lines):
        raise GraphError(f"TNN's converter {ended.how} without success: {_said(ended)}", "see convert.log")
    problems = list(_problems(made, weights // 2 if half else weights))
    if problems:
        raise GraphError(f"TNN's converter reports success, but {' and '.join(problems)}", "see convert.log")


def _at(lines: Sequence[str]) -> str:
    """Name the operator that was being converted when the lines end: the converter says so before each."""
    started: List[Tuple[str, str]] = [
        (found["operator"], found["node"]) for line in lines for found in STARTED.finditer(line)
    ]
    if not started:
        return " and names no operator, which mostly is one that it does not take"
    return f" at the operator {started[-1][0]}, node {started[-1][1]}, or the one after it: it does not take it"


def _said(ended: Ended) -> str:
    errors = [line.strip() for line in ended.lines if ERROR.search(line)]
    return " | ".join(errors[-3:]) or ended.tail()


def _problems(made: Made, weights: int) -> Iterator[str]:
    for path, least in ((made.proto, LEAST_PROTO), (made.model, int(weights * LEAST_WEIGHTS))):
        if not path.is_file():
            yield f"{path.name} is absent"
        elif path.stat().st_size < max(least, 1):
            yield f"{path.name} has {path.stat().st_size:,} bytes, fewer than the {least:,} that it must have"
