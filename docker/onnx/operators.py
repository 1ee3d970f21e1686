"""What a target takes of ONNX, as its target.yaml says it: parsed once, then asked about single nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEVELS = ("block", "warn")
KINDS = ("constant", "computed", "given", "absent")


@dataclass(frozen=True, kw_only=True)
class View:
    """A node as a condition sees it.

    `attributes` hold the operator's own defaults where the node is silent; `ranks` are those of what it reads and
    makes, weights aside, as far as they are known; `inputs` says of each whether it is constant or computed.
    """

    operator: str
    opset: int
    attributes: Mapping[str, Any]
    ranks: tuple[int, ...]
    inputs: tuple[str, ...]

    def input(self, index: int) -> str:
        """Say of an input whether it is ``constant``, ``computed`` or ``absent``."""
        return self.inputs[index] if index < len(self.inputs) else "absent"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What must hold of a node, all of it; an empty condition always does.

    `opset` is a range with both ends; `rank_above` is exceeded by a tensor of the node; `attributes` have one of the
    values; `other_than` has an element unlike the number; `uneven` begins otherwise than it ends, as padding may;
    `inputs` are of the kind, by index.
    """

    opset: tuple[int, int] | None
    rank_above: int | None
    attributes: Mapping[str, tuple[Any, ...]]
    other_than: Mapping[str, float]
    uneven: tuple[str, ...]
    inputs: Mapping[int, str]

    def holds(self, view: View) -> bool:
        """Say whether all of it holds."""
        return (
            (self.opset is None or self.opset[0] <= view.opset <= self.opset[1])
            and (self.rank_above is None or any(rank > self.rank_above for rank in view.ranks))
            and all(view.attributes.get(name) in values for name, values in self.attributes.items())
            and all(_differs(view.attributes.get(name), value) for name, value in self.other_than.items())
            and all(_is_uneven(view.attributes.get(name)) for name in self.uneven)
            and all(_is(view.input(index), kind) for index, kind in self.inputs.items())
        )


def _differs(value: Any, expected: float) -> bool:
    return value is not None and bool(np.any(np.asarray(value) != expected))


def _is_uneven(value: Any) -> bool:
    half = len(value or ()) // 2
    return bool(half) and list(value[:half]) != list(value[half:])


def _is(found: str, kind: str) -> bool:
    return found == kind or (kind == "given" and found != "absent")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What is said of a node of these operators (none named: of any) where the condition holds.

    `together` makes one finding of all nodes that it holds for; `devices` are those that it is true of, none: all.
    """

    operators: frozenset[str]
    when: Condition
    blocks: bool
    reason: str
    remedy: str
    mended_by: str
    devices: tuple[str, ...]
    together: bool

    def concerns(self, view: View) -> bool:
        """Say whether the rule has something to say of a node."""
        return (not self.operators or view.operator in self.operators) and self.when.holds(view)


@dataclass(frozen=True, kw_only=True)
class Operators:
    """The operators that a target takes, what it does not do with them, and what to do about all others."""

    title: str
    takes: frozenset[str]
    remedy: str
    rules: tuple[Rule, ...]


def read_operators(document: Mapping[str, Any], title: str) -> Operators:
    """Parse the `operators` of a target.yaml, checked by the host; `title` is the target's.

    Raises ValueError where it is not what the host lets through.
    """
    return Operators(
        title=title,
        takes=frozenset(document["takes"]),
        remedy=document["remedy"],
        rules=tuple(_rule(entry) for entry in document.get("rules") or ()),
    )


def _rule(entry: Mapping[str, Any]) -> Rule:
    level = entry.get("level") or "block"
    if level not in LEVELS:
        raise ValueError(f"level {level!r}; there are {', '.join(LEVELS)}")
    return Rule(
        operators=frozenset(entry.get("operators") or ()),
        when=_condition(entry.get("when") or {}),
        blocks=level == "block",
        reason=entry["reason"],
        remedy=entry["remedy"],
        mended_by=entry.get("pass") or "",
        devices=tuple(entry.get("devices") or ()),
        together=bool(entry.get("together", False)),
    )


def _condition(entry: Mapping[str, Any]) -> Condition:
    opset: Sequence[int] | None = entry.get("opset")
    inputs = {int(index): str(kind) for index, kind in (entry.get("inputs") or {}).items()}
    if set(inputs.values()) - set(KINDS):
        raise ValueError(f"inputs are {', '.join(KINDS)}, not {inputs}")
    attributes = entry.get("attributes") or {}
    return Condition(
        opset=(opset[0], opset[1]) if opset else None,
        rank_above=entry.get("rank_above"),
        attributes={name: tuple(v) if isinstance(v, list) else (v,) for name, v in attributes.items()},
        other_than=entry.get("other_than") or {},
        uneven=tuple(entry.get("uneven") or ()),
        inputs=inputs,
    )
