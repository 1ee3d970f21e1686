"""Built, not run: what a toolchain cannot run here is published as that, and never called verified."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from modelfarm.artifact import BUILT, VERIFIED, Artifact
from modelfarm.console import Console
from modelfarm.engines.local import Outcome
from modelfarm.errors import GateError, UsageError
from modelfarm.manifest import read_origin
from modelfarm.plan import Request
from modelfarm.reproduce import ALIKE, IDENTICAL, Rebuilder, Replanner, request_of, runner_of
from modelfarm.summary import print_outcomes, print_status
from modelfarm.verify import verify
from tests.cases import ROWS, case, result
from tests.toys import Toys

WHY = "a toy machine is needed, which this is not"
INSPECTING = f"""

from jobkit import Inspected

def load(files, job):
    wish = _weights(job)
    job.facts["gain"] = json.loads((job.out / files[0]).read_text())["gain"] if "opaque" not in wish else "unknown"
    shape = wish.get("shape", list(job.inputs[0].shape))
    return Inspected((Tensor("x", shape, "float32"),), (Tensor("y", shape, "float32"),),
                     Device("gpu", "none", "{WHY}"))
"""
GATES = ["complete", "signature", "finite", "parity", "predictions", "golden", "device"]


@pytest.fixture
def built(toys: Toys) -> Toys:
    """Return toys whose toolchain makes what it cannot run."""
    folder = toys.folder / "docker" / "toy"
    with (folder / "target.yaml").open("a") as stream:
        stream.write("runs: false\n")
    with (folder / "converter.py").open("a") as stream:
        stream.write(INSPECTING)
    return toys


def outcome(toys: Toys) -> Outcome:
    (done,) = toys.run(toys.jobs(), Console(io.StringIO(), live=False))
    return done


def artifact(toys: Toys) -> Artifact:
    done = outcome(toys)
    assert done.built, done.error
    return done.built.artifact


def smoke(found: Artifact) -> str:
    return found.path("smoke.log").read_text()


# The gates


def test_the_gates_stop_after_the_signature_and_the_rest_say_why() -> None:
    device = replace(result(ROWS.shape).device, used="none", detail=WHY)
    verdict = verify(case(outputs=[], runs=False, result=replace(result(ROWS.shape), device=device, latency=None)))
    assert [(gate.name, gate.state) for gate in verdict.gates] == [
        (name, "passed" if name in ("complete", "signature") else "not run") for name in GATES]
    assert {gate.summary for gate in verdict.gates[2:]} == {WHY}
    assert verdict.gates[0].summary == "model.onnx: present, inspected, not run"
    assert verdict.passed and verdict.verified == BUILT == "built, not run"
    assert not verdict.rows and not verdict.predictions and not verdict.worst


def test_what_runs_is_verified() -> None:
    assert verify(case()).verified == VERIFIED == "verified"


def test_a_wrong_signature_fails_what_is_not_run_as_well() -> None:
    verdict = verify(case(outputs=[], runs=False, result=replace(result((1, 2, 4)), latency=None)))
    assert [gate.state for gate in verdict.gates] == ["passed", "failed", *["not run"] * 5]
    assert not verdict.passed
    assert {gate.summary for gate in verdict.gates[2:]} == {""}


def test_a_missing_file_and_a_missing_reference_fail_what_is_not_run_as_well() -> None:
    failure = verify(case(outputs=[], runs=False, files=["outputs.npz"])).failure
    assert failure and failure.summary == "model.onnx was promised and is missing; there is outputs.npz"
    failure = verify(case(outputs=[], runs=False, reference=[{"rows": ROWS}])).failure
    assert failure and failure.summary == "the reference gave no rows on sample random-0"


def test_a_precision_without_limits_can_be_built_but_not_compared() -> None:
    assert verify(case(outputs=[], runs=False, precision="int3")).passed


def test_what_should_run_and_did_not_is_incomplete() -> None:
    failure = verify(case(outputs=[], result=replace(result(ROWS.shape), latency=None))).failure
    assert failure and failure.name == "complete"
    assert "the artifact gave no rows on sample a.png" in failure.reasons


# The artifact


def test_it_is_published_as_built_and_says_so_everywhere(built: Toys) -> None:
    found = artifact(built)
    verification = found.manifest["predicate"]["verification"]
    assert found.verified == verification["verified"] == "built, not run"
    assert verification["gates"] == {name: "passed" if name in GATES[:2] else "not run" for name in GATES}
    assert verification["reasons"] == dict.fromkeys(GATES[2:], WHY)
    assert verification["worstError"] == {}
    text = smoke(found)
    assert "gates (2 passed, 5 not run)" in text
    assert "BUILT, NOT RUN" in text and WHY in text
    assert "verified" not in text and "latency  " not in text
    assert f"  device   none ({WHY})" in text
    assert json.loads(found.path("smoke.json").read_text())["verified"] == "built, not run"
    assert not found.path("outputs.npz").exists()


def test_a_verified_artifact_says_so(toys: Toys) -> None:
    found = artifact(toys)
    assert found.manifest["predicate"]["verification"]["verified"] == found.verified == "verified"
    assert "BUILT" not in smoke(found)


def test_a_manifest_from_before_the_word_was_of_something_verified(toys: Toys) -> None:
    found = artifact(toys)
    document = json.loads(found.path("manifest.json").read_text())
    del document["predicate"]["verification"]["verified"]
    found.path("manifest.json").write_text(json.dumps(document))
    again = Artifact.read(found.folder, model="toy", variant="toy", version=found.version)
    assert again.verified == "verified"


def test_tables_show_built(built: Toys) -> None:
    stream = io.StringIO()
    console = Console(stream, live=False)
    print_outcomes([outcome(built)], console)
    print_status(built.farm.store, console)
    rows = [line for line in stream.getvalue().splitlines() if line.startswith("  toy ")]
    assert len(rows) == 2
    for row in rows:
        assert "built, not run: 2 passed" in row and "verified" not in row and " ms" not in row


def test_the_next_version_is_compared_in_size_alone(built: Toys) -> None:
    artifact(built)
    built.model(gain=3)
    assert "latency and size (beside " in smoke(artifact(built))


def test_a_wrong_signature_is_not_published(built: Toys) -> None:
    built.model(shape=[1, 4])
    error = outcome(built).error
    assert isinstance(error, GateError)
    assert error.message.startswith("gate signature: ")
    (kept,) = (built.settings.artifacts / "failed" / "toy" / "toy").iterdir()
    assert "BUILT" not in (kept / "smoke.log").read_text()


def test_a_toolchain_that_inspects_where_it_should_run_publishes_nothing(built: Toys) -> None:
    file = built.folder / "docker" / "toy" / "target.yaml"
    file.write_text(file.read_text().replace("runs: false", "runs: true"))
    error = outcome(built).error
    assert isinstance(error, GateError) and error.message.startswith("gate complete: ")


# Others


def test_no_target_can_start_from_what_nobody_has_run(built: Toys) -> None:
    twin = built.folder / "docker" / "twin"
    twin.mkdir()
    (twin / "requirements.txt").write_text("toy==1.0\n")
    (twin / "converter.py").write_text("")
    (twin / "target.yaml").write_text(
        'title: Twin\nreads: [toy]\nneeds: {target: toy}\nmakes: twin\npython: "3.11"\nprecisions: [fp32]\n'
        "promises: [model.twin]\n".replace("[toy]", "[onnx]"))
    farm = built.farm
    planner = farm.planner(farm.targets["twin"], Request(), Console(io.StringIO()))
    with pytest.raises(UsageError, match="target twin cannot start from toy, whose artifacts are built and not run"):
        list(planner.jobs(farm.recipe("toy")))


def reproduce(toys: Toys, found: Artifact) -> str:
    farm, console = toys.farm, Console(io.StringIO(), live=False)
    origin = read_origin(found)
    planner = farm.planner(farm.targets["toy"], request_of(origin, ""), console)
    runner = runner_of(origin, planner.target, farm.runners)
    job = Replanner.of(planner, found, runner, farm.targets).job(farm.recipe("toy"))
    return Rebuilder(store=farm.store, runners=farm.runners.of).reproduce(job, found, console)


def test_it_is_reproduced_by_its_bytes(built: Toys) -> None:
    assert reproduce(built, artifact(built)) == IDENTICAL


def noisy(toys: Toys, mark: Path) -> Toys:
    """Let the toolchain write another gain each time."""
    mark.write_text("")
    with (toys.folder / "docker" / "toy" / "converter.py").open("a") as stream:
        stream.write("""
def convert(job):
    with open(_weights(job)["mark"], "a+") as file:
        file.write("x")
        file.seek(0)
        count = len(file.read())
    (job.out / "model.toy").write_text(json.dumps({"gain": count}))
    return ["model.toy"]
""")
    return toys


def test_of_other_bytes_what_was_found_inside_is_compared(built: Toys, tmp_path: Path) -> None:
    built.model(mark=str(tmp_path / "mark"), opaque=True)
    assert reproduce(noisy(built, tmp_path / "mark"), artifact(built)) == ALIKE
    assert "not run" in ALIKE


def test_other_bytes_with_something_else_inside_are_another_artifact(built: Toys, tmp_path: Path) -> None:
    built.model(mark=str(tmp_path / "mark"))
    found = artifact(noisy(built, tmp_path / "mark"))
    with pytest.raises(GateError, match="made again, it is another: gain differ"):
        reproduce(built, found)
