"""The manifest: an in-toto statement with SLSA provenance, equal for equal builds.

Formats: https://in-toto.io/Statement/v1 and https://slsa.dev/spec/v1.0/provenance. It holds no
times and no paths; those are in smoke.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelfarm import __version__
from modelfarm.artifact import MANIFEST
from modelfarm.digest import Digests
from modelfarm.job import Job, JobResult
from modelfarm.verify import Verdict


def write_manifest(folder: Path, job: Job, result: JobResult, verdict: Verdict, digests: Digests) -> None:
    """Write the manifest of an artifact whose files lie in `folder`."""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [_subject(folder / name, digests) for name in result.files],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": _definition(job),
            "runDetails": {
                "builder": {"id": f"urn:modelfarm:runner:{job.runner}",
                            "version": {"modelfarm": __version__, **result.versions}},
                "metadata": {"invocationId": job.key},
            },
            "verification": _verification(job, result, verdict),
        },
    }
    (folder / MANIFEST).write_text(json.dumps(statement, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _subject(file: Path, digests: Digests) -> dict[str, Any]:
    return {"name": file.name, "digest": {"sha256": digests.file(file)}, "annotations": {"size": file.stat().st_size}}


def _definition(job: Job) -> dict[str, Any]:
    return {
        "buildType": "urn:modelfarm:conversion:v1",
        "externalParameters": {"model": job.recipe.name, "target": job.target.name, "variant": job.variant,
                               "precision": job.precision, "options": dict(job.options),
                               "randomWeights": job.random_weights, "recipe": dict(job.recipe.values)},
        "internalParameters": {"key": job.key, "identity": dict(job.identity)},
        "resolvedDependencies": [{"name": material.name, "digest": {"sha256": material.sha256},
                                  "annotations": {"role": material.role}} for material in job.materials],
    }


def _verification(job: Job, result: JobResult, verdict: Verdict) -> Mapping[str, Any]:
    return {
        "gates": {gate.name: gate.state for gate in verdict.gates},
        "reasons": {gate.name: gate.summary for gate in verdict.gates if gate.state == "skipped"},
        "widenedLimits": [{"unit": limit.unit, "measure": limit.measure, "limit": limit.limit, "because": limit.because}
                          for limit in job.recipe.limits if limit.precision in (None, job.precision)],
        # One digit: sums over threads differ in their last bits from run to run.
        "worstError": {unit: float(f"{error:.0e}") for unit, error in verdict.worst.items()},
        "facts": dict(result.facts),
    }
