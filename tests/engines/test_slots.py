"""Slots: what fits beside what, and that nothing waits for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelfarm import machine
from modelfarm.engines.slots import Need, Slots
from modelfarm.settings import from_environment
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
    settings = replace(from_environment({}), memory=1, cpus=1)
    slots = Slots.of(settings, 3)
    assert taken(slots, *[need(8, 8)] * 4) == [True, True, True, False]
    assert slots.several
    assert not Slots.of(settings, 1).several


def test_a_share_of_the_machine_can_be_set_aside() -> None:
    slots = Slots.of(replace(from_environment({}), memory=3 * GIB, cpus=5))
    assert (slots.memory, slots.cpus, slots.jobs) == (3 * GIB, 5, None)
    whole = Slots.of(from_environment({}))
    assert (whole.memory, whole.cpus) == (machine.memory(), machine.cores())


def test_a_worker_has_all_three_bounds() -> None:
    assert taken(Slots(memory=9 * GIB, cpus=9, jobs=2), *[need(4)] * 3) == [True, True, False]
    assert taken(Slots(memory=5 * GIB, cpus=9, jobs=2), *[need(4)] * 3) == [True, False, False]


def test_the_targets_say_what_their_jobs_need() -> None:
    onnx = read_targets()["onnx"]
    assert Need.of(onnx) == Need(memory=onnx.memory, cpus=onnx.cpus or 2.0, gpu=False)
