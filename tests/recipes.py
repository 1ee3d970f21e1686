"""Recipes for tests: a folder with a complete one, and how to read it with other words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from modelfarm.errors import RecipeError
from modelfarm.recipe import Recipe, read_recipe
from modelfarm.schema import Field, Integer, Record
from modelfarm.settings import ROOT
from modelfarm.target import read_targets

BUNDLED = sorted((ROOT / "models").glob("*/model.yaml"))
OPTIONS: Mapping[str, Record] = {
    **{name: target.options for name, target in read_targets().items() if not target.way_of},
    "toy": Record(fields={"level": Field(shape=Integer(minimum=0, maximum=3), default=1, help="how much of it")}),
}

# Line numbers in tests count from the `name:` line, which is 1.
COMPLETE = """\
name: toy
description: a toy
source:
  torch:
    module: toy.py
    factory: build
    weights: {file: toy.pt}
inputs:
  input:
    shape: [1, 3, 8, 8]
    layout: NCHW
    picture: {resize: letterbox, color: rgb, scale: 1/255}
outputs:
  scores: {shape: [1, 2]}
decoder:
  classification: {labels: labels.txt}
samples: {random: 1}
targets:
  onnx:
    dynamic: {input: {0: batch}}
"""


def make(folder: Path, text: str | bytes = COMPLETE, name: str = "toy") -> Path:
    """Write a model's folder and return the recipe's file."""
    model = folder / name
    model.mkdir(parents=True, exist_ok=True)
    (model / "toy.py").write_text("def build():\n    return None\n")
    (model / "toy.pt").write_bytes(b"weights")
    (model / "labels.txt").write_text("cat\ndog\n")
    (model / "decoder.py").write_text("class Decoder:\n    pass\n")
    file = model / "model.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def changed(old: str, new: str, text: str = COMPLETE) -> str:
    """Return the complete recipe with other words; they must be there."""
    assert old in text
    return text.replace(old, new, 1)


def read(folder: Path, text: str | bytes = COMPLETE, name: str = "toy") -> Recipe:
    return read_recipe(make(folder, text, name), OPTIONS)


def problems(folder: Path, text: str | bytes) -> list[str]:
    """Return what is wrong with a recipe, each as "line: place: message"."""
    file = make(folder, text)
    with pytest.raises(RecipeError) as caught:
        read_recipe(file, OPTIONS)
    head, *listed = caught.value.message.splitlines()
    assert head == f"{file} has {len(listed)} problem{'s' if len(listed) > 1 else ''}:"
    return [re.sub(f"^  {re.escape(str(file))}:", "", line) for line in listed]
