"""The gates, in their order: what an artifact must pass before it is published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelfarm.decoders.prediction import Classification, Detection, Outputs, Prediction
from modelfarm.gates import golden, parity, signature
from modelfarm.gates.agreement import difference, disagreements, match, other_classes
from modelfarm.gates.evidence import Case, Evidence
from modelfarm.samples import Sample

LISTED = 12  # reasons that a gate lists before it only counts


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """How a gate ended: `state` is passed, failed, skipped or not run; `reasons` are the details."""

    name: str
    state: str
    summary: str
    reasons: tuple[str, ...] = ()


def _ended(name: str, problems: Iterable[str], summary: str, failure: str = "",
           notes: Sequence[str] = ()) -> GateResult:
    """Return passed with a summary and notes, or failed with the problems: the only one as summary."""
    found = list(problems)
    if not found:
        return GateResult(name=name, state="passed", summary=summary, reasons=tuple(notes))
    if len(found) == 1 and not failure:
        return GateResult(name=name, state="failed", summary=found[0])
    more = [f"and {len(found) - LISTED} more"] if len(found) > LISTED else []
    return GateResult(name=name, state="failed", summary=failure or f"{len(found)} problems",
                      reasons=(*found[:LISTED], *more))


def _skipped(name: str, why: str) -> GateResult:
    return GateResult(name=name, state="skipped", summary=why)


def _complete(name: str, evidence: Evidence) -> GateResult:
    case = evidence.case
    done = f"loaded and run on {_count(len(case.samples), 'sample')}" if case.runs else "inspected, not run"
    return _ended(name, _missing(case), f"{', '.join(case.promises)}: present, {done}")


def _missing(case: Case) -> Iterator[str]:
    owed = [*case.promises, *(case.result.files if case.result else ())]
    absent = [name for name in dict.fromkeys(owed) if name not in case.files]
    if absent:
        yield f"{', '.join(absent)} was promised and is missing; there is {', '.join(sorted(case.files)) or 'nothing'}"
    if case.result is None:
        yield f"the artifact does not work in its runtime: {case.error or 'no reason was given'}"
    owing = {"the reference": case.reference, **({"the artifact": case.outputs} if case.runs else {})}
    for who, results in owing.items():
        for index, sample in enumerate(case.samples):
            given = results[index] if index < len(results) else {}
            lacking = [output.name for output in case.recipe.outputs if output.name not in given]
            if lacking:
                yield f"{who} gave no {', '.join(lacking)} on sample {sample.name}"


def _signature(name: str, evidence: Evidence) -> GateResult:
    case, result = evidence.case, evidence.result
    problems = [*signature.input_problems(case.recipe.inputs, result.inputs, case.dynamic, case.form),
                *signature.output_problems(case.recipe.outputs, result.outputs, case.reference, case.dynamic,
                                           case.form)]
    return _ended(name, problems, f"{signature.described(case.recipe.inputs, result.inputs)} -> "
                                  f"{signature.described((), result.outputs)}")


def _finite(name: str, evidence: Evidence) -> GateResult:
    case = evidence.case
    of_source = list(_not_finite(case.samples, case.reference))
    if of_source:
        return _ended(name, of_source, "", "the source gives values that are no finite numbers: its weights, or the "
                                           "preprocessing, are wrong, not the conversion")
    problems = _not_finite(case.samples, case.outputs)
    values = sum(array.size for outputs in case.outputs for array in outputs.values())
    return _ended(name, problems, f"{values:,} values, no NaN and no infinity")


def _not_finite(samples: Sequence[Sample], results: Sequence[Outputs]) -> Iterator[str]:
    for sample, outputs in zip(samples, results, strict=True):
        for name, array in outputs.items():
            bad = array.size - int(np.isfinite(array).sum())
            if bad:
                yield f"output {name!r} on sample {sample.name} has {bad:,} of {array.size:,} values NaN or infinite"


def _parity(name: str, evidence: Evidence) -> GateResult:
    different = list(evidence.shape_problems)
    if different:
        return _ended(name, different, "", "outputs of other shapes than the reference's")
    columns = [row for row in parity.by_column(evidence.rows) if row.judged]
    figures = ", ".join(f"{row.column} {row.error:.2g}" for row in columns)
    limits = ", ".join(f"{limit:g} {unit}" for unit, limit in {row.unit: row.limit for row in columns}.items())
    bad = [parity.complaint(row) for row in evidence.rows if not row.passed]
    return _ended(name, bad, f"greatest error: {figures} (limits: {limits})",
                  f"{_count(len(bad), 'column')} of samples too far from the reference" if len(bad) > 1 else "",
                  [*evidence.limits.notes, *evidence.unjudged])


def _predictions(name: str, evidence: Evidence) -> GateResult:
    if evidence.case.decoder is None:
        return _skipped(name, "the recipe names no decoder, so that outputs have no meaning to compare")
    pairs, limits = list(evidence.judged_pairs), evidence.limits
    problems, others = ([f"{sample.name}: {problem}" for sample, reference, found in pairs
                         for problem in differ(reference, found, limits)] for differ in (disagreements, other_classes))
    ranked = sum(isinstance(entry, Classification) for _, _, found in pairs for entry in found)
    tolerated = len(others) <= (1 - limits.share) * ranked
    return _ended(name, problems if tolerated else [*problems, *others], _agreement(evidence, len(others)),
                  notes=others if tolerated else ())


def _agreement(evidence: Evidence, others: int) -> str:
    """Say how many predictions agree, and how closely; `others` are best classes that are not the reference's."""
    pairs = list(evidence.judged_pairs)
    apart = [difference(one, other) for _, reference, found in pairs
             for one, other in match(_detections(reference), _detections(found))]
    everything = [found for _, _, found in pairs]
    said = []
    if apart or not any(everything):
        said.append(f"{_count(len(apart), 'detection')} on {_count(len(everything), 'picture')} as in the reference")
    if apart:
        box, points, score = (max(getattr(pair, name) for pair in apart) for name in ("box", "points", "score"))
        marks = f", landmarks within {points:.2g} px" if points else ""
        said.append(f"least IoU {min(pair.iou for pair in apart):.5f}, box within {box:.2g} px{marks}, "
                    f"score within {score:.2g}")
    classes = sum(isinstance(entry, Classification) for found in everything for entry in found)
    if classes:
        said.append(f"the same best class {classes - others} times of {classes}")
    return "; ".join(said)


def _detections(predictions: Sequence[Prediction]) -> list[Detection]:
    return [entry for entry in predictions if isinstance(entry, Detection)]


def _golden(name: str, evidence: Evidence) -> GateResult:
    case = evidence.case
    if case.random_weights:
        return _skipped(name, "the weights are random: they can find nothing")
    if case.golden_waived:
        return _skipped(name, "waived on the command line")
    if not case.recipe.expect:
        return _skipped(name, "the recipe has no `expect`")
    problems = [problem for key, expected in case.recipe.expect.items() for problem in _missed(evidence, key, expected)]
    shares = {key: golden.accuracy([entry for entry in evidence.artifact if entry.sample.group == key])
              for key in case.recipe.expect}
    slack = evidence.limits.golden.accuracy
    less = f" ({100 * slack:g} point less than expected is accepted in {case.precision})" if slack else ""
    measured = [f"{key}: {share:.2%} right{less}" for key, share in shares.items() if share is not None]
    return _ended(name, problems, "; ".join([f"{_count(len(case.recipe.expect), 'expectation')} met", *measured]))


def _missed(evidence: Evidence, key: str, expected: Any) -> Iterator[str]:
    if evidence.case.decoder is None:
        yield f"{key}: the recipe expects results, but names no decoder"
        return
    known = any(key in (entry.sample.name, entry.sample.group) for entry in evidence.artifact)
    at_fault = known and any(golden.missed(key, expected, evidence.reference))
    also = "; the source model misses it too: its weights or the preprocessing are wrong, not the conversion"
    for problem in golden.missed(key, expected, evidence.artifact, evidence.limits.golden):
        yield problem + (also if at_fault else "")


def _device(name: str, evidence: Evidence) -> GateResult:
    device = evidence.result.device
    wanted = dict.fromkeys((evidence.case.device, device.wanted))  # by the target, and by what ran it
    problems = [f"ran on {device.used} ({device.detail}), but was to run on {name}" for name in wanted
                if name != device.used]
    return _ended(name, problems, f"ran on {device.used} ({device.detail})")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


GATES: Mapping[str, Callable[[str, Evidence], GateResult]] = {
    "complete": _complete, "signature": _signature, "finite": _finite, "parity": _parity,
    "predictions": _predictions, "golden": _golden, "device": _device,
}
