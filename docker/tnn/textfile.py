"""The text files of TNN's test program: numbers in, named outputs out; a million numbers in a quarter of a second."""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np
from jobkit import GraphError

Array = np.ndarray  # type: ignore[type-arg]

# Enough to find every float32 again.
DIGITS = "%.9g\n"

# How many numbers are formatted at once.
PART = 1 << 20

HEADER = re.compile(rb"^(?P<name>.*) mat_type: (?P<kind>\d+) dims: (?P<rank>\d+)(?P<sizes>(?: \d+)*) *$")
MARK = b" mat_type: "

REMEDY = "see convert.log; the test program is another one than this toolchain's"


@dataclass(frozen=True)
class Header:
    """The line before an output."""

    name: str
    shape: Tuple[int, ...]


def write_numbers(path: Path, array: Array) -> None:
    """Write `array` as the test program reads it: its numbers in their order, one a line, and nothing else.

    Raises GraphError where one of them is not finite: the program would stop reading there without a word.
    """
    if not np.isfinite(array).all():
        raise GraphError("the input holds what is no finite number", "correct the sample")
    numbers = np.ascontiguousarray(array, np.float32).ravel()
    with path.open("w", encoding="ascii") as stream:
        for start in range(0, numbers.size, PART):
            part = numbers[start : start + PART].tolist()
            stream.write(DIGITS * len(part) % tuple(part))


def read_outputs(path: Path) -> Dict[str, Array]:
    """Read the outputs that the test program wrote, by name.

    The values may follow each header or all of them at the end: they come in the order of the headers either way.
    Raises GraphError where the file is cut off or another one.
    """
    content = path.read_bytes()
    first, _, rest = content.partition(b"\n")
    headers, parts = _split(rest)
    if not first.strip().isdigit() or int(first) != len(headers) or not headers:
        raise GraphError(f"{path.name} begins with {first[:40]!r} and describes {len(headers)} outputs", REMEDY)
    values = np.concatenate([_numbers(part, path) for part in parts])
    wanted = [prod(header.shape) for header in headers]
    if values.size != sum(wanted):
        raise GraphError(f"{path.name} has {values.size:,} values; its headers promise {sum(wanted):,}", REMEDY)
    arrays = np.split(values, np.cumsum(wanted)[:-1])
    return {header.name: arrays[index].reshape(header.shape) for index, header in enumerate(headers)}


def _split(content: bytes) -> Tuple[List[Header], List[bytes]]:
    """Split at the headers, which are few: the values between them are not looked at line by line."""
    headers, parts, start = [], [], 0
    for begin, end in _marked(content):
        headers.append(_header(content[begin:end]))
        parts.append(content[start:begin])
        start = end
    return headers, [*parts, content[start:]]


def _marked(content: bytes) -> Iterator[Tuple[int, int]]:
    at = content.find(MARK)
    while at >= 0:
        end = content.find(b"\n", at)
        end = len(content) if end < 0 else end
        yield content.rfind(b"\n", 0, at) + 1, end
        at = content.find(MARK, end)


def _header(line: bytes) -> Header:
    found = HEADER.match(line.rstrip(b"\r"))
    shape = tuple(int(size) for size in found["sizes"].split()) if found else ()
    if not found or len(shape) != int(found["rank"]):
        raise GraphError(f"the header of an output is {line[:120].decode(errors='replace')!r}", REMEDY)
    return Header(found["name"].decode(errors="backslashreplace"), shape)


def _numbers(content: bytes, path: Path) -> Any:
    words = len(content.split())
    # numpy stops at what is no number: before 2.3 with a warning, since then with an error.
    with warnings.catch_warnings(), suppress(ValueError):
        warnings.simplefilter("ignore")
        numbers = np.fromstring(content, np.float32, sep="\n") if words else np.zeros(0, np.float32)
        if numbers.size == words:
            return numbers
    raise GraphError(f"{path.name} holds something that is no number", REMEDY)
