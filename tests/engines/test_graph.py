"""The graph: what is ready starts, what failed stops only what starts from it; with an engine that notes."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelfarm.build import Built
from modelfarm.console import Console
from modelfarm.engines.engine import Outcome
from modelfarm.engines.graph import Graph
from modelfarm.errors import GateError, MachineError
from modelfarm.job import Job
from modelfarm.plan import Request
from tests.test_origin import CONVERTER, TARGET


class Notes:
    """An engine that runs nothing: it answers as it is told, and notes what it is asked."""

    def __init__(self, room: int = 9, fails: Sequence[str] = (), refuses: Sequence[str] = ()) -> None:
        self.room, self.fails, self.refuses = room, fails, refuses
        self.running: list[Job] = []
        self.started: list[str] = []
        self.stopped = 0

    def start(self, job: Job) -> bool:
        if job.name in self.refuses:
            raise MachineError("nobody can")
        if len(self.running) >= self.room:
            return False
        self.started.append(job.name)
        self.running.append(job)
        return True

    def ended(self) -> list[Outcome]:
        job = self.running.pop(0)
        if job.name in self.fails:
            return [Outcome(name=job.name, job=job, error=GateError("no"))]
        return [Outcome(name=job.name, job=job, built=there(job))]

    def stop(self) -> None:
        self.stopped += 1


class Seen:
    """A watch that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def begin(self, cached: int, waiting: Sequence[Job]) -> None:
        self.told.append(f"{cached} cached, {len(waiting)} waiting")

    def started(self, job: Job) -> None:
        self.told.append(f"+ {job.name}")

    def ended(self, outcome: Outcome) -> None:
        self.told.append(f"- {outcome.name}")


def there(job: Job) -> Built:
    return Built(job=job, artifact=None, cached=True)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory, toy_cache: Path) -> list[Job]:
    """Return the jobs of two models for a target that starts from another's artifact, in two precisions."""
    from tests.toys import make_toys

    toys = make_toys(tmp_path_factory.mktemp("graph"), toy_cache)
    folder = toys.folder / "docker" / "twin"
    folder.mkdir()
    (folder / "target.yaml").write_text(TARGET)
    shutil.copy(toys.folder / "docker" / "toy" / "requirements.txt", folder)
    (folder / "converter.py").write_text(CONVERTER)
    toys.model("a")
    toys.model("b")
    farm = toys.farm
    planner = farm.planner(farm.targets["twin"], Request(options="precision=[fp32,fp16]"), Console(io.StringIO()))
    return [job for name in ("a", "b") for job in planner.jobs(farm.recipe(name))]


def run(jobs: Sequence[Job], engine: Notes, found: Sequence[str] = ()) -> tuple[dict[str, Outcome], list[str]]:
    watch = Seen()
    graph = Graph(jobs, lambda job: there(job) if job.name in found else None)
    return {outcome.name: outcome for outcome in graph.run(engine, watch)}, watch.told


def test_a_shared_step_runs_once_and_before_what_starts_from_it(jobs: list[Job]) -> None:
    engine = Notes()
    outcomes, told = run(jobs, engine)
    assert list(outcomes) == ["a/toy-for-twin", "a/twin-fp32", "a/twin-fp16", "b/toy-for-twin", "b/twin-fp32",
                              "b/twin-fp16"]
    assert engine.started == ["a/toy-for-twin", "b/toy-for-twin", "a/twin-fp32", "a/twin-fp16", "b/twin-fp32",
                              "b/twin-fp16"]
    assert told[0] == "0 cached, 6 waiting"
    assert told.index("- a/toy-for-twin") < told.index("+ a/twin-fp32")
    assert engine.stopped == 0


def test_a_failure_stops_only_what_starts_from_it(jobs: list[Job]) -> None:
    engine = Notes(fails=["a/toy-for-twin"])
    outcomes, told = run(jobs, engine)
    assert [outcomes[f"a/twin-{precision}"].waited_for for precision in ("fp32", "fp16")] == ["a/toy-for-twin"] * 2
    assert all(outcomes[f"b/twin-{precision}"].built for precision in ("fp32", "fp16"))
    assert not any(name.startswith("a/twin") for name in engine.started)
    assert sorted(line for line in told if line[0] == "-") == sorted(f"- {name}" for name in outcomes)


def test_what_nobody_can_run_is_refused_at_once_and_the_rest_goes_on(jobs: list[Job]) -> None:
    outcomes, _ = run(jobs, Notes(refuses=["a/toy-for-twin", "b/twin-fp16"]))
    assert str(outcomes["a/toy-for-twin"].error) == "nobody can"
    assert outcomes["a/twin-fp32"].waited_for
    assert outcomes["b/twin-fp16"].error
    assert outcomes["b/twin-fp32"].built


def test_what_is_there_is_not_run_again(jobs: list[Job]) -> None:
    engine = Notes()
    outcomes, told = run(jobs, engine, found=[job.name for job in jobs])
    assert engine.started == []
    assert told == ["4 cached, 0 waiting"]
    assert list(outcomes) == [job.name for job in jobs], "steps that feed nothing are left alone"


def test_a_shared_step_is_made_where_one_of_its_readers_is_missing(jobs: list[Job]) -> None:
    engine = Notes()
    run(jobs, engine, found=[job.name for job in jobs[1:]])
    assert engine.started == ["a/toy-for-twin", "a/twin-fp32"]


def test_no_more_run_than_there_is_room_for(jobs: list[Job]) -> None:
    engine = Notes(room=1)
    _, told = run(jobs, engine)
    assert [line[0] for line in told[1:]] == ["+", "-"] * 6


def test_an_engine_that_has_lost_its_machines_ends_the_run(jobs: list[Job]) -> None:
    outcomes, _ = run(jobs, Notes(room=0))
    assert all(outcome.error and "no machine was left" in outcome.error.message for outcome in outcomes.values())
    assert len(outcomes) == 6


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_breaks_in_ends_the_running_jobs_first(jobs: list[Job], error: type[BaseException]) -> None:
    class Broken(Notes):
        def ended(self) -> list[Outcome]:
            raise error

    engine = Broken()
    with pytest.raises(error):
        run(jobs, engine)
    assert engine.stopped == 1
