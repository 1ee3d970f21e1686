"""Summaries: the short tables that tasks end with."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from modelfarm.artifact import SMOKE, VERIFIED, Artifact
from modelfarm.console import Console
from modelfarm.doctor import Finding
from modelfarm.door import complain
from modelfarm.engines.engine import Outcome
from modelfarm.errors import ArtifactError, FarmError, GateError, MachineError
from modelfarm.lint import read_findings, report
from modelfarm.night import Night, Row
from modelfarm.phrase import duration, rounded, shown, size
from modelfarm.store import Store

_HEADING = ("model", "variant", "version", "size", "gates", "worst error", "latency")


def print_outcomes(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print what was built as a table with the paths, then each failure on standard error."""
    built = [outcome.built for outcome in outcomes if outcome.built]
    if built:
        console.line()
        rows = [(*_row(each.artifact), "cached" if each.cached else "new") for each in built]
        console.table([(*_HEADING, ""), *rows])
    for each in built:
        console.line(f"  {shown(each.artifact.path(each.artifact.files[0].name))}")
    for outcome in outcomes:
        if outcome.waited_for:
            console.line(f"  {outcome.name} was not started: it starts from {outcome.waited_for}, which failed")
    console.close()
    for outcome in outcomes:
        if outcome.error:
            complain(outcome.error, outcome.name)


_NIGHT = ("model", "variant", "state", "worst error", "predictions", "latency", "size", "change")


def print_night(night: Night, file: Path, console: Console) -> None:
    """Print a night as a table, then what failed or got worse on standard error, and the totals last."""
    rows = [(row.model, row.variant or "-", _state(row), _worst(row.worst), row.predictions, _latency(row.latency),
             size(row.size) if row.size is not None else "", _change(row)) for row in night.rows]
    console.line()
    if rows:
        console.table([_NIGHT, *rows])
    console.lines([*_skipped(night.rows)])
    totals = ", ".join(f"{count} {state}" for state, count in night.totals.items() if count) or "nothing to make"
    worse = f", {len(night.regressed)} worse than before" if night.regressed else ""
    console.line(f"  {totals}{worse} in {duration(night.seconds)}; {shown(file)}")
    console.close()
    for row in night.rows:
        if row.state == "failed":
            complain(_error(row), row.name)
        for regression in row.regressions:
            complain(GateError(f"{regression}, worse than {row.since}",
                               remedy="make diff and make show compare the two; REGRESSION= moves the thresholds"),
                     row.name)
    if night.strict and night.totals["skipped"]:
        complain(MachineError(f"STRICT=1, and {night.totals['skipped']} were skipped", remedy="see the reasons above"))


def _skipped(rows: Sequence[Row]) -> Iterator[str]:
    """Yield why rows were skipped, each reason and each remedy once."""
    skipped = [row for row in rows if row.state == "skipped"]
    for remedy in dict.fromkeys(row.remedy for row in skipped):
        for reason in dict.fromkeys(row.reason for row in skipped if row.remedy == remedy):
            names = [row.name for row in skipped if (row.reason, row.remedy) == (reason, remedy)]
            yield f"  skipped {_listed(names)}: {reason}"
        if remedy:
            yield f"    -> {remedy}"


def _listed(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def _error(row: Row) -> FarmError:
    """Return the error that a row tells of."""
    kind = next((kind for kind in FarmError.__subclasses__() if kind.code == row.code), FarmError)
    return kind(row.reason, remedy=row.remedy)


def _state(row: Row) -> str:
    """Return a row's state in a few words; the whole reason stands below the table."""
    if row.state == "skipped":
        return f"skipped: {_first(row.reason)}"
    return f"failed ({row.code})" if row.state == "failed" else row.state


def _first(text: str, width: int = 48) -> str:
    """Return the first words of a text."""
    line = text.partition("\n")[0]
    return line if len(line) <= width else f"{line[:width - 3].rsplit(' ', 1)[0]}..."


def _change(row: Row) -> str:
    return "; ".join(f"{text} (worse)" if text in row.regressions else text for text in row.changes)


def print_lint(outcomes: Sequence[Outcome], title: str, console: Console) -> None:
    """Print what a target will not take of each model, then each failure on standard error."""
    for outcome in (outcome for outcome in outcomes if outcome.built):
        assert outcome.built
        findings = read_findings(outcome.built.artifact.facts)
        console.lines([f"{outcome.name.partition('/')[0]} for {title}", *report(findings, title)])
    console.close()
    for outcome in outcomes:
        if outcome.error:
            complain(outcome.error, outcome.name)


def print_status(store: Store, console: Console) -> None:
    """Print the artifacts of a store as a table, then what failed and where it is kept."""
    rows = [(*_row(artifact), _when(artifact.published), "latest" if store.is_latest(artifact) else "")
            for artifact in store.artifacts()]
    if rows:
        console.table([(*_HEADING, "published", ""), *rows])
    else:
        console.line("  nothing has been converted yet; `make demo` is a start")
    for failure in store.failures():
        console.line(f"  failed: {failure.model}/{failure.variant}, kept in {shown(failure.folder)}")


def print_findings(findings: Iterator[Finding], console: Console) -> bool:
    """Print findings as they come; returns whether nothing is lacking."""
    healthy = True
    for finding in findings:
        healthy &= finding.state != "lacking"
        console.line(f"  {finding.state:<8} {finding.subject:<20} {finding.detail}")
        if finding.remedy:
            console.line(f"  {'':<8} {'':<20} -> {finding.remedy}")
    return healthy


def _row(artifact: Artifact) -> tuple[str, ...]:
    what = (artifact.model, artifact.variant, artifact.version, size(artifact.size))
    try:
        smoke = artifact.smoke
    except ArtifactError:
        return (*what, f"{SMOKE} is damaged", "", "")
    gates = smoke.get("gates", [])
    passed = sum(1 for gate in gates if gate["state"] == "passed")
    skipped = sum(1 for gate in gates if gate["state"] == "skipped")
    counted = f"{passed} passed" + (f", {skipped} skipped" if skipped else "")
    return (*what, counted if artifact.verified == VERIFIED else f"{artifact.verified}: {counted}",
            _worst(smoke.get("worst", {})), _latency(smoke.get("latency")))


def _worst(worst: Mapping[str, float]) -> str:
    return ", ".join(f"{error:.1e} {unit}" for unit, error in worst.items())


def _latency(latency: Mapping[str, Any] | None) -> str:
    return f"{rounded(latency['median_ms'])} ms (p95 {rounded(latency['p95_ms'])})" if latency else ""


def _when(published: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(published))
