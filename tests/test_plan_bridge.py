"""Sources that a target does not read: another one brings them, and the source's own outputs stay the measure."""

from __future__ import annotations

import io

import pytest

from modelfarm.console import Console
from modelfarm.engines.engine import Outcome
from modelfarm.errors import UsageError
from modelfarm.job import Job
from modelfarm.plan import Request
from tests.toys import Toys
from tests.waytoys import add_bridge, make_carried


@pytest.fixture
def carried(toys: Toys) -> Toys:
    """Return toys with a model of a kind that only one toolchain reads."""
    add_bridge(toys)
    make_carried(toys)
    return toys


def plan(toys: Toys, target: str, **request: str) -> list[Job]:
    farm = toys.farm
    console = Console(io.StringIO(), live=False)
    return list(farm.planner(farm.targets[target], Request(**request), console).jobs(farm.recipe("toy")))


def run(toys: Toys, target: str, **request: str) -> dict[str, Outcome]:
    outcomes = toys.run(plan(toys, target, **request), Console(io.StringIO(), live=False))
    return {outcome.name.partition("/")[2]: outcome for outcome in outcomes}


def facts(outcome: Outcome) -> dict[str, object]:
    assert outcome.built, outcome.error
    found: dict[str, object] = outcome.built.artifact.manifest["predicate"]["verification"]["facts"]
    return found


def test_what_brings_the_source_is_a_job_of_its_own(carried: Toys) -> None:
    (job,) = plan(carried, "link")
    assert (job.variant, [each.variant for each in job.line]) == ("link", ["onnx-from-tflite", "link"])
    assert job.origin and (job.origin.target.name, job.origin.keeps) == ("carry", ("reference.npz",))
    assert job.origin.having("source") and not job.having("source")
    assert job.identity["source"] == {"artifact": job.origin.key}


def test_the_chain_keeps_the_outputs_of_the_source_to_its_end(carried: Toys) -> None:
    outcomes = run(carried, "end")
    assert list(outcomes) == ["onnx-from-tflite", "link-for-end", "end"]
    kept = [outcomes[name].built for name in ("onnx-from-tflite", "link-for-end")]
    first, second = (built.artifact.path("reference.npz").read_bytes() for built in kept if built)
    assert first == second
    assert facts(outcomes["link-for-end"])["told"] is False


def test_all_that_starts_from_a_source_shares_what_brings_it(carried: Toys) -> None:
    run(carried, "link")
    outcomes = run(carried, "end")
    built = outcomes["onnx-from-tflite"].built
    assert built and built.cached


def test_what_is_lost_on_the_way_is_found_where_it_is_lost(carried: Toys) -> None:
    make_carried(carried, wrong=1)
    outcomes = run(carried, "end")
    failure = outcomes["onnx-from-tflite"].error
    assert failure and "gate parity" in failure.message
    assert outcomes["link-for-end"].waited_for == "toy/onnx-from-tflite"
    assert outcomes["end"].waited_for == "toy/link-for-end"


def test_a_damaged_source_is_refused_in_the_toolchains_words(carried: Toys) -> None:
    (carried.folder / "models" / "toy" / "toy.pt").write_text("{")
    failure = run(carried, "link")["onnx-from-tflite"].error
    assert failure and (failure.code, failure.message) == (5, "toy.pt is damaged")


def test_an_edit_of_outputs_is_told_by_who_does_it(carried: Toys) -> None:
    make_carried(carried, targets="{link: {edit: {keep: [y]}}}")
    assert facts(run(carried, "link")["link"])["told"] is True
    assert facts(run(carried, "end")["link-for-end"])["told"] is True
    assert run(carried, "end")["end"].built, "and who starts from it compares with that"


def test_open_axes_of_a_fixed_source_are_told_by_who_opens_them(carried: Toys) -> None:
    outcomes = run(carried, "link", options='dynamic={"x":{"0":"batch"}}')
    (name,) = [name for name in outcomes if name.startswith("link-dynamic")]
    assert facts(outcomes[name])["told"] is True


def test_a_source_that_nothing_brings_is_refused(carried: Toys) -> None:
    with pytest.raises(UsageError, match="target toy cannot read a tflite source, as toy has; it reads torch"):
        plan(carried, "toy")


def test_what_brings_a_source_can_be_made_again_and_by_hand(carried: Toys) -> None:
    run(carried, "end")
    for variant in ("onnx-from-tflite", "link-for-end"):
        stream = io.StringIO()
        carried.farm.reproduce("link", "toy", variant, "", Console(stream, live=False))
        assert "identical" in stream.getvalue()
    script = carried.farm.artifact("toy", "link-for-end").path("reproduce.sh").read_text()
    assert "reference.npz" not in script, "the toolchain of a middle link does not make it"
    assert "model.json" in script


def test_the_folder_of_what_brings_a_source_is_found_by_its_reader(carried: Toys) -> None:
    run(carried, "link")
    stream = io.StringIO()
    folder = carried.folder / "by-hand"
    carried.farm.write_job("end", "toy", "onnx-from-tflite", str(folder), Request(), Console(stream, live=False))
    assert (folder / "in" / "source" / "toy.pt").is_file()
