"""The program onnx2trt of onnx-tensorrt: its command, and what its words and its exit code mean.

They are those of main.cpp and onnx2trt_utils of its branches for TensorRT 7 and 8 (github.com/onnx/onnx-tensorrt).
It takes no profile and no calibrator, and its exit codes are -1 (usage), -2 (bits), -3 and -4 (the file), -5 (the
parser) and -6 (the engine's file), as a byte; a builder that fails ends it with a signal.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator, List, Sequence, Tuple

from jobkit import GraphError
from jobkit.program import Ended

BITS = {"fp32": 32, "fp16": 16}
USAGE, NUMBER, NO_FILE, NO_READ, PARSER, NO_WRITE = (code % 256 for code in (-1, -2, -3, -4, -5, -6))
WORDS = {
    USAGE: "does not know its own options: it is another version",
    NUMBER: "does not know this precision",
    NO_FILE: "cannot read the ONNX file",
    NO_READ: "cannot read the ONNX file",
    NO_WRITE: "cannot write the engine",
}

NODE = re.compile(r'While parsing node number (\d+) \[(\w+)(?: -> "([^"]*)")?\]:')
ERROR = re.compile(r"ERROR: (\S+):(\d+) In function (\w+):")
REASON = re.compile(r"^\[\d+\] (.+)$")
STAMPED = re.compile(r"^\[[0-9: -]+ +(?:ERROR|BUG)\] *(.+)$")
HALF = re.compile(r"FP16 available: *(\d)")

MOST = 12  # errors that a message lists
LEAST_ENGINE = 64  # bytes
REMEDY = "write it in the model with other operators, or cut it off (make edit KEEP=...) and compute it outside"


def command(program: Path, model: Path, engine: Path, precision: str, workspace: int) -> List[str]:
    """Give the command that builds an engine; `workspace` in bytes."""
    return [str(program), str(model), "-o", str(engine), "-w", str(workspace), "-d", str(BITS[precision])]


def judge(ended: Ended, engine: Path, precision: str) -> None:
    """Raise GraphError unless the program made an engine of this precision, with all nodes that it cannot take."""
    failures = list(dict.fromkeys(parser_errors(ended.lines)))
    if failures:
        listed = "; ".join(failures[:MOST]) + (f"; and {len(failures) - MOST} more" if len(failures) > MOST else "")
        raise GraphError(f"onnx2trt cannot take the graph: {listed}", REMEDY)
    if ended.code:
        said = " | ".join(own_errors(ended.lines)[-3:]) or ended.tail()
        raise GraphError(f"onnx2trt {_how(ended)}: {said}", "VIA=python tells more, and has more options")
    if precision == "fp16" and fell_back(ended.lines):
        raise GraphError(
            "onnx2trt has built the engine in fp32: it says that this GPU has no fast half precision",
            "use fp32 on this GPU",
        )
    size = engine.stat().st_size if engine.is_file() else 0
    if size < LEAST_ENGINE:
        raise GraphError(f"onnx2trt reports success, and its engine has {size} bytes", "see convert.log")


def _how(ended: Ended) -> str:
    return ended.how if ended.signal or ended.code not in WORDS else WORDS[ended.code]


def parser_errors(lines: Sequence[str]) -> Iterator[str]:
    """Yield each error of the parser, with operator and node, from the three lines that tell it."""
    node: Tuple[str, str] = ("", "")
    pending = ""
    for line in lines:
        text = line.strip()
        found, failed, reason = NODE.search(text), ERROR.search(text), REASON.match(text)
        if found:
            node = (found[2], found[3] or f"number {found[1]}")
        elif failed:
            pending = f"{failed[3]} in {failed[1]}"
        elif reason and pending:
            yield _told(node, reason[1])
            node, pending = ("", ""), ""
    if pending:
        yield _told(node, pending)


def _told(node: Tuple[str, str], reason: str) -> str:
    where = " ".join(part for part in node if part)
    # What an assertion has in quotes is for people; before it stands code.
    said = reason.split(' && "')[-1].rstrip('"') if ' && "' in reason else reason
    return f"{where}: {said}" if where else said


def own_errors(lines: Sequence[str]) -> List[str]:
    """Give what TensorRT itself called an error."""
    return [found[1] for line in lines for found in [STAMPED.match(line.strip())] if found]


def fell_back(lines: Sequence[str]) -> bool:
    """Say whether the program told that there is no fast half precision; it builds in fp32 then, and ends with 0."""
    return any(found[1] == "0" for line in lines for found in [HALF.search(line)] if found)
