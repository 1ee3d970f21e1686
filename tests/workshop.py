"""A toy target and a toy model in a folder, and what plans their jobs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelfarm.digest import Digests
from modelfarm.job import Job
from modelfarm.lookup import Lookup
from modelfarm.plan import Planner, Request
from modelfarm.recipe import Recipe, read_recipe
from modelfarm.runners import VenvRunner
from modelfarm.target import Target, read_target, read_targets
from tests.recipes import make

TARGET = """\
title: Toy
reads: [torch, onnx]
makes: toy
python: "3.11"
precisions: [fp32, fp16]
promises: [model.toy]
options:
  opset: {type: integer, minimum: 0, help: an opset}
  simplify: {type: boolean, default: true, help: whether}
  way: {type: text, default: fast, help: which way}
  room: {type: size, default: 1GiB, help: how large}
  dynamic: {type: axes, default: {}, help: open axes}
  edit: {type: edits, default: {}, help: edits}
"""

READER = """\
title: Reader
reads: [onnx]
needs: {target: toy, options: {opset: 9, dynamic: {}}}
makes: reader
python: "3.11"
precisions: [fp32]
promises: [model.reader]
options:
  level: {type: integer, default: 1, help: how much}
  adapt: {type: edits, default: {four_dimensions: true}, help: edits for the reader}
operators: {takes: [Conv, Relu], remedy: cut it off}
"""

RECIPE = """\
name: toy
description: a toy
source:
  torch: {module: toy.py, factory: build, arguments: {classes: 2}, weights: {file: toy.pt}}
inputs:
  input: {shape: [1, 3, 8, 8], layout: NCHW, picture: {color: rgb, scale: 1/255}}
outputs: [scores]
decoder: {classification: {labels: labels.txt}}
samples: {pictures: ["*.png"], arrays: ["*.npz"], random: 1}
expect: {a.png: {top1: cat}}
targets:
  toy: {opset: 12}
"""


@dataclass
class Workshop:
    """A target and a model in a folder, and what plans them."""

    folder: Path

    @property
    def target(self) -> Target:
        return read_target(self.folder / "docker" / "toy" / "target.yaml")

    @property
    def model(self) -> Path:
        return self.folder / "models" / "toy"

    def recipe(self, old: str = "", new: str = "") -> Workshop:
        """Write the recipe with other words."""
        assert old in RECIPE
        (self.model / "model.yaml").write_text(RECIPE.replace(old, new, 1))
        return self

    def planner(self, **request: Any) -> Planner:
        """Return what plans the toy target's jobs."""
        digests = Digests(self.folder / "cache")
        return Planner(
            target=self.target, digests=digests, request=Request(**request),
            runner=VenvRunner(environments=self.folder / "venvs", torch_index=""),
            lookup=Lookup(data=(self.folder / "data",), downloads=self.folder / "downloads", digests=digests))

    @property
    def read(self) -> Recipe:
        """Read the recipe."""
        targets = read_targets(self.folder / "docker").items()
        return read_recipe(self.model / "model.yaml", {name: target.options for name, target in targets})

    def jobs(self, **request: Any) -> list[Job]:
        return list(self.planner(**request).jobs(self.read))

    def job(self, **request: Any) -> Job:
        (job,) = self.jobs(**request)
        return job

    def reader(self, old: str = "", new: str = "") -> Target:
        """Write a target that starts from the toy's artifact, with other words, and return it."""
        assert old in READER
        folder = self.folder / "docker" / "reader"
        folder.mkdir(exist_ok=True)
        (folder / "target.yaml").write_text(READER.replace(old, new, 1))
        (folder / "requirements.txt").write_text("reader==1\n")
        (folder / "converter.py").write_text("def convert(job): ...\n")
        return read_target(folder / "target.yaml")

    def fed(self, reader: Target, **request: Any) -> Job:
        """Plan the job that lint of a target wants."""
        (job,) = self.planner(**request).fed(self.read, reader)
        return job

    def reading(self, reader: Target, **request: Any) -> Job:
        """Plan the job of a target that starts from the toy's artifact."""
        feeding = self.planner(**{**request, "options": "", "batch": ""})
        (job,) = replace(feeding, target=reader, request=Request(**request), feeding=feeding).jobs(self.read)
        return job


def make_workshop(folder: Path) -> Workshop:
    """Write a target and a model into a folder."""
    target, jobkit = folder / "docker" / "toy", folder / "docker" / "jobkit"
    target.mkdir(parents=True)
    jobkit.mkdir()
    (target / "target.yaml").write_text(TARGET)
    (target / "requirements.txt").write_text("toy==1\n")
    (target / "converter.py").write_text("def convert(job): ...\n")
    (jobkit / "job.py").write_text("x = 1\n")
    make(folder / "models", RECIPE)
    for name in ("a.png", "b.png", "c.npz"):
        (folder / "models" / "toy" / name).write_text(f"content of {name}")
    return Workshop(folder)
