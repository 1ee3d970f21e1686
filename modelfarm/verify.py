"""Verification: a case in, a verdict out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from modelfarm.artifact import BUILT, VERIFIED
from modelfarm.decoders.prediction import Outputs
from modelfarm.gates.diagnosis import causes
from modelfarm.gates.evidence import Case, Evidence, Seen
from modelfarm.gates.gate import GATES, GateResult
from modelfarm.gates.parity import ParityRow

__all__ = ["Case", "GateResult", "ParityRow", "Seen", "Verdict", "verify", "verify_devices"]

_COMPARING = ("parity", "predictions", "golden")
_UNRUN = ("complete", "signature")  # the gates that judge a file which nobody ran


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All gates in their order, the parity of every column on every sample, and what was seen.

    `ran` is False where the artifact was built and inspected, and not run. `devices` are the verdicts on further
    devices of the same runtime, by the devices' names.
    """

    gates: tuple[GateResult, ...]
    rows: tuple[ParityRow, ...] = ()
    predictions: tuple[Seen, ...] = ()
    ran: bool = True
    devices: Mapping[str, Verdict] = field(default_factory=dict)

    @property
    def failure(self) -> GateResult | None:
        """Return the gate that failed; None where the artifact may be published."""
        return next((gate for gate in self.gates if gate.state == "failed"), None)

    @property
    def passed(self) -> bool:
        """Return whether the artifact may be published."""
        return self.failure is None

    @property
    def verified(self) -> str:
        """Return in words how far the artifact was checked; what was not run is never called verified."""
        return VERIFIED if self.ran else BUILT

    @property
    def worst(self) -> dict[str, float]:
        """Return the greatest judged error by unit: px, score and relative, as far as there are such columns."""
        rows = [row for row in self.rows if row.judged]
        return {unit: float(np.max([row.error for row in rows if row.unit == unit]))
                for unit in dict.fromkeys(row.unit for row in rows)}


def verify(case: Case) -> Verdict:
    """Put an artifact through the gates in their order; the first failure leaves the later ones unrun.

    Of one that does not run here, only the file is judged.

    Raises RecipeError where the decoder does not fit the outputs, or the precision has no limits.
    """
    evidence = Evidence(case)
    gates: list[GateResult] = []
    for name, gate in GATES.items():
        gates.append(_left_out(name, case, gates) or _explained(gate(name, evidence), evidence))
    ended = {gate.name: gate.state for gate in gates}
    comparable = ended["finite"] == "passed" and not list(evidence.shape_problems)
    return Verdict(gates=tuple(gates), rows=evidence.rows if comparable else (), ran=case.runs,
                   predictions=evidence.seen if comparable else ())


def _explained(gate: GateResult, evidence: Evidence) -> GateResult:
    """Add to a failed gate that compares values what explains it, where a quantised artifact shows it."""
    if gate.state != "failed" or gate.name not in _COMPARING or list(evidence.shape_problems):
        return gate
    return replace(gate, reasons=(*(f"cause: {cause}" for cause in causes(evidence)), *gate.reasons))


def _left_out(name: str, case: Case, before: Sequence[GateResult]) -> GateResult | None:
    """Return the result of a gate that does not run; None where it does."""
    if any(gate.state == "failed" for gate in before):
        return GateResult(name=name, state="not run", summary="")
    if case.runs or name in _UNRUN:
        return None
    assert case.result is not None
    return GateResult(name=name, state="not run", summary=case.result.device.detail)


def verify_devices(case: Case, others: Mapping[str, Sequence[Outputs]]) -> Verdict:
    """Put an artifact through the gates, and then again with what it gave on each of other devices.

    The first verdict that fails is the one returned; where it is another device's, its gate names the device.
    """
    verdict = verify(case)
    devices = {name: _on(name, verify(replace(case, outputs=outputs))) for name, outputs in others.items()}
    failed = next((found for found in (verdict, *devices.values()) if not found.passed), verdict)
    return replace(failed, devices=devices)


def _on(device: str, verdict: Verdict) -> Verdict:
    gates = [replace(gate, summary=f"on {device}: {gate.summary}") if gate.state == "failed" else gate
             for gate in verdict.gates]
    return replace(verdict, gates=tuple(gates))
