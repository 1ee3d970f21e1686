"""The smoke report's figures: one verified job as a document of plain JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from modelfarm.artifact import VERSION_DIGITS, Artifact
from modelfarm.decoders.prediction import Classification, Prediction
from modelfarm.errors import ArtifactError
from modelfarm.gates.parity import ParityRow, by_column, by_group
from modelfarm.job import Job, JobResult
from modelfarm.machine import processor
from modelfarm.report.smoke_text import described, smoke_text
from modelfarm.verify import Seen, Verdict

__all__ = ["prediction_line", "smoke_document", "smoke_text"]

SCHEMA = 1
_FIGURES = 3  # significant digits: more would only be noise


def smoke_document(*, job: Job, result: JobResult | None, verdict: Verdict, sizes: Mapping[str, int],
                   timings: Mapping[str, float], made_at: str, previous: Artifact | None = None) -> dict[str, Any]:
    """Gather the figures of a job as plain JSON values.

    `sizes` are the artifact's files in bytes, `timings` the farm's own steps in seconds (the
    toolchain's are in `result`), `made_at` a time stamp, `previous` the last good artifact.
    """
    steps = {f"toolchain: {step}": spent for step, spent in result.timings.items()} if result else {}
    return {
        "schema": SCHEMA, "model": job.recipe.name, "description": job.recipe.description, "variant": job.variant,
        "precision": job.precision, "version": job.key[:VERSION_DIGITS], "key": job.key, "made_at": made_at,
        "made_from": [{"role": item.role, "name": item.name, "sha256": item.sha256} for item in job.materials],
        "runner": job.runner, "processor": processor(), "options": dict(job.options),
        "random_weights": job.random_weights,
        "passed": verdict.passed, "verified": verdict.verified if verdict.passed else "",
        "gates": [{**asdict(gate), "reasons": list(gate.reasons)} for gate in verdict.gates],
        "worst": _rounded(verdict.worst),
        "devices": {name: _on_device(found) for name, found in verdict.devices.items()},
        "columns": [_row(row) for row in by_column(verdict.rows)],
        "parity": [_row(row) for row in by_group(verdict.rows)],
        "predictions": [_seen(entry) for entry in verdict.predictions],
        "size": sum(sizes.values()), "files": dict(sizes), "previous": _previous(previous),
        "timings": _rounded({**timings, **steps}), **(_of_result(result) if result else {}),
    }


def _of_result(result: JobResult) -> dict[str, Any]:
    return {"latency": _rounded(asdict(result.latency)) if result.latency else None, "device": asdict(result.device),
            "versions": dict(result.versions), "facts": dict(result.facts)}


def _on_device(verdict: Verdict) -> dict[str, Any]:
    failure = verdict.failure
    return {"passed": verdict.passed, "worst": _rounded(verdict.worst),
            "failure": f"gate {failure.name}: {failure.summary}" if failure else ""}


def _row(row: ParityRow) -> dict[str, Any]:
    # Of a cosine it is the distance from 1 that counts, which three digits would hide.
    return {**_rounded(asdict(row)), "cosine": _plain(round(row.cosine, 9))}


def _seen(entry: Seen) -> dict[str, Any]:
    return {"sample": entry.sample, "reference": [_prediction(found) for found in entry.reference],
            "artifact": [_prediction(found) for found in entry.artifact]}


def _prediction(found: Prediction) -> dict[str, Any]:
    """Describe a prediction as recipes do under `expect`: tenths of pixels."""
    if isinstance(found, Classification):
        return {"labels": list(found.labels), "ranking": list(found.ranking), "scores": _rounded(found.scores)}
    return {"box": [round(value, 1) for value in found.box], "score": round(found.score, 4),
            "landmarks": [[round(value, 1) for value in point] for point in found.landmarks]}


def prediction_line(found: Prediction) -> str:
    """Return a prediction as one line, as the report's text has it."""
    return described(_prediction(found))


def _previous(artifact: Artifact | None) -> dict[str, Any] | None:
    if artifact is None:
        return None
    latency = None
    with suppress(ArtifactError):  # an old report that is damaged stops nothing new
        latency = artifact.smoke.get("latency")
    return {"version": artifact.version, "size": artifact.size, "latency": latency}


def _rounded(value: Any) -> Any:
    """Round every real number to three significant digits."""
    if isinstance(value, float):
        return _plain(float(f"{value:.{_FIGURES}g}"))
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


def _plain(value: float) -> float | str:
    """Return a number, or the name of one that JSON does not have: nan, inf."""
    return value if math.isfinite(value) else str(value)
