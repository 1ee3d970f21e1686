"""What jobs hand on to later ones: in no key, named by the manifest, for one target and one GPU."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfarm import handed
from modelfarm.build import Builder, Built
from modelfarm.console import Console
from modelfarm.job import Job
from modelfarm.plan import Planner, Request
from modelfarm.target import read_target
from tests.gpus import RTX_3060, RTX_4090
from tests.toys import CONVERTER, Toys

# A toolchain that counts how often it was asked, by way of what it hands on.
COUNTING = CONVERTER.replace("def convert(job):", '''def convert(job):
    handed = job.folder / "in" / "count"
    count = int(handed.read_text()) if handed.is_file() else 0
    job.facts["count"] = count
    (job.out / "count").write_text(str(count + 1))
''')


@pytest.fixture
def counting(toys: Toys) -> Toys:
    shutil.rmtree(toys.cache / handed.FOLDER, ignore_errors=True)  # other tests share the cache
    folder = toys.target.folder
    (folder / "converter.py").write_text(COUNTING)
    (folder / "target.yaml").write_text((folder / "target.yaml").read_text() + "hands_on: [count]\n")
    return toys


def plan(toys: Toys, gain: int, gpu: Any = None) -> Job:
    toys.model(gain=gain)
    farm = toys.farm
    target = read_target(toys.target.folder / "target.yaml")
    planner = Planner(target=target, runner=farm.runners.venv, lookup=farm.lookup, digests=farm.digests,
                      request=Request(), gpu=gpu)
    (job,) = planner.jobs(farm.recipe("toy"))
    return job


def build(toys: Toys, job: Job) -> Built:
    farm = toys.farm
    return Builder(store=farm.store, runners=lambda target: farm.runners.venv).build(job, Console(io.StringIO()))


def facts(built: Built) -> Any:
    return built.artifact.manifest["predicate"]["verification"]["facts"]


def dependencies(built: Built) -> dict[str, str]:
    entries = built.artifact.manifest["predicate"]["buildDefinition"]["resolvedDependencies"]
    return {entry["name"]: entry["digest"]["sha256"] for entry in entries
            if entry["annotations"]["role"] == "handed on"}


def test_the_first_job_is_handed_nothing_and_the_next_what_it_left(counting: Toys) -> None:
    first, second = build(counting, plan(counting, 2)), build(counting, plan(counting, 3))
    assert (facts(first)["count"], dependencies(first)) == (0, {})
    assert facts(second)["count"] == 1
    assert dependencies(second) == {"count": hashlib.sha256(b"1").hexdigest()}


def test_it_is_in_no_key_and_no_part_of_the_artifact(counting: Toys) -> None:
    before = plan(counting, 2)
    built = build(counting, before)
    assert plan(counting, 2).key == before.key
    assert build(counting, plan(counting, 2)).cached
    assert "count" not in built.artifact.subjects
    assert not (built.artifact.folder / "count").exists()
    assert "count" not in (built.artifact.folder / "reproduce.sh").read_text()


def test_a_job_that_fails_its_gates_hands_nothing_on(counting: Toys) -> None:
    job = plan(counting, 2)
    counting.model(gain=2, error=1)
    farm = counting.farm
    (wrong,) = Planner(target=job.target, runner=farm.runners.venv, lookup=farm.lookup, digests=farm.digests,
                       request=Request()).jobs(farm.recipe("toy"))
    with pytest.raises(Exception, match="gate parity"):
        build(counting, wrong)
    assert facts(build(counting, plan(counting, 3)))["count"] == 0


def test_each_gpu_and_driver_has_its_own(counting: Toys, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    places = {handed.place(plan(counting, 2, gpu), cache)
              for gpu in (None, RTX_3060, RTX_4090, replace(RTX_3060, driver="550"))}
    assert len(places) == 4
    twin = replace(RTX_3060, index=3, uuid="GPU-another")
    assert handed.place(plan(counting, 2, twin), cache) == handed.place(plan(counting, 2, RTX_3060), cache)
    assert handed.place(plan(counting, 5, RTX_3060), cache) in places, "models share it"
    assert "8.6" in handed.place(plan(counting, 2, RTX_3060), cache).name


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(counting: Toys, tmp_path: Path) -> None:
    job, out = plan(counting, 2), tmp_path / "out"
    out.mkdir()
    (out / "count").write_text("7")
    (tmp_path / "file").write_text("no folder")
    handed.take(job, tmp_path / "file", out)
    (tmp_path / "in").mkdir()
    assert handed.give(job, tmp_path / "file", tmp_path / "in") == {}
    handed.take(job, tmp_path, out)
    assert handed.give(job, tmp_path, tmp_path / "in") == {"count": hashlib.sha256(b"7").hexdigest()}
    assert [file.name for file in handed.place(job, tmp_path).iterdir()] == ["count"], "nothing half-written is left"


def test_what_is_no_name_of_a_file_is_refused(counting: Toys) -> None:
    file = counting.target.folder / "target.yaml"
    file.write_text(file.read_text().replace("[count]", "[../count]"))
    with pytest.raises(Exception, match="hands_on"):
        read_target(file)


def test_what_a_toy_measures_beside_its_latency_is_in_the_report(toys: Toys) -> None:
    text = CONVERTER.replace("),), device)", "),), device, figures=lambda inputs: {'items per second': 12.5})")
    (toys.target.folder / "converter.py").write_text(text)
    built = build(toys, plan(toys, 2))
    smoke = json.loads(built.artifact.path("smoke.json").read_text())
    assert smoke["latency"]["figures"] == {"items per second": 12.5}
    assert "items per second: 12.5" in built.artifact.path("smoke.log").read_text()
