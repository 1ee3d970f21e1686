"""A farm hand with toys: what `modelfarm.hand` does, for the farm that TOYS and TOYS_CACHE name."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelfarm.hand import hire
from modelfarm.settings import from_environment
from tests.toys import ToyFarm, Toys


def dask_setup(worker: Any) -> None:
    toys = Toys(folder=Path(os.environ["TOYS"]), cache=Path(os.environ["TOYS_CACHE"]))
    given = from_environment()
    hire(ToyFarm(replace(toys.settings, artifacts=given.artifacts, runner=given.runner, memory=given.memory,
                         cpus=given.cpus, labels=given.labels)), worker)
