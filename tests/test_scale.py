"""The benchmarks of size do what they say, on a few models: no time is asserted."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci import pages, scale
from tests.toys import Toys


def test_a_farm_of_many_models_plans_all_its_variants() -> None:
    with scale.many(3, 4) as farm:
        jobs = scale.planned(farm)
    assert [job.name for job in jobs[:4]] == ["model0/bench0-fp32", "model0/bench0-fp16", "model0/bench1-fp32",
                                              "model0/bench1-fp16"]
    assert len({job.key for job in jobs}) == 12


def test_a_filled_store_is_found_whole(toys: Toys) -> None:
    toys.run(toys.jobs())
    pattern = toys.farm.artifact("toy", "toy").folder
    with scale.many(2, 2) as farm:
        jobs = scale.planned(farm)
        scale.fill(farm, jobs, pattern)
        assert all(farm.store.find(job.recipe.name, job.variant, job.key) for job in jobs)
        scale._night(farm)
        (night,) = (farm.settings.artifacts / "nights").glob("*.json")
        assert night.read_text().count('"state": "cached"') == 4


@pytest.mark.parametrize("name", ["local", "dask"])
def test_jobs_that_only_sleep_come_to_an_end(name: str) -> None:
    with scale.many(2, 2) as farm:
        jobs = scale.planned(farm)
        if name == "local":
            assert scale.spent(scale.local(farm, 2, 0.1), jobs) >= 0.2
        else:
            with scale.cluster(farm, 2, 0.1) as engine:
                assert scale.spent(engine, jobs) >= 0.2
        assert not (Path(farm.settings.artifacts) / "model0").exists()


def test_the_report_is_written_once_and_then_only_what_changed(toys: Toys) -> None:
    toys.run(toys.jobs())
    pattern = toys.farm.artifact("toy", "toy").folder
    rows = pages.bench_report(pattern, 2, 4)
    assert [name.partition(" /")[0] for name, _ in rows] == [
        "report of 8 versions", "the same again, nothing changed", "the same again, one changed"]
    assert all(ratio > 0 for _, ratio in rows)


def test_a_report_that_writes_too_much_or_too_little_is_no_figure(toys: Toys) -> None:
    toys.run(toys.jobs())
    pattern = toys.farm.artifact("toy", "toy").folder
    with scale.many(1, 2) as farm:
        scale.fill(farm, scale.planned(farm), pattern)
        pages._write(farm, fresh=2)
        with pytest.raises(AssertionError):
            pages._write(farm, fresh=1)
