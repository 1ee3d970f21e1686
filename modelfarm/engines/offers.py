"""Offers: what a worker has for jobs, told as labels, and which jobs it suits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from modelfarm.containers import NAMES
from modelfarm.digest import Digests, key_of
from modelfarm.engines.slots import Need, Slots
from modelfarm.errors import FarmError
from modelfarm.gpu import Gpu
from modelfarm.job import Job
from modelfarm.phrase import size
from modelfarm.runners import Runners
from modelfarm.runners.venv import VenvRunner, interpreter
from modelfarm.survey import surveys
from modelfarm.target import Target

MEMORY, CPUS = "memory", "cpus"  # labels with a quantity: bytes and processors for all jobs together
_PLENTY = 1e9  # of a label that is no quantity: it is there for every job
_DIGITS = 12
_FARM = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A toolchain that a worker has: what of it goes into keys, what else is known, and the GPU of its jobs."""

    target: str
    runner: str
    identity: Mapping[str, Any]
    provenance: Mapping[str, Any]
    gpu: Gpu | None = None

    @property
    def label(self) -> str:
        """Return the label by which a job asks for just this toolchain."""
        return _label(self.target, key_of([dict(self.identity), self.gpu.identity if self.gpu else None]))


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A worker: its name and address, how many jobs it takes at a time, and its labels with their quantities."""

    name: str
    address: str
    jobs: int
    labels: Mapping[str, float]

    def slots(self) -> Slots:
        """Return its slots, all free."""
        return Slots(memory=int(self.labels.get(MEMORY, 0)), cpus=self.labels.get(CPUS, 0), jobs=self.jobs)

    def lacks(self, job: Job) -> Iterator[str]:
        """Yield what a job wants and this worker does not offer, in words."""
        for label, words in wanted(job).items():
            if label not in self.labels:
                yield words
        if job.target.memory > self.labels.get(MEMORY, 0):
            yield f"{size(job.target.memory)} of memory"


def wanted(job: Job) -> dict[str, str]:
    """Return the labels that a job wants of its worker, each in words: what a person knows first, digests last."""
    card = job.identity.get("gpu")
    labels = {job.runner: job.runner}
    if card:
        architecture = f"sm_{card['capability'].replace('.', '')}"
        labels |= {"gpu": "a GPU", architecture: architecture}
    name = job.target.folder.name
    return {**labels, farm_label(): "this version of the farm",
            _label(name, job.made_with): f"the {name} toolchain as it is here"}


def resources(job: Job, cpus: float) -> dict[str, float]:
    """Return what a job takes of its worker, which has `cpus` processors at most, as Dask counts it."""
    need = Need.of(job.target)
    taken = {MEMORY: float(need.memory), CPUS: min(need.cpus, cpus)}
    return {**dict.fromkeys(wanted(job), 1.0), **taken}


def refusal(job: Job, offers: Sequence[Offer]) -> str:
    """Return why none of the workers could ever run a job; empty where one could."""
    lacking = {offer.name: ", ".join(offer.lacks(job)) for offer in offers}
    if any(not words for words in lacking.values()):
        return ""
    listed = "".join(f"\n    {name} does not offer {words}" for name, words in sorted(lacking.items()))
    return f"no connected worker can run {job.name}{listed}" if listed else "no worker is connected"


def labels(tools: Sequence[Tool], slots: Slots, more: Sequence[str] = ()) -> dict[str, float]:
    """Return all that a worker offers, as Dask counts it; `more` are labels of the user's own."""
    cards = [tool.gpu for tool in tools if tool.gpu]
    plain = [*more, farm_label(), *(tool.runner for tool in tools), *(tool.label for tool in tools)]
    return {**dict.fromkeys(plain, _PLENTY), **({"gpu": 1.0, cards[0].architecture: _PLENTY} if cards else {}),
            MEMORY: float(slots.memory or 0), CPUS: float(slots.cpus or 1)}


def find_tools(runners: Runners, targets: Sequence[Target], digests: Digests) -> list[Tool]:
    """Return every toolchain that works here, under each runner that it works in.

    RUNNER= narrows it down. Engines that do not answer are asked once, not for each target.
    """
    wanted = runners.settings.runner
    answering = [each.client.name for each in surveys() if not each.problem] if wanted != "venv" else []
    names = [name for name in ("venv", *NAMES) if wanted in ("auto", name) and (name == "venv" or name in answering)]
    found = []
    for name in names:
        here = replace(runners, settings=replace(runners.settings, runner=name), _chosen={}, _gpus=[])
        for target in targets:
            if tool := _tool(here, target, digests):
                found.append(tool)
    return found


def _tool(runners: Runners, target: Target, digests: Digests) -> Tool | None:
    try:
        runner = runners.of(target)
        if isinstance(runner, VenvRunner):
            interpreter(target)
        return Tool(target=target.folder.name, runner=runner.name, gpu=runners.gpu(target),
                    identity=dict(runner.identity(target, digests)),
                    provenance=dict(runner.provenance(target, digests)))
    except FarmError:
        return None


def _label(target: str, digest: str) -> str:
    return f"{target}:{digest[:_DIGITS]}"


@cache
def farm_label() -> str:
    """Return the label of the farm's own code: another version prepares samples and judges results otherwise."""
    code = {str(file.relative_to(_FARM)): file.read_text(encoding="utf-8") for file in sorted(_FARM.rglob("*.py"))}
    return f"farm:{key_of(code)[:_DIGITS]}"
