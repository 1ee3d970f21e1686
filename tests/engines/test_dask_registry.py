"""The Dask engine through a real registry: workers whose stores are folders of their own, or lost on the way."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from modelfarm.board import Blocks
from modelfarm.console import Console
from modelfarm.engines.engine import Outcome
from modelfarm.errors import ConversionError, RegistryError
from modelfarm.settings import ROOT
from tests.engines.cluster import Cluster
from tests.engines.test_dask import COMMAND, ended, jobs, parent
from tests.images.registry import Registry, free_port
from tests.toys import ToyFarm, Toys

NAMES = ["a", "b", "c", "d"]


def hire(toys: Toys, site: Cluster, *names: str) -> list[Path]:
    """Start workers, each with a store of its own; return the stores."""
    for name in names:
        site.toyhand(toys, name, ARTIFACTS=str(toys.folder / f"store of {name}"))
    return [toys.folder / f"store of {name}" for name in names]


def run(toys: Toys, site: Cluster, place: str, *models: str) -> list[Outcome]:
    opened = ToyFarm(replace(toys.settings, engine=site.address, registry=place))
    console = Console(io.StringIO(), live=False)
    return opened.run(jobs(opened, *models), Blocks(console), console, at_a_time=None)  # type: ignore[arg-type]


def start(toys: Toys, site: Cluster, place: str) -> subprocess.Popen[str]:
    """Start a night as a process of its own."""
    code = COMMAND.replace("engine=sys.argv[3]", "engine=sys.argv[3], registry=sys.argv[4]")
    return subprocess.Popen([sys.executable, "-c", code, toys.folder, toys.cache, site.address, place], cwd=ROOT,
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_stores_that_nobody_shares_give_the_same_artifacts(toys: Toys, site: Cluster, place: str) -> None:
    for name in NAMES:
        toys.model(name, seconds=0.3)
    stores = hire(toys, site, "one", "two")
    outcomes = run(toys, site, place, *NAMES)
    assert {outcome.worker for outcome in outcomes} == {"one", "two"}
    abroad = {outcome.job.key: outcome.built.artifact for outcome in outcomes if outcome.job and outcome.built}
    assert len(abroad) == 4
    assert sum((store / name / "toy" / "latest").exists() for store in stores for name in NAMES) == 4
    for artifact in abroad.values():
        assert artifact.folder.is_relative_to(toys.settings.artifacts)
        assert (artifact.folder / "convert.log").is_file()
    toys.settings.artifacts.rename(toys.folder / "theirs")
    for outcome in toys.run(toys.jobs(*NAMES)):
        assert outcome.job and outcome.built and not outcome.built.cached
        assert abroad[outcome.job.key].subjects == outcome.built.artifact.subjects
        assert abroad[outcome.job.key].manifest == outcome.built.artifact.manifest


def test_a_failure_comes_back_with_its_log_and_its_place_here(toys: Toys, site: Cluster, place: str) -> None:
    toys.model(refuse="no such gain")
    toys.model("a")
    (store,) = hire(toys, site, "one")
    failed, good = run(toys, site, place, "toy", "a")
    assert good.built
    assert isinstance(failed.error, ConversionError)
    (failure,) = toys.farm.store.failures()
    assert f"everything is kept in {failure.folder}" in failed.error.remedy
    assert str(store) not in failed.error.remedy
    assert (failure.folder / "convert.log").is_file()


def test_where_a_worker_dies_another_fetches_what_it_needs(toys: Toys, site: Cluster, place: str) -> None:
    for name in NAMES:
        toys.model(name, seconds=0.3)
    toys.model("toy", seconds=3, mark=str(toys.folder / "mark"))
    hire(toys, site, "one", "two")
    with start(toys, site, place) as process:
        (victim,) = toys.wait_for(toys.folder / "mark")
        name = next(name for name, worker in site.workers.items() if parent(victim) == worker.pid)
        site.kill(name)
        shutil.rmtree(toys.folder / f"store of {name}")
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert "5 verified" in out
    assert ended([victim])


def test_what_was_made_before_the_farm_was_killed_is_not_made_twice(toys: Toys, site: Cluster, place: str) -> None:
    """The first worker's store is lost, and the farm's; what it gave is in the registry."""
    marks = {name: toys.folder / f"mark {name}" for name in ("a", "toy")}
    toys.model("a", mark=str(marks["a"]))
    toys.model("toy", seconds=60, mark=str(marks["toy"]))
    hire(toys, site, "one")
    with start(toys, site, place) as process:
        running = list(toys.wait_for(marks["toy"]))
        toys.wait_for(marks["a"])
        while not (toys.settings.artifacts / "a" / "toy" / "latest").exists():
            assert process.poll() is None
        process.kill()
        process.communicate(timeout=30)
    assert ended(running)
    site.kill("one")
    shutil.rmtree(toys.folder / "store of one")
    shutil.rmtree(toys.settings.artifacts)
    toys.model("toy", mark=str(marks["toy"]))
    hire(toys, site, "two")
    outcomes = run(toys, site, place, "a", "toy")
    assert all(outcome.built for outcome in outcomes)
    assert len(marks["a"].read_text().splitlines()) == 1
    assert len(marks["toy"].read_text().splitlines()) == 2


def test_a_registry_that_is_down_fails_jobs_by_name(toys: Toys, site: Cluster) -> None:
    hire(toys, site, "one")
    (outcome,) = run(toys, site, f"127.0.0.1:{free_port()}/farm")
    assert isinstance(outcome.error, RegistryError)
    assert "cannot be reached" in outcome.error.message


def test_a_worker_that_does_not_reach_the_registry_says_so(toys: Toys, site: Cluster, registry: Registry,
                                                            place: str) -> None:
    toys.model(seconds=2, mark=str(toys.folder / "mark"))
    hire(toys, site, "one")
    own = Registry(folder=toys.folder / "registry")
    own.start()
    try:
        with start(toys, site, f"{own.host}/farm") as process:
            toys.wait_for(toys.folder / "mark")
            own.stop()
            out, _ = process.communicate(timeout=60)
    finally:
        own.stop()
    assert process.returncode == 8, out
    assert "cannot be reached" in out
    (outcome,) = run(toys, site, place)
    assert outcome.built, "the worker has it, and gives it when it can"
    assert len((toys.folder / "mark").read_text().splitlines()) == 1


@pytest.mark.parametrize("name", ["https://host/farm", "host:5000/Farm"])
def test_a_name_that_no_registry_takes_is_refused_at_once(toys: Toys, site: Cluster, name: str) -> None:
    with start(toys, site, name) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 2, out
    assert "REGISTRY=" in out
