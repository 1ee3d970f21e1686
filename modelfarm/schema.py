"""Shapes of YAML documents: each checks a node and describes itself as JSON Schema.

A shape never stops at the first problem: it reports to the `Document`, which knows the lines, and
goes on. One declaration so serves the check, the messages and the schema that editors read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from modelfarm.document import INVALID, Document, Shape, Where
from modelfarm.errors import nearest

_SHOWN = 60  # characters of a wrong value in a message


def _found(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return "nothing" if _is(node, "null") else _brief(node.value)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _brief(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def _is(node: yaml.Node, *tags: str) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag in {f"tag:yaml.org,2002:{tag}" for tag in tags}


@dataclass(frozen=True, kw_only=True)
class Text:
    """A string, perhaps one of a few or of a pattern."""

    choices: tuple[str, ...] = ()
    pattern: str = ""
    like: str = "text"

    def check(self, document: Document, node: yaml.Node, where: Where) -> Any:
        document.note(where, node)
        if not _is(node, "str", "int", "float", "timestamp"):
            document.complain(where, f"expected {self.like}, found {_found(node)}")
            return INVALID
        value: str = node.value
        if self.choices and value not in self.choices:
            document.complain(where, f"{_brief(value)} is not known; {nearest(value, self.choices)}")
            return INVALID
        if self.pattern and not re.fullmatch(self.pattern, value):
            document.complain(where, f"expected {self.like}, found {_brief(value)}")
            return INVALID
        return value

    def json(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": ["string", "number"]}
        if self.choices:
            schema = {"type": "string", "enum": list(self.choices)}
        elif self.pattern:
            schema = {**self._numbers(), "pattern": f"^(?:{self.pattern})$"}
        return schema

    def _numbers(self) -> dict[str, Any]:
        """YAML reads an unquoted 7 as a number, which is taken as text: say which of them the pattern knows."""
        fits = {text for text in ("-1", "0", "7", "2.5") if re.fullmatch(self.pattern, text)}
        if "7" not in fits:
            return {"type": "string"}
        least = 1 if "0" not in fits else 0
        return {"type": ["string", "number" if "2.5" in fits else "integer"],
                **({"minimum": least} if "-1" not in fits else {})}


@dataclass(frozen=True, kw_only=True)
class Integer:
    """A whole number within bounds."""

    minimum: int | None = None
    maximum: int | None = None

    def check(self, document: Document, node: yaml.Node, where: Where) -> Any:
        document.note(where, node)
        value = document.scalar(node) if _is(node, "int") else INVALID
        if value is INVALID or not _within(value, self.minimum, self.maximum):
            bounds = _bounds(self.minimum, self.maximum)
            document.complain(where, f"expected a whole number{bounds}, found {_found(node)}")
            return INVALID
        return value

    def json(self) -> dict[str, Any]:
        bounds = {"minimum": self.minimum, "maximum": self.maximum}
        return {"type": "integer"} | {name: bound for name, bound in bounds.items() if bound is not None}


_DECIMAL = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_REAL = re.compile(rf"{_DECIMAL}(?: ?/ ?{_DECIMAL})?")


@dataclass(frozen=True, kw_only=True)
class Number:
    """A real number; fractions such as 1/255 are allowed, as the field writes them."""

    minimum: float | None = None
    maximum: float | None = None

    def check(self, document: Document, node: yaml.Node, where: Where) -> Any:
        document.note(where, node)
        value = parse_number(node.value) if _is(node, "int", "float", "str") else None
        if value is None or not _within(value, self.minimum, self.maximum):
            document.complain(where, f"expected a number{_bounds(self.minimum, self.maximum)}, found {_found(node)}")
            return INVALID
        return value

    def json(self) -> dict[str, Any]:
        number: dict[str, Any] = {"type": "number"}
        number |= {"minimum": self.minimum} if self.minimum is not None else {}
        number |= {"maximum": self.maximum} if self.maximum is not None else {}
        return {"anyOf": [number, {"type": "string", "pattern": f"^(?:{_REAL.pattern})$"}]}


def parse_number(text: str) -> float | None:
    """Read `0.5`, `1e-3` or `1/255`; None where the text is no finite number."""
    if not _REAL.fullmatch(text):
        return None
    numerator, _, denominator = text.partition("/")
    try:
        value = float(numerator) / float(denominator or 1)
    except ZeroDivisionError:
        return None
    return value if math.isfinite(value) else None


def _within(value: Any, minimum: float | None, maximum: float | None) -> bool:
    return (minimum is None or value >= minimum) and (maximum is None or value <= maximum)


def _bounds(minimum: float | None, maximum: float | None) -> str:
    if minimum is not None and maximum is not None:
        return f" from {minimum} to {maximum}"
    if minimum is not None:
        return f" of at least {minimum}"
    return f" of at most {maximum}" if maximum is not None else ""


@dataclass(frozen=True, kw_only=True)
class Boolean:
    """true or false."""

    def check(self, document: Document, node: yaml.Node, where: Where) -> Any:
        document.note(where, node)
        value = document.scalar(node) if _is(node, "bool") else INVALID
        if value is INVALID:
            document.complain(where, f"expected true or false, found {_found(node)}")
        return value

    def json(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, kw_only=True)
class Anything:
    """Any value that JSON can hold too, handed on as it is: texts, numbers, lists, mappings by name."""

    def check(self, document: Document, node: yaml.Node, where: Where) -> Any:
        document.note(where, node)
        if isinstance(node, yaml.SequenceNode):
            return Sequence(of=self).check(document, node, where)
        if isinstance(node, yaml.MappingNode):
            return Table(of=self).check(document, node, where)
        if _is(node, "timestamp"):
            return node.value
        value = document.scalar(node) if _is(node, "str", "int", "float", "bool", "null") else INVALID
        if isinstance(value, float) and not math.isfinite(value):
            value = INVALID
        if value is INVALID:
            document.complain(where, f"expected text, a finite number, true or false, found {_found(node)}")
        return value

    def json(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """A list whose items have one shape."""

    of: Shape
    lengths: tuple[int, ...] = ()
    least: int = 0

    def check(self, document: Document, node: yaml.Node, where: Where) -> Any:
        document.note(where, node)
        if not isinstance(node, yaml.SequenceNode):
            document.complain(where, f"expected a list, found {_found(node)}")
            return INVALID
        wrong = (self.lengths and len(node.value) not in self.lengths) or len(node.value) < self.least
        if wrong:
            wanted = " or ".join(map(str, self.lengths)) or f"at least {self.least}"
            document.complain(where, f"expected {wanted} items, found {len(node.value)}")
        items = [self.of.check(document, item, (*where, index)) for index, item in enumerate(node.value)]
        return INVALID if wrong else items

    def json(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array", "items": self.of.json()}
        schema |= {"minItems": self.least} if self.least else {}
        lengths = [{"minItems": length, "maxItems": length} for length in self.lengths]
        return schema | ({"anyOf": lengths} if lengths else {})


@dataclass(frozen=True, kw_only=True)
class Table:
    """A mapping of free names to values of one shape."""

    of: Shape
    keys: Shape = field(default_factory=Text)
    least: int = 0

    def check(self, document: Document, node: yaml.Node, where: Where) -> Any:
        pairs = _pairs(document, node, where)
        if pairs is None:
            return INVALID
        if len(pairs) < self.least:
            document.complain(where, f"expected at least {self.least}, found {len(pairs) or 'none'}")
        return {self._key(document, key, where): self.of.check(document, value, (*where, key.value))
                for key, value in pairs}

    def _key(self, document: Document, key: yaml.Node, where: Where) -> Any:
        return self.keys.check(document, key, (*where, key.value))

    def json(self) -> dict[str, Any]:
        names = self.keys.json()
        return {"type": "object", "additionalProperties": self.of.json(),
                **({"propertyNames": {"pattern": names["pattern"]}} if "pattern" in names else {}),
                **({"minProperties": self.least} if self.least else {})}


@dataclass(frozen=True, kw_only=True)
class Field:
    """One key of a record."""

    shape: Shape
    help: str = ""
    required: bool = False
    default: Any = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """A mapping with known keys; of those in `exactly_one` a document has one."""

    fields: Mapping[str, Field]
    exactly_one: tuple[str, ...] = ()

    def check(self, document: Document, node: yaml.Node, where: Where) -> Any:
        pairs = _pairs(document, node, where)
        if pairs is None:
            return INVALID
        given = {key.value: value for key, value in pairs}
        self._complain_of_keys(document, where, given)
        values = {name: part.default for name, part in self.fields.items()}
        for name, value in given.items():
            if name in self.fields:
                values[name] = self.fields[name].shape.check(document, value, (*where, name))
        return values

    def _complain_of_keys(self, document: Document, where: Where, given: Iterable[str]) -> None:
        names = list(given)
        for name in names:
            if name not in self.fields:
                document.complain((*where, name), f"unknown key; {nearest(name, self.fields)}")
        for name, part in self.fields.items():
            if part.required and name not in names:
                document.complain(where, f"{name!r} is missing" + (f": {part.help}" if part.help else ""))
        if self.exactly_one and len([name for name in names if name in self.exactly_one]) != 1:
            document.complain(where, f"expected exactly one of {', '.join(self.exactly_one)}")

    def json(self) -> dict[str, Any]:
        properties = {name: part.shape.json() | ({"description": part.help} if part.help else {})
                      for name, part in self.fields.items()}
        schema = {"type": "object", "properties": properties, "additionalProperties": False}
        required = [name for name, part in self.fields.items() if part.required]
        if self.exactly_one:
            schema["oneOf"] = [{"required": [name]} for name in self.exactly_one]
        return schema | ({"required": required} if required else {})


@dataclass(frozen=True, kw_only=True)
class Either:
    """One shape for each kind of node: a scalar, a list, a mapping."""

    scalar: Shape | None = None
    sequence: Shape | None = None
    mapping: Shape | None = None

    def check(self, document: Document, node: yaml.Node, where: Where) -> Any:
        kinds = {yaml.ScalarNode: self.scalar, yaml.SequenceNode: self.sequence, yaml.MappingNode: self.mapping}
        shape = kinds[type(node)]
        if shape is None:
            document.note(where, node)
            wanted = [word for word, part in (("a value", self.scalar), ("a list", self.sequence),
                                              ("a mapping", self.mapping)) if part]
            document.complain(where, f"expected {' or '.join(wanted)}, found {_found(node)}")
            return INVALID
        return shape.check(document, node, where)

    def json(self) -> dict[str, Any]:
        return {"anyOf": [shape.json() for shape in (self.scalar, self.sequence, self.mapping) if shape]}


def _pairs(document: Document, node: yaml.Node, where: Where) -> list[tuple[yaml.ScalarNode, yaml.Node]] | None:
    document.note(where, node)
    if not isinstance(node, yaml.MappingNode):
        document.complain(where, f"expected a mapping, found {_found(node)}")
        return None
    pairs: list[tuple[yaml.ScalarNode, yaml.Node]] = []
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            document.complain(where, f"line {line}: a key must be a plain word")
        elif key.value in seen:
            document.complain((*where, key.value), f"stands twice, on lines {seen[key.value]} and {line}")
        else:
            seen[key.value] = line
            document.note((*where, key.value), key)
            pairs.append((key, value))
    return pairs
