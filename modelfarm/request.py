"""Requests: what the command line asks for, beside models and target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelfarm.document import Document
from modelfarm.errors import UsageError, nearest
from modelfarm.target import Target

RANDOM = "random"  # WEIGHTS=random


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for, beside models and target; `edit` are edits of the graph."""

    weights: str = ""
    options: str = ""
    precision: str = ""
    via: str = ""
    batch: str = ""
    expect: str = ""
    edit: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.expect not in ("", "none"):
            raise UsageError(f"EXPECT={self.expect} is not known; the only value is none",
                             remedy="EXPECT=none says that the recipe's golden results do not describe these weights")

    def given(self, target: Target) -> dict[str, Any]:
        """Return the options that OPTIONS=, PRECISION=, VIA= and BATCH= give; raises UsageError for an unknown one.

        PRECISION= and VIA= take one name, or several with commas.
        """
        words = f"{self.options} batch={self.batch}" if self.batch else self.options
        if self.batch and "batch" not in target.defaults:
            raise UsageError(f"BATCH={self.batch}: {target.name} has no option for the batch",
                             remedy="make edit MODEL=... BATCH=... makes an ONNX file of another batch")
        if self.batch and any(word.startswith("batch=") for word in self.options.split()):
            raise UsageError("batch stands in BATCH= and in OPTIONS=", remedy="say it once")
        options = _parse_options(words, target)
        for name, text, known in (("precision", self.precision, target.precisions), ("via", self.via, target.ways)):
            if text:
                if name in options:
                    raise UsageError(f"{name} stands in {name.upper()}= and in OPTIONS=", remedy="say it once")
                options[name] = _chosen(name.upper(), text, known, target)
        return options


def _chosen(variable: str, text: str, known: Sequence[str] | Mapping[str, str], target: Target) -> list[str]:
    """Read names with commas; raises UsageError for one that the target does not know."""
    names = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not known:
        raise UsageError(f"{variable}={text}: {target.name} is made in one way only", remedy=f"leave out {variable}=")
    for name in names:
        if name not in known:
            raise UsageError(f"{variable}={name} is not known to {target.name}; {nearest(name, known)}")
    if not names:
        raise UsageError(f"{variable}={text} names nothing; known: {', '.join(known)}")
    return names


def _parse_options(text: str, target: Target) -> dict[str, Any]:
    """Read OPTIONS="opset=11 simplify=false" against the target's options; raises UsageError."""
    if not text.strip():
        return {}
    pairs = [word.partition("=") for word in text.split()]
    if broken := [name for name, equals, _ in pairs if not equals]:
        raise UsageError(f"OPTIONS: {broken[0]!r} has no value",
                         remedy='write OPTIONS="name=value name=value", with no space inside a value')
    document = Document(Path("OPTIONS"), "\n".join(f"{name}: {value}" for name, _, value in pairs))
    values = document.read(target.options)
    if document.problems:
        said = (": ".join(part for part in (problem.where, problem.message) if part) for problem in document.problems)
        raise UsageError("; ".join(f"OPTIONS: {words}" for words in said))
    return {name: values[name] for name, _, _ in pairs}


def parse_models(text: str, known: Sequence[str]) -> list[str]:
    """Split MODEL= into names: one, several with commas, or `all`; raises UsageError where it is empty."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("which model?", remedy=f"say MODEL=name, MODEL=a,b or MODEL=all; known: {', '.join(known)}")
    return list(known) if names == ["all"] else list(dict.fromkeys(names))
