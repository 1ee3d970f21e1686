"""Findings of lint: how they are read from a job's facts, what stops a conversion, and how they are told."""

from __future__ import annotations

from typing import Any

import pytest

from modelfarm.errors import GateError
from modelfarm.lint import Finding, check, read_findings, report


def fact(line: str = "blocks Mod m: no", *, blocks: bool = True, left: bool = True,
         mended_by: str = "") -> dict[str, Any]:
    """Return a finding as the toolchain writes it, with more than is read here."""
    return {"node": "m", "operator": "Mod", "reason": "no", "remedy": "none", "devices": [], "nodes": ["m"],
            "line": line, "blocks": blocks, "left": left, "mended_by": mended_by}


def findings(*facts: dict[str, Any]) -> list[Finding]:
    return read_findings({"lint": facts})


BLOCKS = fact("blocks")
WARNS = fact("warns", blocks=False)
DONE = fact("blocks, once", left=False, mended_by="four_dimensions")


def test_facts_without_lint_have_no_findings() -> None:
    assert read_findings({}) == []
    assert read_findings({"lint": []}) == []


def test_a_finding_is_what_the_toolchain_wrote() -> None:
    assert findings(DONE) == [Finding(line="blocks, once", blocks=True, left=False, mended_by="four_dimensions")]


def test_what_blocks_stands_first_and_all_else_in_its_order() -> None:
    assert [finding.line for finding in findings(WARNS, DONE, fact("second"), fact("last", blocks=False), BLOCKS)] == [
        "second", "blocks", "warns", "blocks, once", "last"]


def test_what_is_mended_says_by_what() -> None:
    assert [finding.text for finding in findings(WARNS, DONE)] == ["warns", "blocks, once (done: four_dimensions)"]


@pytest.mark.parametrize("facts", [(), (WARNS,), (DONE,), (WARNS, DONE)], ids=["none", "warns", "done", "both"])
def test_what_warns_or_is_done_stops_nothing(facts: tuple[dict[str, Any], ...]) -> None:
    check(findings(*facts), "TNN")


def test_what_blocks_stops_and_is_told_with_all_others() -> None:
    with pytest.raises(GateError) as caught:
        check(findings(WARNS, DONE, BLOCKS), "TNN")
    assert caught.value.code == 6
    assert caught.value.message.splitlines() == [
        "TNN will not take this graph", "    blocks", "    warns", "    blocks, once (done: four_dimensions)"]
    assert "adapt:" in caught.value.remedy


def test_a_report_has_a_line_for_each_finding() -> None:
    assert list(report(findings(WARNS, BLOCKS, DONE), "TNN")) == [
        "  blocks", "  warns", "  blocks, once (done: four_dimensions)"]


def test_a_report_of_nothing_says_so() -> None:
    assert list(report([], "TNN")) == ["  TNN takes this graph as it is"]
