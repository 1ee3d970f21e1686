"""The manifest: an in-toto statement with SLSA provenance, equal for equal builds.

Formats: https://in-toto.io/Statement/v1 and https://slsa.dev/spec/v1.0/provenance. It holds no
times and no paths; those are in smoke.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from modelfarm import __version__
from modelfarm.artifact import MANIFEST, Artifact, Subject
from modelfarm.digest import key_of
from modelfarm.errors import ArtifactError
from modelfarm.job import Job, JobResult

if TYPE_CHECKING:  # who only reads a manifest needs no numpy
    from modelfarm.verify import Verdict


EDITED = "edited"  # the fact that tells what edits of the graph did
OUTPUTS = "outputs"  # the fact that tells the source's shapes of outputs that an edit made


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What an artifact was made from and how, as its manifest says.

    `identity` is what its key is the digest of, `materials` the SHA-256 by role and name, `toolchain` what else was
    known of the toolchain.
    """

    identity: Mapping[str, Any]
    target: str
    precision: str
    options: Mapping[str, Any]
    materials: Mapping[tuple[str, str], str]
    random_weights: bool
    golden_waived: bool
    runner: str
    toolchain: Mapping[str, Any]


def read_origin(artifact: Artifact) -> Origin:
    """Read what an artifact was made from; raises ArtifactError where its manifest does not say it."""
    try:
        return _origin(artifact.manifest["predicate"], artifact.key)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ArtifactError(f"the manifest of {artifact.folder} does not say what it was made from: "
                            f"{type(error).__name__}: {error}", remedy="make the artifact anew") from error


def _origin(predicate: Mapping[str, Any], key: str) -> Origin:
    internal = predicate["buildDefinition"]["internalParameters"]
    identity = internal["identity"]
    if key_of(identity) != key:
        raise ValueError("its identity does not give its key")
    materials = {(role, name): sha256 for role, name, sha256 in identity["materials"]}
    return Origin(identity=identity, target=identity["target"], precision=identity["precision"],
                  options=dict(identity["options"]), materials=materials,
                  random_weights=identity["weights"] == "random", golden_waived=not identity["golden"],
                  runner=predicate["runDetails"]["builder"]["id"].rpartition(":")[2],
                  toolchain=dict(internal.get("toolchain") or {}))


def write_manifest(folder: Path, job: Job, result: JobResult, verdict: Verdict, subjects: Sequence[Subject],
                   handed: Mapping[str, str] = MappingProxyType({})) -> None:
    """Write the manifest of an artifact of these files into `folder`; `handed`: what earlier jobs left."""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [_subject(subject) for subject in subjects],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": _definition(job, handed),
            "runDetails": {
                "builder": {"id": f"urn:modelfarm:runner:{job.runner}",
                            "version": {"modelfarm": __version__, **result.versions}},
                "metadata": {"invocationId": job.key},
            },
            "verification": _verification(job, result, verdict),
        },
    }
    (folder / MANIFEST).write_text(json.dumps(statement, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _subject(file: Subject) -> dict[str, Any]:
    return {"name": file.name, "digest": {"sha256": file.sha256}, "annotations": {"size": file.size}}


def _definition(job: Job, handed: Mapping[str, str]) -> dict[str, Any]:
    inputs = [(material.name, material.sha256, material.role) for material in job.materials]
    inputs += [(name, sha256, "handed on") for name, sha256 in handed.items()]
    return {
        "buildType": "urn:modelfarm:conversion:v1",
        "externalParameters": {"model": job.recipe.name, "target": job.target.name, "variant": job.variant,
                               "precision": job.precision, "options": dict(job.options),
                               "randomWeights": job.random_weights, "recipe": dict(job.recipe.values)},
        "internalParameters": {"key": job.key, "identity": dict(job.identity), "toolchain": dict(job.provenance)},
        "resolvedDependencies": [{"name": name, "digest": {"sha256": sha256}, "annotations": {"role": role}}
                                 for name, sha256, role in inputs],
    }


def _verification(job: Job, result: JobResult, verdict: Verdict) -> Mapping[str, Any]:
    return {
        "verified": verdict.verified,
        "gates": {gate.name: gate.state for gate in verdict.gates},
        "reasons": {gate.name: gate.summary for gate in verdict.gates
                    if gate.state in ("skipped", "not run")},
        "widenedLimits": [{"unit": limit.unit, "measure": limit.measure, "limit": limit.limit, "because": limit.because}
                          for limit in job.recipe.limits if limit.precision in (None, job.precision)],
        "worstError": _worst(verdict),
        **({"devices": {name: _worst(found) for name, found in verdict.devices.items()}} if verdict.devices else {}),
        "facts": dict(result.facts),
    }


def _worst(verdict: Verdict) -> dict[str, float]:
    """Return the greatest errors with one digit: sums over threads differ in their last bits from run to run."""
    return {unit: float(f"{error:.0e}") for unit, error in verdict.worst.items()}
