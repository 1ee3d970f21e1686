"""What several tests build: inputs, pictures, placements, and a case that passes every gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from modelfarm.decoders.prediction import Classification, Column, Detection, Placement
from modelfarm.gates.evidence import Case
from modelfarm.job import Device, JobResult, Latency, Tensor
from modelfarm.recipe import CalibrationChoice, FileSource, Input, NamedFile, Output, Picture, Recipe, SampleChoice
from modelfarm.samples import Sample

HERE = Placement.identity(100, 100)


def picture(**changes: Any) -> Picture:
    plain = Picture(resize="stretch", anchor="centre", short=None, pad=(114.0,), interpolation="linear", color="rgb",
                    scale=1.0, mean=(0.0,), std=(1.0,))
    return replace(plain, **changes)


def entry(name: str = "input", shape: Sequence[int] = (1, 3, 8, 8), dtype: str = "float32", layout: str | None = "NCHW",
          how: Picture | None = None) -> Input:
    return Input(name=name, shape=tuple(shape), dtype=dtype, layout=layout, picture=how)


def choice(random: int = 0, seed: int = 0) -> SampleChoice:
    return SampleChoice(pictures=(), arrays=(), random=random, seed=seed)


def detection(x: float = 10, y: float = 10, side: float = 20, score: float = 0.9, points: int = 5) -> Detection:
    return Detection(box=(x, y, x + side, y + side), score=score,
                     landmarks=tuple((x + index, y + index) for index in range(points)))


def ranking(*scores: float) -> Classification:
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    return Classification(ranking=tuple(order), labels=tuple("abcdefgh"[index] for index in order),
                          scores=tuple(scores[index] for index in order))


class ToyDecoder:
    """Reads (B, N, 5) rows x1, y1, x2, y2, score; everything over 0.5 is a detection."""

    def columns(self, outputs: Mapping[str, Any], size: tuple[int, int]) -> list[Column]:
        rows = outputs["rows"]
        return [Column(name="box", unit="px", values=rows[..., :4], output="rows"),
                Column(name="score", unit="score", values=rows[..., 4], output="rows")]

    def decode(self, outputs: Mapping[str, Any], placements: Sequence[Placement | None]) -> list[list[Any]]:
        return [[Detection(box=tuple(row[:4]), score=row[4]) for row in rows if row[4] > 0.5]
                for rows in outputs["rows"].tolist()]


class ToyClassifier:
    """Ranks the output `rows` (B, classes) as they are."""

    def columns(self, outputs: Mapping[str, Any], size: tuple[int, int]) -> list[Column]:
        return [Column(name="classes", unit="", values=outputs["rows"], output="rows")]

    def decode(self, outputs: Mapping[str, Any], placements: Sequence[Placement | None]) -> list[list[Any]]:
        return [[ranking(*row)] for row in outputs["rows"].tolist()]


def recipe(outputs: Sequence[Output] = (Output(name="rows"),), **changes: Any) -> Recipe:
    plain = Recipe(name="toy", description="a toy", folder=Path(), inputs=(entry(),), outputs=tuple(outputs),
                   source=FileSource(kind="onnx", file=NamedFile(file="toy.onnx")), decoder=None, samples=choice(),
                   calibration=CalibrationChoice(), expect={}, limits=(), targets={}, values={})
    return replace(plain, **changes)


def sample(name: str = "a.png", group: str | None = None, items: int = 1, **changes: Any) -> Sample:
    return Sample(name=name, group=group or name, tensors={"input": np.zeros((items, 3, 8, 8), np.float32)},
                  placements=(HERE,) * items, **changes)


def result(rows: Sequence[int | str], **changes: Any) -> JobResult:
    plain = JobResult(
        files=("model.onnx",), inputs=(Tensor(name="input", shape=(1, 3, 8, 8), dtype="float32"),),
        outputs=(Tensor(name="rows", shape=tuple(rows), dtype="float32"),),
        device=Device(wanted="cpu", used="cpu", detail="CPUExecutionProvider"),
        latency=Latency(median_ms=1.23456, p95_ms=2.34567, runs=30, sample="a.png"),
        timings={"convert": 1.5}, facts={"opset": 12}, versions={"torch": "2.13.0"})
    return replace(plain, **changes)


ROWS = np.array([[[10, 20, 50, 60, 0.9], [30, 30, 40, 40, 0.1]]], np.float32)


def case(reference: Any = ROWS, output: Any = None, /, **changes: Any) -> Case:
    """Make a case of two samples with equal outputs, which passes every gate; `changes` break it."""
    ours = reference if output is None else output
    plain = Case(
        recipe=recipe(), precision="fp32", promises=["model.onnx"], files=["model.onnx", "outputs.npz"],
        result=result(reference.shape), samples=[sample(pictures=(Path("a.png"),)), sample("random-0", "random")],
        reference=[{"rows": reference}] * 2, outputs=[{"rows": ours}] * 2, decoder=ToyDecoder(), dynamic={})
    return replace(plain, **changes)
