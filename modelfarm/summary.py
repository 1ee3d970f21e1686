"""Summaries: the short tables that tasks end with."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from modelfarm.artifact import SMOKE, VERIFIED, Artifact
from modelfarm.console import Console
from modelfarm.doctor import Finding
from modelfarm.door import complain
from modelfarm.engines.local import Outcome
from modelfarm.errors import ArtifactError
from modelfarm.lint import read_findings, report
from modelfarm.phrase import shown, size
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


def print_lint(outcomes: Sequence[Outcome], title: str, console: Console) -> None:
    """Print what a target will not take of each model, then each failure on standard error."""
    for outcome in (outcome for outcome in outcomes if outcome.built):
        assert outcome.built
        findings = read_findings(outcome.built.artifact.manifest["predicate"]["verification"]["facts"])
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
    latency = smoke.get("latency")
    counted = f"{passed} passed" + (f", {skipped} skipped" if skipped else "")
    return (*what, counted if artifact.verified == VERIFIED else f"{artifact.verified}: {counted}",
            ", ".join(f"{error:.1e} {unit}" for unit, error in smoke.get("worst", {}).items()),
            f"{latency['median_ms']:.3g} ms (p95 {latency['p95_ms']:.3g})" if latency else "")


def _when(published: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(published))
