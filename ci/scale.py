"""Benchmarks of size: a plan of thousands of jobs, a night with nothing to do, and engines whose jobs only sleep."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from modelfarm.artifact import LATEST, MANIFEST, version_of
from modelfarm.build import Builder, Built
from modelfarm.console import Console
from modelfarm.engines.dask import DaskEngine
from modelfarm.engines.engine import Engine, Outcome
from modelfarm.engines.graph import Graph
from modelfarm.engines.local import LocalEngine
from modelfarm.engines.offers import find_tools, labels
from modelfarm.engines.slots import Slots
from modelfarm.engines.worker import Report, Site, enlist
from modelfarm.farm import Farm
from modelfarm.job import Job
from modelfarm.plan import Request
from modelfarm.settings import from_environment
from modelfarm.shift import work
from modelfarm.target import Target, read_targets

MODELS, VARIANTS = 200, 10
NAP = 2.0  # seconds that a job sleeps: less than the shortest real conversion takes
WORKERS = (2, 8, 32)
_EACH = 6  # jobs of a worker

_TARGET = """\
title: Bench
reads: [torch]
makes: bench
python: "3.11"
precisions: [fp32, fp16]
promises: [model.bench]
memory: 1GiB
cpus: 1
options:
  opset: {type: integer, default: 12, help: an option}
"""
_RECIPE = """\
name: NAME
description: one of many
source:
  torch: {module: net.py, factory: build, weights: {file: net.pt}}
inputs:
  input: {shape: [1, 3, 64, 64], layout: NCHW, picture: {resize: letterbox, color: rgb, scale: 1/255}}
outputs: [scores]
decoder: {classification: {labels: labels.txt}}
samples: {pictures: ["*.png"], random: 2}
targets:
"""


@dataclass(frozen=True)
class _Many(Farm):
    """A farm of many models, whose targets lie beside them."""

    @cached_property
    def targets(self) -> dict[str, Target]:
        """Return the targets of the benchmark."""
        return read_targets(self.settings.models.parent / "docker")


@contextmanager
def many(models: int = MODELS, variants: int = VARIANTS) -> Iterator[_Many]:
    """Give a farm of so many models, each with so many variants: two precisions of half as many targets."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        names = [f"bench{number}" for number in range(variants // 2)]
        (root / "docker" / "jobkit").mkdir(parents=True)
        for name in names:
            (root / "docker" / name).mkdir()
            (root / "docker" / name / "target.yaml").write_text(_TARGET)
            (root / "docker" / name / "requirements.txt").write_text("bench==1\n")
            (root / "docker" / name / "converter.py").write_text("def convert(job): ...\n")
        targets = "".join(f"  {name}: {{precision: [fp32, fp16]}}\n" for name in names)
        for number in range(models):
            _write_model(root / "models" / f"model{number}", targets)
        yield _Many(replace(from_environment({"RUNNER": "venv"}), models=root / "models",
                            artifacts=root / "artifacts", cache=root / "cache", data=()))


def _write_model(folder: Path, targets: str) -> None:
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(_RECIPE.replace("NAME", folder.name) + targets)
    (folder / "net.py").write_text("import torch\n\n\ndef build():\n    return torch.nn.Identity()\n")
    (folder / "labels.txt").write_text("cat\ndog\n")
    for name in ("net.pt", "a.png", "b.png", "c.png"):
        (folder / name).write_bytes(f"{folder.name} {name}".encode() * 1000)


def planned(farm: Farm) -> list[Job]:
    """Return the jobs of all models."""
    jobs, rows = farm.matrix(Request(), Console(io.StringIO(), live=False)).plan(farm.models())
    assert not rows, rows[0]
    return jobs


def fill(farm: Farm, jobs: Sequence[Job], pattern: Path) -> None:
    """Put an artifact for each job into the farm's store: copies of one under other keys."""
    document = json.loads((pattern / MANIFEST).read_text())
    for job in jobs:
        folder = farm.settings.artifacts / job.recipe.name / job.variant / version_of(job.key)
        shutil.copytree(pattern, folder, ignore=shutil.ignore_patterns("*.png"))
        document["predicate"]["buildDefinition"]["internalParameters"]["key"] = job.key
        (folder / MANIFEST).write_text(json.dumps(document))
        (folder.parent / LATEST).symlink_to(folder.name)


def bench_plan(pattern: Path) -> list[tuple[str, float]]:
    """Time the plan of many models as a new farm makes it, and a night in which all is there."""
    with many() as farm:
        time.sleep(2.1)  # younger files are read again and again, as they may still change
        jobs = planned(farm)
        farm.digests.save()
        fill(farm, jobs, pattern)
        time.sleep(2.1)
        _night(_Many(farm.settings))
        return [(f"plan of {len(jobs)} jobs", _timed(lambda: planned(_Many(farm.settings)))),
                ("a night in which all of them are there", _timed(lambda: _night(_Many(farm.settings))))]


def _night(farm: Farm) -> None:
    code = work(farm, "", Request(), Console(io.StringIO(), live=False))
    assert code == 0


def _timed(action: object) -> float:
    assert callable(action)
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


class Quiet:
    """A watch that says nothing."""

    def begin(self, cached: int, waiting: Sequence[Job]) -> None:
        """Say nothing."""

    def started(self, job: Job) -> None:
        """Say nothing."""

    def ended(self, outcome: Outcome) -> None:
        """Say nothing."""


@dataclass(frozen=True, kw_only=True)
class Sleeper(Builder):
    """A builder whose jobs only sleep."""

    nap: float = NAP

    def build(self, job: Job, console: Console) -> Built:
        """Sleep."""
        time.sleep(self.nap)
        return slept(job)


@dataclass(frozen=True, kw_only=True)
class Bed(Site):
    """A worker's place whose jobs only sleep."""

    nap: float = NAP

    def work(self, job: Job, registry: str, task: str, cancelled: Callable[[], bool]) -> Report:
        """Sleep."""
        time.sleep(self.nap)
        return Report(error=None, lines=(), seconds=self.nap, worker=self.name)


def slept(job: Job) -> Built:
    """Return what a job that slept has made: nothing."""
    return Built(job=job, artifact=None, cached=False)  # type: ignore[arg-type]


def local(farm: Farm, workers: int, nap: float) -> Engine:
    """Return the local engine with so many slots."""
    return LocalEngine(slots=Slots(jobs=workers),
                       builder=lambda stop: Sleeper(store=farm.store, runners=farm.runners.of, cancelled=stop, nap=nap))


@contextmanager
def cluster(farm: Farm, workers: int, nap: float) -> Iterator[Engine]:
    """Give the Dask engine with so many workers, all in this process: its one interpreter lock is the worst case."""
    from distributed import LocalCluster

    tools = find_tools(farm.runners, list(farm.targets.values()), farm.digests)
    offered = labels(tools, Slots(memory=64 << 30, cpus=64))
    with LocalCluster(n_workers=workers, threads_per_worker=1, processes=False,  # type: ignore[no-untyped-call]
                      dashboard_address=None) as made:
        for name, worker in made.workers.items():
            enlist(worker, Bed(name=str(name), store=farm.store, runners=farm.runners, tools=tuple(tools),
                               toolchains=farm.settings.models.parent / "docker", nap=nap), offered)
            made.sync(worker.set_resources, **offered)
        engine = DaskEngine(made.scheduler_address, farm.store, slept)
        yield engine
        engine.close()


def spent(engine: Engine, jobs: Sequence[Job]) -> float:
    """Return the seconds that an engine takes for jobs."""
    return _timed(lambda: Graph(jobs, lambda job: None).run(engine, Quiet()))


def bench_engines() -> list[tuple[str, float]]:
    """Return the efficiency of engines whose jobs only sleep, and what a job costs that does nothing, in ms."""
    rows = []
    with many(max(WORKERS) * _EACH // VARIANTS + 1) as farm:
        jobs = planned(farm)
        for workers in WORKERS:
            some = jobs[:workers * _EACH]
            rows.append((f"local, {workers} workers: efficiency", NAP * _EACH / spent(local(farm, workers, NAP), some)))
            with cluster(farm, workers, NAP) as engine:
                rows.append((f"dask, {workers} workers: efficiency", NAP * _EACH / spent(engine, some)))
        rows.append(("local: ms for a job that does nothing", spent(local(farm, 2, 0), jobs) / len(jobs) * 1e3))
        with cluster(farm, 2, 0) as engine:
            rows.append(("dask: ms for a job that does nothing", spent(engine, jobs) / len(jobs) * 1e3))
    return rows
