"""Further devices of one runtime: what the artifact gave on each of them passes the gates too, or nothing is kept."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from modelfarm.artifact import Artifact
from modelfarm.console import Console
from modelfarm.errors import ConversionError, GateError
from modelfarm.verify import verify_devices
from tests.cases import ROWS, case, recipe
from tests.toys import Toys

# The toy's converter with a device beside its own, as the model's wish says.
BESIDE = '''

def load(files, job):
    from jobkit.arrays import ArrayWriter
    wish = _weights(job)
    for device, error in wish.get("beside", {}).items():
        run = _runtime(wish["gain"] + error, job)
        with ArrayWriter(job.out / f"outputs-{device}.npz") as writer:
            for index, sample in enumerate(job.samples):
                if index < wish.get("tried", 99):
                    writer.add(index, run(sample))
    if "damaged" in wish:
        (job.out / "outputs-slow.npz").write_text("no archive")
    return _runtime(wish["gain"] + wish.get("error", 0), job)
'''


@pytest.fixture
def toys(toys: Toys) -> Toys:
    converter = toys.target.converter
    converter.write_text(converter.read_text() + BESIDE)
    return toys


def build(toys: Toys) -> Artifact:
    return toys.builder().build(toys.jobs()[0], Console(io.StringIO())).artifact


def refused(toys: Toys) -> tuple[str, Path]:
    """Build a toy that must not pass; return what is said, and the folder where it is kept."""
    with pytest.raises(GateError) as caught:
        build(toys)
    assert not (toys.settings.artifacts / "toy").exists()
    (kept,) = (toys.settings.artifacts / "failed").glob("toy/toy/*")
    return caught.value.message, kept


def test_another_device_passes_the_gates_and_its_figures_are_kept(toys: Toys) -> None:
    toys.model(beside={"slow": 0, "old": 1e-7})
    artifact = build(toys)
    devices = artifact.smoke["devices"]
    assert list(devices) == ["old", "slow"]
    assert devices["slow"] == {"passed": True, "worst": {"relative": 0.0}, "failure": ""}
    assert 0 <= devices["old"]["worst"]["relative"] < 1e-6
    assert "  passed   slow         greatest error: 0 relative\n" in artifact.path("smoke.log").read_text()
    assert artifact.manifest["predicate"]["verification"]["devices"]["slow"] == {"relative": 0.0}
    assert not artifact.folder.joinpath("outputs-slow.npz").exists()


def test_a_device_that_is_wrong_stops_the_publication_by_its_name(toys: Toys) -> None:
    toys.model(beside={"fine": 0, "slow": 0.25})
    said, kept = refused(toys)
    assert said.startswith("gate parity: on slow: ")
    smoke = json.loads((kept / "smoke.json").read_text())
    assert not smoke["passed"] and smoke["devices"]["fine"]["passed"]
    assert smoke["devices"]["slow"]["failure"].startswith("gate parity: on slow: ")
    assert "  FAILED   slow         gate parity: on slow: " in (kept / "smoke.log").read_text()


def test_a_device_that_gives_no_numbers_fails_the_gate_finite(toys: Toys) -> None:
    toys.model(beside={"slow": float("nan")})
    assert refused(toys)[0].startswith("gate finite: on slow: ")


def test_a_device_that_was_not_tried_on_every_sample_is_incomplete(toys: Toys) -> None:
    toys.model(more="samples: {random: 2}", beside={"slow": 0}, tried=1)
    assert refused(toys)[0] == "gate complete: on slow: the artifact gave no y on sample random-1"


def test_the_artifacts_own_device_is_the_first_to_fail(toys: Toys) -> None:
    toys.model(error=0.25, beside={"slow": 0.5})
    said, _ = refused(toys)
    assert said.startswith("gate parity: ") and "on slow" not in said


def moved(by: float, column: int) -> list[dict[str, np.ndarray]]:
    """Return what a device gives that is off in one column of the first row, on both samples."""
    rows = ROWS.copy()
    rows[0, 0, column] += by
    return [{"rows": rows}] * 2


def test_predictions_are_compared_on_every_device() -> None:
    near = ROWS.copy()
    near[0, 0, 4] = 0.500001  # a detection from 0.5 on
    verdict = verify_devices(case(near), {"slow": [{"rows": near - np.float32([0, 0, 0, 0, 2e-6])}] * 2})
    assert verdict.failure and verdict.failure.name == "predictions"
    assert verdict.devices["slow"].failure == verdict.failure


def test_golden_results_are_wanted_of_every_device() -> None:
    judged = case(recipe=recipe(expect={"a.png": [{"box": [11, 20, 50, 60], "score": 0.9}]}))
    assert verify_devices(judged, {"slow": moved(0.0005, 0)}).passed
    verdict = verify_devices(judged, {"fine": moved(0, 0), "slow": moved(-0.0005, 0)})
    assert verdict.failure and verdict.failure.name == "golden"
    assert verdict.failure.summary.startswith("on slow: ")
    assert verdict.devices["fine"].passed and not verdict.devices["slow"].passed


def test_damaged_outputs_of_a_device_are_the_toolchains_failure(toys: Toys) -> None:
    toys.model(damaged=True)
    with pytest.raises(ConversionError, match=r"wrote a damaged outputs-slow\.npz"):
        build(toys)


def test_without_another_device_nothing_is_said_of_devices(toys: Toys) -> None:
    artifact = build(toys)
    assert artifact.smoke["devices"] == {}
    assert "other devices" not in artifact.path("smoke.log").read_text()
    assert "devices" not in artifact.manifest["predicate"]["verification"]
