"""Slots: what fits beside what, and that nothing waits for ever."""

from __future__ import annotations

import pytest

from modelfarm.engines.slots import Need, Slots
from modelfarm.target import read_targets

GIB = 1 << 30


def need(memory: int = 1, cpus: float = 1.0, *, gpu: bool = False) -> Need:
    return Need(memory=memory * GIB, cpus=cpus, gpu=gpu)


def taken(slots: Slots, *needs: Need) -> list[bool]:
    return [slots.take(each) for each in needs]


def test_memory_is_shared_out_and_given_back() -> None:
    slots = Slots(memory=8 * GIB, cpus=100)
    assert taken(slots, need(4), need(4), need(1)) == [True, True, False]
    slots.give(need(4))
    assert taken(slots, need(1), need(3), need(1)) == [True, True, False]


def test_so_are_processors() -> None:
    slots = Slots(memory=100 * GIB, cpus=4)
    assert taken(slots, need(cpus=2), need(cpus=1.5), need(cpus=1)) == [True, True, False]


def test_what_is_larger_than_the_machine_runs_alone() -> None:
    slots = Slots(memory=4 * GIB, cpus=2)
    assert taken(slots, need(16, 8), need(1)) == [True, False]
    slots.give(need(16, 8))
    assert taken(slots, need(1), need(16, 8)) == [True, False]


@pytest.mark.parametrize("jobs", [None, 5])
def test_one_job_has_the_gpu_and_others_run_beside_it(jobs: int | None) -> None:
    slots = Slots(memory=100 * GIB, cpus=100, jobs=jobs)
    assert taken(slots, need(gpu=True), need(gpu=True), need(), need()) == [True, False, True, True]
    slots.give(need(gpu=True))
    assert slots.take(need(gpu=True))


def test_the_users_word_stands_above_memory_and_processors() -> None:
    slots = Slots(memory=1, cpus=1, jobs=3)
    assert taken(slots, *[need(8, 8)] * 4) == [True, True, True, False]
    assert slots.several
    assert not Slots(memory=1, cpus=1, jobs=1).several


def test_the_targets_say_what_their_jobs_need() -> None:
    onnx = read_targets()["onnx"]
    assert Need.of(onnx) == Need(memory=onnx.memory, cpus=onnx.cpus or 2.0, gpu=False)
