"""Comparisons: what the ways and precisions of one target make of a model, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelfarm.artifact import Artifact
from modelfarm.console import Console
from modelfarm.engines.engine import Outcome
from modelfarm.phrase import rounded, size

_HEADING = ("precision", "way", "size", "latency", "worst error", "predictions")


def print_comparison(outcomes: Sequence[Outcome], first_way: str, console: Console) -> None:
    """Print a line for each variant: size, latency, errors, and what is found; of one that failed, why.

    `first_way` is the name of the target's usual way. Figures are those of smoke.json, as they were measured when the
    variant was made.
    """
    model = next((outcome.name.partition("/")[0] for outcome in outcomes), "")
    console.line()
    console.line(f"  {model}")
    console.table([_HEADING, *(_row(outcome, first_way) for outcome in outcomes)])
    for outcome in outcomes:
        for words in _words(outcome):
            console.line(words)


def _row(outcome: Outcome, first_way: str) -> tuple[str, ...]:
    job = outcome.job
    names = (job.precision, job.target.way or first_way or "-") if job else (outcome.name.partition("/")[2], "-")
    if not outcome.built:
        return (*names, "", "", "", _failure(outcome))
    return (*names, *_figures(outcome.built.artifact))


def _figures(artifact: Artifact) -> Iterator[str]:
    smoke: Mapping[str, Any] = artifact.smoke
    latency = smoke.get("latency") or {}
    yield size(smoke["size"])
    yield f"{rounded(latency['median_ms'])} ms" if latency else ""
    yield ", ".join(f"{float(error):.1e} {unit}" for unit, error in smoke["worst"].items())
    yield _gate(smoke, "predictions")


def _gate(smoke: Mapping[str, Any], name: str) -> str:
    return next((str(gate["summary"]) for gate in smoke["gates"]
                 if gate["name"] == name and gate["state"] == "passed"), "")


def _words(outcome: Outcome) -> Iterator[str]:
    """Yield what was measured against golden results, where a model has them."""
    if outcome.built:
        golden = _gate(outcome.built.artifact.smoke, "golden")
        if golden:
            yield f"  {outcome.name.partition('/')[2]}: {golden}"


def _failure(outcome: Outcome) -> str:
    if outcome.waited_for:
        return f"not started: {outcome.waited_for} failed"
    return f"failed: {outcome.error.message.splitlines()[0]}" if outcome.error else ""
