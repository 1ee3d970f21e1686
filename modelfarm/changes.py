"""Changes: how an artifact differs from the last good one of its variant, and what of that is a regression."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelfarm.artifact import Artifact
from modelfarm.phrase import rounded, size
from modelfarm.settings import Thresholds

_STILL = 0.02  # of a size: what has changed by less is not worth a word


@dataclass(frozen=True, kw_only=True)
class Change:
    """One difference in words, and whether it is a regression."""

    text: str
    worse: bool = False


def changes(before: Artifact, after: Artifact, thresholds: Thresholds) -> Iterator[Change]:
    """Yield how an artifact differs from an earlier one of its variant; nothing where it is the same.

    Latencies are only compared where the same processor measured the same sample in the same kind of runner: other
    machines have other latencies. Raises ArtifactError where smoke.json is damaged.
    """
    if before.key == after.key:
        return
    yield from _size(before.size, after.size, thresholds)
    one, other = before.smoke, after.smoke
    if _place(one) == _place(other):
        yield from _latency(one["latency"], other["latency"], thresholds)
    yield from _errors(one.get("worst", {}), other.get("worst", {}), thresholds)


def _place(smoke: Mapping[str, Any]) -> tuple[Any, ...] | float:
    """Return where a latency was measured; what equals nothing where that is unknown."""
    latency = smoke.get("latency")
    if not latency or not smoke.get("processor"):
        return math.nan
    return smoke["processor"], smoke.get("runner"), latency.get("sample"), smoke.get("device", {}).get("used")


def _size(before: int, after: int, thresholds: Thresholds) -> Iterator[Change]:
    if before and abs(after / before - 1) >= _STILL:
        yield Change(text=f"size {size(before)} -> {size(after)}", worse=after > before * thresholds.size)


def _latency(before: Mapping[str, Any], after: Mapping[str, Any], thresholds: Thresholds) -> Iterator[Change]:
    """Compare medians; a change of less than the threshold either way is noise."""
    one, other = before["median_ms"], after["median_ms"]
    slower = other > one * thresholds.latency and other - one > thresholds.milliseconds
    faster = one > other * thresholds.latency and one - other > thresholds.milliseconds
    if slower or faster:
        yield Change(text=f"latency {rounded(one)} -> {rounded(other)} ms", worse=slower)


def _errors(before: Mapping[str, Any], after: Mapping[str, Any], thresholds: Thresholds) -> Iterator[Change]:
    for unit in sorted(before.keys() & after.keys()):
        one, other = float(before[unit]), float(after[unit])  # smoke.json writes what is no number as text
        grown = max(one, thresholds.smallest) * thresholds.error < other
        shrunk = max(other, thresholds.smallest) * thresholds.error < one
        if grown or shrunk:
            yield Change(text=f"error {one:.1e} -> {other:.1e} {unit}", worse=grown)
