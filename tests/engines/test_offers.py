"""Offers: what workers tell of themselves, what jobs want, and the words of a refusal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelfarm.digest import Digests
from modelfarm.engines.abroad import Abroad, FarRunner
from modelfarm.engines.offers import (
    CPUS,
    MEMORY,
    Offer,
    Tool,
    farm_label,
    find_tools,
    labels,
    refusal,
    resources,
    wanted,
)
from modelfarm.engines.slots import Slots
from modelfarm.errors import MachineError, UsageError
from modelfarm.gpu import Gpu
from modelfarm.hand import MODULE, command
from modelfarm.job import Job
from modelfarm.runners import Runners
from tests.toys import ToyFarm, Toys

GIB = 1 << 30
CARD = Gpu(index=0, uuid="GPU-1", name="A card", capability="8.6", driver="550", cuda="12.4")


@pytest.fixture
def job(toys: Toys) -> Job:
    return toys.jobs()[0]


def tools(toys: Toys) -> list[Tool]:
    farm = toys.farm
    return find_tools(farm.runners, list(farm.targets.values()), farm.digests)


def offer(toys: Toys, name: str = "one", memory: int = 16 * GIB, without: str = "") -> Offer:
    offered = labels(tools(toys), Slots(memory=memory, cpus=4), ["special"])
    return Offer(name=name, address=f"tcp://{name}", jobs=3,
                 labels={label: amount for label, amount in offered.items() if not without or without not in label})


def test_a_worker_offers_its_toolchains_its_farm_and_what_it_has(toys: Toys, job: Job) -> None:
    found = offer(toys).labels
    assert found[MEMORY] == 16 * GIB
    assert found[CPUS] == 4
    assert {"venv", "special", farm_label()} <= set(found)
    assert [label for label in found if label.startswith("toy:")] == [label for label in wanted(job) if "toy:" in label]
    assert "gpu" not in found
    assert "docker" not in found, "RUNNER=venv"


def test_a_worker_that_has_all_suits(toys: Toys, job: Job) -> None:
    assert list(offer(toys).lacks(job)) == []
    assert refusal(job, [offer(toys, "bad", without="venv"), offer(toys)]) == ""


def test_a_refusal_names_each_worker_and_what_it_lacks(toys: Toys, job: Job) -> None:
    words = refusal(job, [offer(toys, "small", memory=GIB), offer(toys, "old", without="farm:"),
                          offer(toys, "bare", without="toy:")])
    assert words.splitlines() == [
        "no connected worker can run toy/toy", "    bare does not offer the toy toolchain as it is here",
        "    old does not offer this version of the farm", "    small does not offer 8.59 GB of memory"]
    assert refusal(job, []) == "no worker is connected"


def test_a_job_for_a_gpu_wants_the_same_card(toys: Toys, job: Job) -> None:
    shiny = replace(job, identity={**job.identity, "gpu": CARD.identity})
    assert [*wanted(shiny).values()][:3] == ["venv", "a GPU", "sm_86"]
    assert list(offer(toys).lacks(shiny)) == ["a GPU", "sm_86", "the toy toolchain as it is here"]
    tool = replace(tools(toys)[0], gpu=CARD)
    offered = labels([tool], Slots(memory=16 * GIB, cpus=4))
    assert (offered["gpu"], "sm_86" in offered) == (1.0, True)
    assert not any(replace(offer(toys), labels=offered).lacks(shiny))
    newer = replace(tool, gpu=replace(CARD, driver="560"))
    assert list(replace(offer(toys), labels=labels([newer], Slots(memory=16 * GIB, cpus=4))).lacks(shiny)) == [
        "the toy toolchain as it is here"]


def test_what_a_job_takes_is_counted_and_no_more_processors_than_there_are(job: Job) -> None:
    taken = resources(job, 1.0)
    assert (taken[MEMORY], taken[CPUS]) == (job.target.memory, 1.0)
    assert resources(job, 8.0)[CPUS] == 2.0
    assert all(taken[label] == 1.0 for label in wanted(job))


def test_another_converter_is_another_toolchain(toys: Toys) -> None:
    (before,) = tools(toys)
    converter = toys.folder / "docker" / "toy" / "converter.py"
    converter.write_text(converter.read_text() + "\n")
    (after,) = tools(toys)
    assert before.label != after.label
    assert before.label.startswith("toy:")


def test_a_toolchain_without_its_interpreter_is_not_offered(toys: Toys) -> None:
    file = toys.folder / "docker" / "toy" / "target.yaml"
    file.write_text(file.read_text().replace('python: "3.11"', 'python: "3.99"'))
    assert tools(toys) == []
    file.write_text(file.read_text().replace('python: "3.99"', 'python: "3.11"') + "environment: image\n")
    assert tools(toys) == []


# The farm's side


def abroad(toys: Toys, *offered: Tool, runner: str = "venv", here: bool = True) -> Abroad:
    settings = replace(toys.settings, runner=runner)
    own = Runners(settings=settings, digests=Digests(toys.cache))
    if not here:
        (toys.folder / "docker" / "toy" / "target.yaml").write_text(
            (toys.folder / "docker" / "toy" / "target.yaml").read_text() + "environment: image\n")
    return Abroad(settings=settings, digests=own.digests, here=own, tools=offered)


def test_keys_are_those_of_this_machine_where_a_worker_has_the_same(toys: Toys) -> None:
    (same,) = tools(toys)
    other = replace(same, identity={**same.identity, "lock": "another"})
    chosen = abroad(toys, other, other, same).of(toys.target)
    assert isinstance(chosen, FarRunner)
    assert chosen.tool == same
    assert chosen.identity(toys.target, toys.farm.digests) == same.identity


def test_else_the_workers_decide_images_first_and_then_the_most(toys: Toys) -> None:
    (own,) = tools(toys)
    one, two = (replace(own, identity={**own.identity, "lock": lock}) for lock in ("one", "two"))
    image = replace(own, runner="docker", identity={"image": "content"})
    assert abroad(toys, one, two, two).of(toys.target).identity(toys.target, toys.farm.digests) == two.identity
    assert abroad(toys, one, image, runner="auto", here=False).of(toys.target).name == "docker"
    assert abroad(toys, one, image).of(toys.target).name == "venv", "RUNNER=venv"


def test_a_farm_without_a_gpu_plans_for_the_card_of_a_worker(toys: Toys) -> None:
    file = toys.folder / "docker" / "toy" / "target.yaml"
    (own,) = tools(toys)
    file.write_text(file.read_text() + "device: gpu\n")
    far = abroad(toys, replace(own, gpu=CARD))
    assert far.gpu(toys.target) == CARD
    with pytest.raises(MachineError, match="needs an NVIDIA GPU"):
        abroad(toys).gpu(toys.target)


def test_where_no_worker_has_a_toolchain_this_machines_own_is_planned_with(toys: Toys) -> None:
    assert abroad(toys).of(toys.target).name == "venv"
    assert not isinstance(abroad(toys).of(toys.target), FarRunner)


def test_a_far_runner_runs_nothing_here(toys: Toys) -> None:
    runner = FarRunner(tool=tools(toys)[0])
    for act in (lambda: runner.prepare(toys.target, None),  # type: ignore[arg-type]
                lambda: runner.run(toys.target, Path(), Path(), lambda: None, 1.0), lambda: runner.script(toys.target)):
        with pytest.raises(MachineError, match="the toy toolchain is on the workers, not here"):
            act()


# make worker


def test_the_command_of_a_worker(toys: Toys) -> None:
    farm = ToyFarm(replace(toys.settings, engine="tcp://head:8786"))
    argv = command(farm, "mine")
    assert argv[1:4] == ["-m", "distributed.cli.dask_worker", "tcp://head:8786"]
    assert argv[argv.index("--preload") + 1] == MODULE
    assert argv[argv.index("--nthreads") + 1] == "2", "JOBS=2"
    assert argv[argv.index("--name") + 1] == "mine"
    free = ToyFarm(replace(farm.settings, jobs=None, cpus=7))
    assert command(free, "")[argv.index("--nthreads") + 1] == "7"
    assert "--name" not in command(free, "")
    with pytest.raises(UsageError, match="which scheduler") as caught:
        command(toys.farm, "")
    assert caught.value.remedy == "make worker ENGINE=tcp://head:8786"


def test_what_neither_a_worker_nor_this_machine_has_is_refused_by_name(toys: Toys,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER", str(toys.folder / "none"))
    (tool,) = find_tools(toys.farm.runners, [toys.target], toys.farm.digests)
    with pytest.raises(MachineError, match=r"no connected worker offers the toy toolchain in docker: they offer "
                                           r"toy \(venv\); here, ") as caught:
        abroad(toys, tool, runner="docker").of(toys.target)
    assert "make worker" in caught.value.remedy
    with pytest.raises(MachineError, match="they offer no toolchain"):
        abroad(toys, runner="docker").of(toys.target)
