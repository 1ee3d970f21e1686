"""Farm hands: a Dask worker becomes one of the farm's with `--preload modelfarm.hand`, as `make worker` does."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from modelfarm.console import Console
from modelfarm.engines.inputs import Inputs
from modelfarm.engines.offers import find_tools, labels
from modelfarm.engines.slots import Slots
from modelfarm.engines.worker import Site, enlist
from modelfarm.errors import UsageError
from modelfarm.farm import Farm
from modelfarm.phrase import size
from modelfarm.settings import LOCAL, ROOT

MODULE = "modelfarm.hand"


def dask_setup(worker: Any) -> None:
    """Let a Dask worker offer what this machine has; Dask calls it before the worker connects."""
    hire(Farm.here(), worker)


def hire(farm: Farm, worker: Any) -> None:
    """Look at what the machine has, offer it, and say so."""
    farm = replace(farm, settings=replace(farm.settings, engine=LOCAL))  # its jobs run here, whoever sends them
    targets = list(farm.targets.values())
    tools = find_tools(farm.runners, targets, farm.digests)
    farm.digests.save()
    farm.store.sweep()
    Inputs(store=farm.store).sweep()
    slots = Slots.of(farm.settings)
    offered = labels(tools, slots, farm.settings.labels)
    site = Site(name=str(worker.name), store=farm.store, runners=farm.runners, tools=tuple(tools),
                toolchains=targets[0].folder.parent)
    enlist(worker, site, offered)
    names = ", ".join(sorted({f"{tool.target} ({tool.runner})" for tool in tools})) or "none"
    print(f"  {site.name} offers {size(slots.memory or 0)} of memory, {slots.cpus:g} processors; toolchains: {names}; "
          f"store: {farm.store.root}", flush=True)


def command(farm: Farm, name: str, more: Sequence[str] = ()) -> list[str]:
    """Return the command that starts a worker of the scheduler that ENGINE= names; raises UsageError without one."""
    settings = farm.settings
    if settings.engine == LOCAL:
        raise UsageError("which scheduler?", remedy="make worker ENGINE=tcp://head:8786")
    at_a_time = settings.jobs or int(Slots.of(settings).cpus or 1)
    named = ["--name", name] if name else []
    # Jobs live in processes of their own: what Dask knows of memory is not theirs.
    return [sys.executable, "-m", "distributed.cli.dask_worker", settings.engine, "--preload", MODULE, "--nthreads",
            str(at_a_time), "--memory-limit", "0", "--no-dashboard", *named, *more]


def labour(farm: Farm, name: str, console: Console) -> None:
    """Become a worker, until the scheduler goes away or somebody ends it."""
    argv = command(farm, name)
    console.line(f"  $ {' '.join(argv)}")
    console.close()
    os.chdir(ROOT)
    os.execv(argv[0], argv)
