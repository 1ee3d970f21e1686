"""Changes against the last good artifact: noise is none, and each threshold lies where it is said to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelfarm.artifact import Artifact, Subject
from modelfarm.changes import changes
from modelfarm.settings import Thresholds

SMOKE = {"runner": "venv", "processor": "a processor", "device": {"used": "cpu"}, "worst": {"px": 1e-4},
         "latency": {"median_ms": 10.0, "p95_ms": 12.0, "sample": "a.png"}}


def artifact(key: str = "a", size: int = 1000, **smoke: Any) -> Artifact:
    made = Artifact(folder=Path("nowhere"), model="m", variant="v", key=key * 64,
                    files=(Subject(name="f", sha256="0" * 64, size=size),), published=0.0, manifest={})
    made.__dict__["smoke"] = {**SMOKE, **smoke}
    return made


def found(after: Artifact, before: Artifact | None = None, **thresholds: float) -> list[tuple[str, bool]]:
    return [(change.text, change.worse)
            for change in changes(before or artifact(), after, Thresholds(**thresholds))]


def latency(median: float, **other: Any) -> dict[str, Any]:
    return {"latency": {**SMOKE["latency"], "median_ms": median, **other}}  # type: ignore[dict-item]


def test_the_same_artifact_has_not_changed() -> None:
    assert found(artifact(size=9000)) == []


@pytest.mark.parametrize(("size", "expected"), [
    (1000, []), (1019, []), (1050, [("size 1 kB -> 1.05 kB", False)]), (1101, [("size 1 kB -> 1.1 kB", True)]),
    (900, [("size 1 kB -> 900 B", False)])])
def test_a_size_a_tenth_larger_is_worse(size: int, expected: list[tuple[str, bool]]) -> None:
    assert found(artifact("b", size)) == expected


@pytest.mark.parametrize(("median", "expected"), [
    (10.0, []), (19.9, []), (20.1, [("latency 10 -> 20.1 ms", True)]), (4.9, [("latency 10 -> 4.9 ms", False)]),
    (5.1, [])])
def test_a_latency_has_to_double(median: float, expected: list[tuple[str, bool]]) -> None:
    assert found(artifact("b", **latency(median))) == expected


def test_a_fraction_of_a_millisecond_is_noise() -> None:
    assert found(artifact("b", **latency(0.9)), artifact(**latency(0.02))) == []
    assert found(artifact("b", **latency(1.1)), artifact(**latency(0.02))) == [("latency 0.02 -> 1.1 ms", True)]


@pytest.mark.parametrize("other", [
    {"processor": "another"}, {"processor": ""}, {"runner": "docker"}, {"device": {"used": "cuda"}},
    latency(99, sample="b.png"), {"latency": None}])
def test_latencies_of_other_places_are_not_compared(other: dict[str, Any]) -> None:
    assert found(artifact("b", **{**latency(99), **other})) == []
    assert found(artifact("b", **latency(99)), artifact(**other)) == [] or "sample" in str(other)


def test_reports_without_a_processor_are_not_compared_even_with_each_other() -> None:
    """Reports of earlier farms have none."""
    assert found(artifact("b", processor="", **latency(99)), artifact(processor="")) == []


@pytest.mark.parametrize(("before", "after", "expected"), [
    (1e-4, 9e-4, []), (1e-4, 1.1e-3, [("error 1.0e-04 -> 1.1e-03 px", True)]),
    (1e-4, 0.9e-5, [("error 1.0e-04 -> 9.0e-06 px", False)]), (0.0, 9e-6, []),
    (0.0, 1.1e-5, [("error 0.0e+00 -> 1.1e-05 px", True)]),
    (1e-9, 9e-9, [])])
def test_an_error_has_to_be_ten_times_as_large(before: float, after: float, expected: list[tuple[str, bool]]) -> None:
    assert found(artifact("b", worst={"px": after}), artifact(worst={"px": before})) == expected


def test_errors_are_compared_by_unit() -> None:
    assert found(artifact("b", worst={"score": 1.0})) == []


def test_numbers_that_json_does_not_have_are_read() -> None:
    assert found(artifact("b", worst={"px": "inf"})) == [("error 1.0e-04 -> inf px", True)]


def test_thresholds_can_be_moved() -> None:
    assert found(artifact("b", 1500, **latency(25.0)), size=2, latency=3) == [("size 1 kB -> 1.5 kB", False)]
    assert found(artifact("b", **latency(15.0)), latency=1.2) == [("latency 10 -> 15 ms", True)]
