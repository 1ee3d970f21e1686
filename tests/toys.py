"""A farm of toys: the real store, runner and jobkit around a toolchain of numpy alone, so that a job takes a blink.

The toy model multiplies by a gain. Its "weights" are a JSON file, which also says what is to go wrong: so a test
chooses by words what its toolchain does.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from modelfarm.board import Blocks
from modelfarm.build import Builder
from modelfarm.console import Console
from modelfarm.engines.engine import Outcome
from modelfarm.farm import Farm
from modelfarm.job import Job
from modelfarm.plan import Planner, Request
from modelfarm.settings import ROOT, Settings
from modelfarm.target import Target, read_targets

TARGET = """\
title: Toy
reads: [torch]
makes: toy
python: "{python}"
precisions: [fp32]
promises: [model.toy]
seconds: {seconds}
options:
  rounds: {{type: integer, minimum: 1, default: 1, help: how often}}
"""

CONVERTER = '''
"""Gains: y = gain * x."""
import json, os, time
from pathlib import Path

import numpy as np
from jobkit import Device, Refused, Runtime, Tensor, UnusableError

PACKAGES = ("toy",)

def convert(job):
    wish = _weights(job)
    if "mark" in wish:
        with open(wish["mark"], "a") as file:
            file.write(f"{os.getpid()}\\n")
    job.events.note(f"this is {job.model}")
    for part in range(10):
        job.events.progress(part, 10)
        time.sleep(wish.get("seconds", 0) / 10)
    if "refuse" in wish:
        raise Refused(wish["refuse"], "write another gain")
    if "crash" in wish:
        raise KeyError(wish["crash"])
    if "die" in wish:
        print("last words", flush=True)
        os._exit(wish["die"])
    job.facts["rounds"] = job.options["rounds"]
    (job.out / "model.toy").write_text(json.dumps({"gain": wish["gain"] + wish.get("error", 0)}))
    return ["model.toy"]

def load(files, job):
    if "unusable" in _weights(job):
        raise UnusableError(_weights(job)["unusable"], "pad it otherwise")
    return _runtime(json.loads((job.out / files[0]).read_text())["gain"], job)

def reference(job):
    return _runtime(_weights(job)["gain"], job)

def _weights(job):
    return json.loads(job.source.weights.read_text()) if job.source.weights else {"gain": 7}

def _runtime(gain, job):
    def run(inputs):
        return {"y": np.float32(gain) * inputs["x"]}
    shape = job.inputs[0].shape
    device = Device("cpu", _weights(job).get("device", "cpu"), "numpy")
    return Runtime(run, (Tensor("x", shape, "float32"),), (Tensor("y", shape, "float32"),), device)
'''

RECIPE = """\
name: {name}
description: a toy called {name}
source: {{torch: {{module: toy.py, factory: toy, weights: {{file: toy.pt}}}}}}
inputs: {{x: {{shape: [1, 3]}}}}
outputs: [y]
{more}
targets: {{toy: {{}}}}
"""


@dataclass(frozen=True)
class ToyFarm(Farm):
    """A farm whose targets lie in a folder of its own."""

    @cached_property
    def targets(self) -> dict[str, Target]:
        return read_targets(self.settings.models.parent / "docker")


@dataclass(frozen=True, kw_only=True)
class Toys:
    """Models, a toolchain and a store below one folder."""

    folder: Path
    cache: Path

    @property
    def settings(self) -> Settings:
        return Settings(models=self.folder / "models", artifacts=self.folder / "artifacts", data=(), cache=self.cache,
                        runner="venv", torch_index="", jobs=2)

    @property
    def farm(self) -> ToyFarm:
        """Open the farm, as each command does."""
        return ToyFarm(self.settings)

    @property
    def target(self) -> Target:
        return self.farm.targets["toy"]

    def model(self, name: str = "toy", *, more: str = "", **wish: Any) -> Path:
        """Write a model; `wish` is what its toolchain is to do, `more` stands in its recipe."""
        folder = self.folder / "models" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.yaml").write_text(RECIPE.format(name=name, more=more))
        (folder / "toy.py").write_text("# nothing: the toolchain knows how\n")
        (folder / "toy.pt").write_text(json.dumps({"gain": 2, **wish}))
        return folder

    def jobs(self, *models: str, **request: str) -> list[Job]:
        """Plan the models' jobs."""
        farm = self.farm
        planner = Planner(target=self.target, runner=farm.runners.of(self.target), lookup=farm.lookup,
                          digests=farm.digests, request=Request(**request))
        return [job for model in models or ("toy",) for job in planner.jobs(farm.recipe(model))]

    def builder(self) -> Builder:
        farm = self.farm
        return Builder(store=farm.store, runners=farm.runners.of)

    def run(self, jobs: Sequence[Job], console: Console | None = None, *, at_a_time: int = 1) -> list[Outcome]:
        """Run jobs as the farm does."""
        console = console or Console(io.StringIO(), live=False)
        return self.farm.run(jobs, Blocks(console), console, at_a_time=at_a_time)

    def wait_for(self, mark: Path, lines: int = 1) -> Sequence[int]:
        """Return the processes that have written their numbers into a file, when there are so many."""
        import time

        end = time.monotonic() + 30
        while not mark.is_file() or mark.read_text().count("\n") < lines:
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.01)
        return [int(line) for line in mark.read_text().splitlines()]


def make_toys(folder: Path, cache: Path, *, seconds: int = 30) -> Toys:
    """Write the toolchain; its package is found by pip in a folder of `cache`."""
    toolchain = folder / "docker" / "toy"
    toolchain.mkdir(parents=True)
    shutil.copytree(ROOT / "docker" / "jobkit", folder / "docker" / "jobkit",
                    ignore=shutil.ignore_patterns("__pycache__"))
    python = "{}.{}".format(*sys.version_info[:2])
    (toolchain / "target.yaml").write_text(TARGET.format(python=python, seconds=seconds))
    (toolchain / "requirements.txt").write_text("toy==1.0\n")
    (toolchain / "converter.py").write_text(CONVERTER)
    return Toys(folder=folder, cache=cache)


def make_toy_wheel(folder: Path) -> None:
    """Write a wheel that lends this interpreter's numpy to the environment that it is installed in."""
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "toy-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toy.pth", str(Path(np.__file__).parents[1]))
        wheel.writestr("toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        wheel.writestr("toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("toy-1.0.dist-info/RECORD", "")
