"""Lint: what a target will not take of a graph, as the toolchain found it before any conversion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelfarm.errors import GateError


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a target will not take; `left` says that no edit has mended it, `mended_by` which would."""

    line: str
    blocks: bool
    left: bool
    mended_by: str

    @property
    def text(self) -> str:
        """Return the finding with what became of it."""
        return self.line if self.left else f"{self.line} (done: {self.mended_by})"


def read_findings(facts: Mapping[str, Any]) -> list[Finding]:
    """Return the findings in a job's facts, those that block first."""
    found = [Finding(line=entry["line"], blocks=entry["blocks"], left=entry["left"], mended_by=entry["mended_by"])
             for entry in facts.get("lint", ())]
    return sorted(found, key=lambda finding: not (finding.blocks and finding.left))


def check(findings: Sequence[Finding], title: str) -> None:
    """Raise GateError, with all findings, where something that blocks is left."""
    if any(finding.blocks and finding.left for finding in findings):
        lines = "".join(f"\n    {finding.text}" for finding in findings)
        raise GateError(f"{title} will not take this graph{lines}",
                        remedy="the remedy of each stands behind its arrow; adapt: in the recipe asks for graph passes")


def report(findings: Sequence[Finding], title: str) -> Iterator[str]:
    """Yield the findings, or that there are none, as lines for people."""
    if not findings:
        yield f"  {title} takes this graph as it is"
    for finding in findings:
        yield f"  {finding.text}"
