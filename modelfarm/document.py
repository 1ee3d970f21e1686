"""Documents: YAML files whose problems are collected, each with its line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from modelfarm.errors import RecipeError

Where = tuple[str | int, ...]
INVALID = object()  # what a shape returns for a node that it has complained about

_DEEPEST = 50  # levels of nesting; libyaml composes by recursion in C and crashes at some ten thousand
_LARGEST = 20_000  # nodes, an alias counted as all that it stands for: https://en.wikipedia.org/wiki/Billion_laughs

_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong in a document, and where."""

    file: Path
    line: int
    where: str
    message: str

    def __str__(self) -> str:
        place = f" {self.where}:" if self.where else ""
        return f"{self.file}:{self.line}:{place} {self.message}"


class Document:
    """A YAML file whose problems are collected with their lines."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._lines: dict[Where, int] = {(): 1}
        self._text = text.encode("utf-8", "backslashreplace").decode()  # a command line can hold half characters
        self._loader = _LOADER("")

    @classmethod
    def open(cls, file: Path) -> Document:
        """Read a file; raises RecipeError where it cannot be read as text."""
        try:
            data = file.read_bytes()
            return cls(file, data.decode())
        except OSError as error:
            raise RecipeError(f"{file}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            line = data[:error.start].count(b"\n") + 1
            raise RecipeError(f"{file} has 1 problem:\n  {file}:{line}: byte {data[error.start]:#04x} is not UTF-8",
                              remedy="save the file as UTF-8") from error

    def read(self, shape: Shape) -> Any:
        """Check the whole document against a shape; returns plain values, or INVALID."""
        try:
            node = self._compose()
        except yaml.YAMLError as error:
            self._complain_of_syntax(error)
            return INVALID
        return INVALID if node is None else shape.check(self, node, ())

    def _compose(self) -> yaml.Node | None:
        """Return the tree of the text; None with a complaint where it is empty, too deep or too large."""
        if too_deep := _line_too_deep(self._text):
            self._refuse(f"more than {_DEEPEST} levels of nesting", line=too_deep)
            return None
        self._loader = _LOADER(self._text)
        node: yaml.Node | None = self._loader.get_single_node()
        if node is None:
            self._refuse("the file is empty")
        elif any(depth > _DEEPEST for depth in _depths(node)):
            self._refuse("an alias stands within what it names, or aliases stand for too much")
            return None
        return node

    def _refuse(self, message: str, *, line: int = 1) -> None:
        self._lines[()] = line
        self.complain((), message)

    def scalar(self, node: yaml.Node) -> Any:
        """Return the plain value of a scalar by YAML's safe schema; INVALID where the text does not fit its tag."""
        try:
            return self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError):  # PyYAML lets all of these out
            return INVALID

    def note(self, where: Where, node: yaml.Node) -> None:
        """Remember the line of a place where it is first met, which for a key's value is the key's."""
        self._lines.setdefault(where, node.start_mark.line + 1)

    def complain(self, where: Where, message: str) -> None:
        """Record a problem at a place of the document (or at its nearest known ancestor)."""
        known = where
        while known not in self._lines:
            known = known[:-1]
        dotted = ".".join(str(part) for part in where)
        self.problems.append(Problem(file=self.file, line=self._lines[known], where=dotted, message=message))

    def raise_problems(self) -> None:
        """Raise one RecipeError that lists every problem; does nothing where there is none."""
        if not self.problems:
            return
        listed = "\n".join(f"  {problem}" for problem in sorted(self.problems, key=lambda p: p.line))
        count = len(self.problems)
        raise RecipeError(f"{self.file} has {count} problem{'s' if count > 1 else ''}:\n{listed}")

    def _complain_of_syntax(self, error: yaml.YAMLError) -> None:
        lines = self._text.removesuffix("\n").split("\n")
        if mark := getattr(error, "problem_mark", None):
            index = min(mark.line, len(lines) - 1)  # what is missing at the end is missed after the last line
        else:
            index = self._text.encode()[:getattr(error, "position", 0)].count(b"\n")
        said = [getattr(error, part, None) for part in ("context", "problem", "reason")]
        indent = lines[index][:-len(lines[index].lstrip()) or None]
        hint = " (tabs cannot indent YAML)" if "\t" in indent else ""
        self._refuse(f"not valid YAML: {': '.join(part for part in said if part)}{hint}", line=index + 1)


def _line_too_deep(text: str) -> int:
    """Return the line where the nesting becomes too deep; 0 where it never does."""
    level = 0
    for event in yaml.parse(text, Loader=_LOADER):
        level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if level > _DEEPEST and event.start_mark:
            return event.start_mark.line + 1
    return 0


def _depths(node: yaml.Node) -> Iterator[int]:
    """Yield the depth of every node, aliases followed; past the limit of nodes, a depth past its limit."""
    waiting = [(node, 0)]
    for _ in range(_LARGEST):
        if not waiting:
            return
        here, depth = waiting.pop()
        yield depth
        if isinstance(here, yaml.SequenceNode):
            waiting += [(item, depth + 1) for item in here.value]
        elif isinstance(here, yaml.MappingNode):
            waiting += [(item, depth + 1) for pair in here.value for item in pair]
    yield _DEEPEST + 1


class Shape(Protocol):
    """What a YAML node may look like."""

    def check(self, document: Document, node: yaml.Node, where: Where) -> Any:
        """Return the node's value; on a problem complain to the document and return INVALID."""

    def json(self) -> dict[str, Any]:
        """Describe the shape as JSON Schema."""
