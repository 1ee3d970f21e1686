"""Facts: what a toolchain said of its artifact, sorted by what a reader looks for; the unknown stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from modelfarm.lint import Finding, read_findings
from modelfarm.site import plain

_ALIKE = 4  # lines of one kind that are shown one by one
_OPERATORS = ("operators", "nodes")


@dataclass(frozen=True, kw_only=True)
class Operator:
    """How often an operator stands in the graph; `share` is its part of the most frequent one's count."""

    name: str
    count: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that was done to the graph on its way, line by line, with the proofs that were made."""

    title: str
    lines: tuple[str, ...]

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """Return the lines, many of one kind in a row together: a cut drops hundreds of nodes."""
        found: list[tuple[str, ...]] = []
        for _, same in groupby(self.lines, key=lambda line: " ".join(line.split()[:2])):
            alike = tuple(same)
            found += [alike] if len(alike) > _ALIKE else [(line,) for line in alike]
        return found


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The parts of a job's facts that have a place on the page, and `other`, which has none."""

    operators: tuple[Operator, ...]
    select_ops: tuple[str, ...]
    steps: tuple[Step, ...]
    findings: tuple[Finding, ...]
    quantisation: Sequence[Any]
    layers: Any
    other: Mapping[str, Any]


def sort_facts(facts: Mapping[str, Any]) -> Facts:
    """Sort facts; what does not look as its name promises stays among the others."""
    rest = dict(facts)
    operators = next((found for name in _OPERATORS if (found := _operators(rest, name))), ())
    steps = (*_simplified(rest), *_lowered(rest), *_edited(rest))
    return Facts(operators=operators, select_ops=_texts(rest, "select_ops"), steps=steps, findings=_findings(rest),
                 quantisation=plain.items(rest.pop("quantisation", None)), layers=rest.pop("layers", None), other=rest)


def _operators(rest: dict[str, Any], name: str) -> tuple[Operator, ...]:
    counts = plain.mapping(rest.get(name))
    if not counts or not all(type(count) is int and count >= 0 for count in counts.values()):
        return ()
    del rest[name]
    most = max(counts.values()) or 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Operator(name=operator, count=count, share=count / most) for operator, count in ordered)


def _texts(rest: dict[str, Any], name: str) -> tuple[str, ...]:
    found = plain.items(rest.get(name))
    if not all(isinstance(item, str) for item in found):
        return ()
    rest.pop(name, None)
    return tuple(found)


def _simplified(rest: dict[str, Any]) -> tuple[Step, ...]:
    before, after = (plain.at(rest, "simplified", part) for part in ("before", "after"))
    if type(before) is not int or type(after) is not int:
        return ()
    del rest["simplified"]
    return (Step(title="simplified", lines=(f"{before} nodes became {after}",)),)


def _lowered(rest: dict[str, Any]) -> tuple[Step, ...]:
    lines = _texts(rest, "lowered")
    return (Step(title="written in an older opset", lines=lines),) if lines else ()


def _edited(rest: dict[str, Any]) -> tuple[Step, ...]:
    """Take the passes' lines, each with its proof; what they tell decoders stays under its name.

    A PyTorch model is exported with the batch that is asked for, so that a pass may find its work done.
    """
    edited = dict(plain.mapping(rest.get("edited")))
    idle = edited.get("changed") == []
    lines = _texts(edited, "changed")
    if lines or edited != plain.mapping(rest.get("edited")):
        rest.pop("edited")
        rest.update({f"edited: {name}": value for name, value in edited.items()})
    if idle:
        return (Step(title="edited by graph passes", lines=("nothing had to be changed: the graph came as wanted",)),)
    return (Step(title="edited by graph passes", lines=lines),) if lines else ()


def _findings(rest: dict[str, Any]) -> tuple[Finding, ...]:
    try:
        found = tuple(read_findings({"lint": plain.items(rest.get("lint"))}))
    except (LookupError, TypeError):
        return ()
    if found or rest.get("lint") == []:
        del rest["lint"]
    return found
