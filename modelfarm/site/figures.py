"""Figures: what a smoke.json says, as far as it says it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelfarm.site import plain

_NAMED = {"schema", "model", "description", "variant", "precision", "version", "key", "made_at", "made_from", "runner",
          "processor", "options", "random_weights", "passed", "verified", "gates", "worst", "devices", "columns",
          "parity", "predictions", "size", "files", "previous", "timings", "latency", "device", "versions", "facts"}
_SHOWN = 3  # classes of a ranking


@dataclass(frozen=True, kw_only=True)
class Gate:
    """How a gate ended; `state` is a word of the gates: passed, failed, skipped, not run."""

    name: str
    state: str
    summary: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Error:
    """The errors of one column, all in its own unit but `relative`; `share` is the part of its limit that it uses.

    A share over 1 is over the limit. None where there is no limit, or no number.
    """

    column: str
    unit: str
    sample: str
    greatest: float | None
    mean: float | None
    relative: float | None
    cosine: float | None
    limit: float | None
    share: float | None
    mean_share: float | None
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What source and artifact found on one sample, a line of words each."""

    sample: str
    reference: tuple[str, ...]
    artifact: tuple[str, ...]

    @property
    def alike(self) -> bool:
        """Return whether both read the same in these words."""
        return self.reference == self.artifact

    @property
    def words(self) -> str:
        """Return both in one sentence, for whoever does not see the picture."""
        ours, theirs = ("; ".join(found) or "nothing" for found in (self.artifact, self.reference))
        return f"source and artifact find {ours}" if self.alike else f"the source finds {theirs}; the artifact {ours}"


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds of one inference, over `runs` runs on one sample."""

    median: float
    p95: float | None
    runs: int | None
    sample: str


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of one version; empty where smoke.json says nothing of the kind.

    `files` are sizes in bytes, `timings` seconds, `worst` the greatest error by unit, `other` what no part of this
    class has a name for.
    """

    description: str = ""
    precision: str = ""
    made_at: str = ""
    runner: str = ""
    device: str = ""
    random_weights: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    materials: Sequence[Mapping[str, Any]] = ()
    gates: tuple[Gate, ...] = ()
    errors: tuple[Error, ...] = ()
    by_group: tuple[Error, ...] = ()
    worst: Mapping[str, Any] = field(default_factory=dict)
    devices: Mapping[str, Any] = field(default_factory=dict)
    predictions: tuple[Seen, ...] = ()
    latency: Latency | None = None
    size: float | None = None
    files: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    other: Mapping[str, Any] = field(default_factory=dict)


def read_figures(smoke: Mapping[str, Any]) -> Figures:
    """Read a smoke document of any age; what is not as expected is left out."""
    device = plain.mapping(smoke.get("device"))
    where = [*(plain.text(device.get(part)) for part in ("used", "detail")), plain.text(smoke.get("processor"))]
    timings = {step: plain.number(spent) for step, spent in plain.mapping(smoke.get("timings")).items()}
    return Figures(
        description=plain.text(smoke.get("description")), precision=plain.text(smoke.get("precision")),
        made_at=plain.text(smoke.get("made_at")), runner=plain.text(smoke.get("runner")),
        device=" · ".join(part for part in where if part), random_weights=smoke.get("random_weights") is True,
        options=plain.mapping(smoke.get("options")),
        materials=[plain.mapping(item) for item in plain.items(smoke.get("made_from"))],
        gates=tuple(map(_gate, plain.items(smoke.get("gates")))),
        errors=tuple(map(_error, plain.items(smoke.get("columns")))),
        by_group=tuple(map(_error, plain.items(smoke.get("parity")))),
        worst=plain.mapping(smoke.get("worst")), devices=plain.mapping(smoke.get("devices")),
        predictions=tuple(map(_seen, plain.items(smoke.get("predictions")))), latency=_latency(smoke.get("latency")),
        size=plain.number(smoke.get("size")), files=plain.mapping(smoke.get("files")),
        timings={step: spent for step, spent in timings.items() if spent is not None and math.isfinite(spent)},
        versions=plain.mapping(smoke.get("versions")), facts=plain.mapping(smoke.get("facts")),
        other={name: value for name, value in smoke.items() if name not in _NAMED})


def _gate(value: Any) -> Gate:
    entry = plain.mapping(value)
    return Gate(name=plain.text(entry.get("name")) or "unnamed", state=plain.text(entry.get("state")) or "unknown",
                summary=plain.text(entry.get("summary")),
                reasons=tuple(map(str, plain.items(entry.get("reasons")))))


def _error(value: Any) -> Error:
    row = plain.mapping(value)
    figures = {name: plain.number(row.get(name)) for name in
               ("max_error", "mean_error", "relative", "cosine", "limit", "relative_limit")}
    relative = row.get("unit") == "relative"
    error = figures["relative"] if relative else figures["max_error"]
    shares = [_share(error, figures["limit"]), _share(figures["relative"], figures["relative_limit"])]
    known = [share for share in shares if share is not None]
    return Error(column=plain.text(row.get("column")) or "unnamed", unit=plain.text(row.get("unit")),
                 sample=plain.text(row.get("group") if row.get("samples") == 1 else row.get("sample")),
                 greatest=figures["max_error"], mean=figures["mean_error"], relative=figures["relative"],
                 cosine=figures["cosine"], limit=figures["limit"], share=max(known, default=None),
                 mean_share=None if relative else _share(figures["mean_error"], figures["limit"]),
                 passed=row.get("passed") is not False)


def _share(error: float | None, limit: float | None) -> float | None:
    """Return which part of a limit an error uses; None where there is no such limit, or the error is no number."""
    if error is None or limit is None or math.isnan(error) or not (0 < limit < math.inf):
        return None
    return error / limit


def _latency(value: Any) -> Latency | None:
    entry = plain.mapping(value)
    median = plain.number(entry.get("median_ms"))
    if median is None or not math.isfinite(median):
        return None
    runs = plain.number(entry.get("runs"))
    return Latency(median=median, p95=plain.number(entry.get("p95_ms")), runs=None if runs is None else int(runs),
                   sample=plain.text(entry.get("sample")))


def _seen(value: Any) -> Seen:
    entry = plain.mapping(value)
    reference, artifact = (tuple(_prediction(found) for found in plain.items(entry.get(side)))
                           for side in ("reference", "artifact"))
    return Seen(sample=plain.text(entry.get("sample")), reference=reference, artifact=artifact)


def _prediction(value: Any) -> str:
    """Write a prediction in words: the best classes of a ranking, or a box with its score."""
    found = plain.mapping(value)
    if "labels" in found:
        pairs = zip(plain.items(found["labels"]), plain.items(found.get("scores")), strict=False)
        return ", ".join(f"{label} {plain.figure(score)}" for label, score in list(pairs)[:_SHOWN])
    if "box" in found:
        box = " ".join(plain.figure(side) if not isinstance(side, float) else f"{side:.1f}"
                       for side in plain.items(found["box"]))
        points = len(plain.items(found.get("landmarks")))
        return f"{plain.figure(found.get('score'))} at {box}" + (f" with {points} landmarks" if points else "")
    return "; ".join(f"{name} {plain.in_line(part) or '…'}" for name, part in found.items()) or "something unknown"
