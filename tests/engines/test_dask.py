"""The Dask engine on a cluster of real processes: the same results, deaths, refusals, cancelling."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from modelfarm.board import Blocks
from modelfarm.console import Console
from modelfarm.engines.engine import Outcome
from modelfarm.errors import ConversionError, MachineError
from modelfarm.farm import Farm
from modelfarm.settings import ROOT
from tests.engines.cluster import Cluster, cluster
from tests.engines.test_local import alive
from tests.toys import ToyFarm, Toys

NAMES = ["a", "b", "c", "d", "e", "f"]

# What `make nightly ENGINE=...` does, with toys.
COMMAND = """
import sys
from dataclasses import replace
from pathlib import Path
from modelfarm.door import door
from modelfarm.plan import Request
from modelfarm.shift import work
from tests.toys import ToyFarm, Toys
toys = Toys(folder=Path(sys.argv[1]), cache=Path(sys.argv[2]))
with door() as console:
    raise SystemExit(work(ToyFarm(replace(toys.settings, engine=sys.argv[3])), "", Request(), console))
"""


def farm(toys: Toys, site: Cluster) -> ToyFarm:
    return ToyFarm(replace(toys.settings, engine=site.address))


def run(toys: Toys, site: Cluster, *models: str) -> tuple[list[Outcome], list[str]]:
    """Run the jobs of models on a cluster; return their outcomes and the lines on the console."""
    stream = io.StringIO()
    opened = farm(toys, site)
    console = Console(stream, live=False)
    outcomes = opened.run(jobs(opened, *models), Blocks(console), console, at_a_time=None)
    return outcomes, stream.getvalue().splitlines()


def jobs(opened: Farm, *models: str) -> list[object]:
    from modelfarm.plan import Request

    planner = opened.planner(opened.targets["toy"], Request(), Console(io.StringIO(), live=False))
    return [job for model in models or ("toy",) for job in planner.jobs(opened.recipe(model))]  # type: ignore[return-value]


def test_a_cluster_makes_what_this_machine_makes_under_the_same_keys(toys: Toys, site: Cluster) -> None:
    for name in NAMES[:3]:
        toys.model(name)
    here = Toys(folder=toys.folder, cache=toys.cache)
    site.toyhand(toys, "one")
    site.toyhand(toys, "two")
    outcomes, lines = run(toys, site, *NAMES[:3])
    assert all(outcome.built and not outcome.error for outcome in outcomes)
    assert {outcome.worker for outcome in outcomes} == {"one", "two"}
    assert "  . this is a" in lines
    abroad = {outcome.job.key: outcome.built.artifact for outcome in outcomes if outcome.job and outcome.built}
    toys.settings.artifacts.rename(toys.folder / "theirs")
    for outcome in here.run(here.jobs(*NAMES[:3])):
        assert outcome.job and outcome.built and not outcome.built.cached
        theirs = abroad[outcome.job.key]
        assert theirs.subjects == outcome.built.artifact.subjects
        assert theirs.manifest == outcome.built.artifact.manifest


def test_inputs_go_through_the_store_and_not_by_path(toys: Toys, site: Cluster) -> None:
    toys.model("a")
    site.toyhand(toys, "one")
    opened = farm(toys, site)
    planned = jobs(opened, "a")
    (toys.settings.models / "a" / "toy.py").rename(toys.folder / "away")
    console = Console(io.StringIO(), live=False)
    (outcome,) = opened.run(planned, Blocks(console), console, at_a_time=None)  # type: ignore[arg-type]
    assert isinstance(outcome.error, MachineError)
    assert "toy.py has gone since the job was planned" in outcome.error.message
    (toys.folder / "away").rename(toys.settings.models / "a" / "toy.py")
    assert run(toys, site, "a")[0][0].built
    kept = sorted(path.name for path in (toys.settings.artifacts / ".inputs").glob("*/*"))
    assert kept == ["toy.pt", "toy.py"]
    assert [artifact.model for artifact in toys.farm.store.artifacts()] == ["a"]


def test_a_toolchain_that_fails_is_not_tried_again(toys: Toys, site: Cluster) -> None:
    mark = toys.folder / "mark"
    toys.model(refuse="no such gain", mark=str(mark))
    toys.model("a")
    for name in ("one", "two"):
        site.toyhand(toys, name)
    outcomes, lines = run(toys, site, "toy", "a")
    assert isinstance(outcomes[0].error, ConversionError)
    assert outcomes[0].error.message == "no such gain"
    assert outcomes[0].error.remedy.startswith("write another gain; everything is kept in ")
    assert outcomes[1].built
    assert len(mark.read_text().splitlines()) == 1
    assert any(line.startswith("  x convert to toy") for line in lines)


def test_where_a_worker_dies_another_goes_on(toys: Toys, site: Cluster) -> None:
    for name in NAMES:
        toys.model(name, seconds=0.5, mark=str(toys.folder / f"mark-{name}"))
    toys.model("toy", seconds=3, mark=str(toys.folder / "mark"))
    for name in ("one", "two", "three"):
        site.toyhand(toys, name)
    with start(toys, site) as process:
        (victim,) = toys.wait_for(toys.folder / "mark")
        name = next(name for name, worker in site.workers.items() if parent(victim) == worker.pid)
        site.kill(name)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert "7 verified" in out
    assert len((toys.folder / "mark").read_text().splitlines()) == 2, "it was started again"
    end = time.monotonic() + 10
    while alive(victim):
        assert time.monotonic() < end, "the toolchain of the dead worker goes on"
        time.sleep(0.02)


def start(toys: Toys, site: Cluster) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", COMMAND, toys.folder, toys.cache, site.address], cwd=ROOT,
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def ended(processes: list[int], seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while any(map(alive, processes)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, processes))


def test_ctrl_c_ends_the_toolchains_on_the_workers(toys: Toys, site: Cluster) -> None:
    mark = toys.folder / "mark"
    for name in ("toy", "a", "b"):
        toys.model(name, seconds=60, mark=str(mark))
    site.toyhand(toys, "one", jobs=2, CPUS="4")
    with start(toys, site) as process:
        running = list(toys.wait_for(mark, 2))
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=40)
    assert process.returncode == 130, out
    assert not any(map(alive, running)), "they are gone before the farm is"
    assert len(mark.read_text().splitlines()) == 2, "no other job was started"
    assert not list((toys.settings.artifacts / ".staging").iterdir())
    toys.model("a")
    assert run(toys, site, "a")[0][0].built, "the worker takes the next job"


def test_a_farm_that_is_killed_takes_its_jobs_along_and_the_next_goes_on(toys: Toys, site: Cluster) -> None:
    mark = toys.folder / "mark"
    toys.model("a", mark=str(toys.folder / "mark-a"))
    toys.model("toy", seconds=60, mark=str(mark))
    site.toyhand(toys, "one", jobs=2, CPUS="4")
    with start(toys, site) as process:
        running = list(toys.wait_for(mark))
        toys.wait_for(toys.folder / "mark-a")
        while not (toys.settings.artifacts / "a" / "toy" / "latest").exists():
            assert process.poll() is None
        process.kill()
        process.communicate(timeout=30)
    assert ended(running), "the worker goes on with what nobody waits for"
    toys.model("toy", mark=str(mark))
    outcomes, _ = run(toys, site, "a", "toy")
    assert [outcome.built and outcome.built.cached for outcome in outcomes] == [True, True]
    assert not outcomes[0].seconds, "what was done is not done twice"
    assert outcomes[1].seconds


def test_a_job_that_no_worker_offers_the_labels_for_is_refused_at_once_by_name(toys: Toys, site: Cluster) -> None:
    site.toyhand(toys, "small", MEMORY="1GiB")
    opened = farm(toys, site)
    console = Console(io.StringIO(), live=False)
    (outcome,) = opened.run(jobs(opened), Blocks(console), console, at_a_time=None)  # type: ignore[arg-type]
    assert isinstance(outcome.error, MachineError)
    assert "no connected worker can run toy/toy" in outcome.error.message
    assert "small does not offer 8.59 GB of memory" in outcome.error.message
    site.toyhand(toys, "large", MEMORY="9GiB")
    (outcome,) = run(toys, site)[0]
    assert (outcome.worker, bool(outcome.built)) == ("large", True)


def test_without_workers_nothing_waits(toys: Toys, site: Cluster) -> None:
    (outcome,) = run(toys, site)[0]
    assert outcome.error
    assert outcome.error.message == "no worker is connected"
    assert "make worker" in outcome.error.remedy


def test_workers_of_another_checkout_get_no_job(toys: Toys, site: Cluster) -> None:
    other = Toys(folder=toys.folder / "other", cache=toys.cache)
    from tests.toys import make_toys

    make_toys(other.folder, toys.cache)
    converter = other.folder / "docker" / "toy" / "converter.py"
    converter.write_text(converter.read_text() + "\n# another\n")
    site.toyhand(other, "other", ARTIFACTS=str(toys.settings.artifacts))
    site.toyhand(toys, "same")
    for name in NAMES[:3]:
        toys.model(name)
    assert {outcome.worker for outcome in run(toys, site, *NAMES[:3])[0]} == {"same"}


def test_a_worker_that_shares_no_store_says_so(toys: Toys, site: Cluster) -> None:
    site.toyhand(toys, "apart", ARTIFACTS=str(toys.folder / "another"))
    (outcome,) = run(toys, site)[0]
    assert isinstance(outcome.error, MachineError)
    assert "has no input" in outcome.error.message
    assert "ARTIFACTS= must name the same shared folder" in outcome.error.remedy


def test_a_worker_that_comes_later_gets_its_share(toys: Toys, site: Cluster) -> None:
    for name in NAMES[:4]:
        toys.model(name, seconds=2)
    site.toyhand(toys, "one")
    with start(toys, site) as process:
        site.toyhand(toys, "two")
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert "two offers" in site.said("two")


def test_a_scheduler_that_goes_costs_only_what_was_running(toys: Toys, tmp_path: Path) -> None:
    toys.model("a")
    toys.model("toy", seconds=60, mark=str(toys.folder / "mark"))
    toys.model("z")
    with cluster(tmp_path / "own") as own:
        own.toyhand(toys, "one")
        with start(toys, own) as process:
            running = list(toys.wait_for(toys.folder / "mark"))
            assert own.scheduler
            own.scheduler.kill()
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 4, out
        assert "has gone" in out
        assert "what was made is in the store" in out
        assert ended(running), "the worker ended with its scheduler, and its toolchain with it"
    toys.model("toy")
    with cluster(tmp_path / "own") as own:
        own.toyhand(toys, "one")
        outcomes, _ = run(toys, own, "a", "toy", "z")
        assert [bool(outcome.seconds) for outcome in outcomes] == [False, True, True]


def test_a_scheduler_without_the_farms_code_is_told(toys: Toys, tmp_path: Path) -> None:
    with cluster(tmp_path / "own", place=tmp_path) as own:
        own.toyhand(toys, "one")
        (outcome,) = run(toys, own)[0]
        assert isinstance(outcome.error, MachineError)
        assert f"the scheduler at {own.address} cannot read jobs" in outcome.error.message
        assert "in this checkout" in outcome.error.remedy


def test_an_address_where_nobody_answers_is_told(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelfarm.engines.dask._PATIENCE", 0.5)
    opened = ToyFarm(replace(toys.settings, engine="tcp://127.0.0.1:9"))
    with pytest.raises(MachineError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9") as caught:
        assert opened.cluster
    assert "docs/cluster.md" in caught.value.remedy
