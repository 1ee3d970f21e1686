"""Samples: the input tensors that a model is tried on, from pictures, arrays and seeded chance."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelfarm.arrays import read_rows
from modelfarm.decoders.prediction import Placement
from modelfarm.errors import RecipeError, nearest
from modelfarm.pictures import Pixels, fit, normalise, part, read, size_of
from modelfarm.recipe import Input, Region, SampleChoice

Tensors = Mapping[str, NDArray[Any]]
Axes = Mapping[str, Mapping[int, str]]
STACKED = 4  # single samples that a batch sample stacks


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Input tensors of one inference.

    `tensors` by input name, the batch first, contiguous, of the input's dtype. `group` is the file
    that it comes from, "random" or "batch". `placements` has one entry per item of the batch, None
    where no input has a layout; `pictures` the file of each item, or nothing; `labels` the class
    index of each row, where an array file has them.
    """

    name: str
    group: str
    tensors: Tensors
    placements: tuple[Placement | None, ...]
    pictures: tuple[Path, ...] = ()
    labels: NDArray[Any] | None = None


def prepare(inputs: Sequence[Input], choice: SampleChoice, pictures: Sequence[Path], arrays: Sequence[Path],
            dynamic: Axes) -> list[Sample]:
    """Make all samples of a job, in this order: pictures, arrays, random, batch, another size.

    A fixed batch of N repeats a picture N times, and cuts the rows of an array file into batches of
    N; rows that do not fill a batch are an error, as leaving some out would prove less than it says.
    Where axis 0 is dynamic, one sample "batch-K" stacks the first single samples; where other axes
    are, one random sample has them at half their size (see `other_size`). The random numbers of a
    sample depend on the seed and its name only. Raises RecipeError for files that do not fit.
    """
    check_regions("samples", choice.regions, pictures)
    singles = [
        *(from_picture(inputs, choice.seed, file, choice.regions.get(file.name)) for file in pictures),
        *(sample for file in arrays for sample in from_arrays(inputs, file, dynamic, all_rows=choice.all_rows)),
        *(_from_chance(inputs, choice.seed, f"random-{index}") for index in range(choice.random)),
    ]
    samples = [*singles, *_stacked(singles, dynamic), *_resized(inputs, choice.seed, dynamic)]
    _check_names(samples)
    return samples


def check_regions(where: str, regions: Mapping[str, Region], pictures: Sequence[Path]) -> None:
    """Raise RecipeError where a region is one of a picture that is not there."""
    names = {file.name for file in pictures}
    for name in regions:
        if name not in names:
            raise RecipeError(f"{where}.regions: there is no picture {name!r}; {nearest(name, names)}",
                              remedy="regions go by the file names of the pictures, without their folders")


def write(samples: Sequence[Sample], file: Path) -> None:
    """Write all tensors as an uncompressed .npz, under "<sample index>/<input name>"."""
    tensors: dict[str, Any] = {f"{index}/{name}": tensor for index, sample in enumerate(samples)
                               for name, tensor in sample.tensors.items()}
    with file.open("wb") as stream:
        np.savez(stream, **tensors)


def other_size(side: int) -> int:
    """Return another size for an axis: half, rounded to a multiple of 32, at least 32; twice where that is the same."""
    half = max(32, round(side / 2 / 32) * 32)
    return half if half != side else side * 2


def from_picture(inputs: Sequence[Input], seed: int, file: Path, region: Region | None = None,
                 change: Callable[[Pixels], Pixels] | None = None) -> Sample:
    """Make a sample of a picture, or of a region of it; inputs that take no pictures get numbers from `seed`.

    `change` makes another picture of it before it is fitted, and the sample's placements mean that one.
    """
    if not any(entry.picture for entry in inputs):
        raise RecipeError(f"{file.name}: no input takes pictures",
                          remedy="give an input `picture:`, or name .npz files under samples.arrays")
    tensors, placements = {}, []
    for entry in inputs:
        tensors[entry.name] = _random(entry, seed, file.name)
        if entry.picture:
            whole = read(file, entry.picture.color)
            seen = part(whole, region, file.name) if region else whole
            pixels, placement = fit(change(seen) if change else seen, size_of(entry.shape, entry.layout), entry.picture)
            if region:
                placement = placement.inside(whole.shape[1], whole.shape[0], *region[:2])
            tensors[entry.name] = _batch([normalise(pixels, entry)] * entry.shape[0])
            placements += [(placement,) * entry.shape[0]]
    return Sample(name=file.name, group=file.name, tensors=tensors, placements=placements[0],
                  pictures=(file,) * len(placements[0]))


def from_arrays(inputs: Sequence[Input], file: Path, dynamic: Axes, *, all_rows: bool) -> Iterator[Sample]:
    """Yield a sample for each batch of rows of an array file; raises RecipeError where they do not fit."""
    rows = read_rows(file, inputs, dynamic, all_rows=all_rows)
    for index in range(rows.batches):
        tensors = {entry.name: np.ascontiguousarray(_cut(rows.arrays[entry.name], index, entry.shape[0]))
                   for entry in inputs}
        labels = None if rows.labels is None else _cut(rows.labels, index, inputs[0].shape[0])
        yield Sample(name=f"{file.name}#{index}", group=file.name, tensors=tensors,
                     placements=_plain_placements(inputs, tensors), labels=labels)


def _cut(array: NDArray[Any], index: int, size: int) -> NDArray[Any]:
    return array[index * size:(index + 1) * size]


def _from_chance(inputs: Sequence[Input], seed: int, name: str) -> Sample:
    tensors = {entry.name: _random(entry, seed, name) for entry in inputs}
    return Sample(name=name, group="random", tensors=tensors, placements=_plain_placements(inputs, tensors))


def _random(entry: Input, seed: int, sample: str) -> NDArray[Any]:
    """Draw a picture's bytes for inputs that take pictures, else numbers near 0 that fit the dtype."""
    generator = np.random.default_rng([seed, zlib.crc32(f"{sample}/{entry.name}".encode())])
    if entry.picture:
        channels = 1 if entry.picture.color == "gray" else 3
        shape = (entry.shape[0], *size_of(entry.shape, entry.layout), channels)
        return _batch([normalise(pixels, entry) for pixels in generator.integers(0, 256, shape, np.uint8)])
    if np.issubdtype(np.dtype(entry.dtype), np.floating):
        return generator.standard_normal(entry.shape).astype(entry.dtype)
    return generator.integers(0, 2 if entry.dtype == "bool" else 10, entry.shape).astype(entry.dtype)


def _batch(items: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.ascontiguousarray(np.stack(items))


def _plain_placements(inputs: Sequence[Input], tensors: Tensors) -> tuple[Placement | None, ...]:
    """Place each item where it is: what it shows has the network's size already."""
    spatial = next((entry for entry in inputs if entry.layout), None)
    items = len(tensors[(spatial or inputs[0]).name])
    if spatial is None:
        return (None,) * items
    height, width = size_of(tensors[spatial.name].shape, spatial.layout)
    return (Placement.identity(width, height),) * items


def _stacked(singles: Sequence[Sample], dynamic: Axes) -> Iterator[Sample]:
    open_inputs = [name for name, axes in dynamic.items() if 0 in axes]
    if not open_inputs or not singles:
        return
    alike = [sample for sample in singles if _shapes(sample) == _shapes(singles[0])][:STACKED]
    chosen = alike if len(alike) > 1 else alike * 2
    tensors = {name: np.concatenate([sample.tensors[name] for sample in chosen]) if name in open_inputs else tensor
               for name, tensor in chosen[0].tensors.items()}
    placements = tuple(placement for sample in chosen for placement in sample.placements)
    yield Sample(name=f"batch-{len(placements)}", group="batch", tensors=tensors, placements=placements)


def _shapes(sample: Sample) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in sample.tensors.items()}


def _resized(inputs: Sequence[Input], seed: int, dynamic: Axes) -> Iterator[Sample]:
    changed = [replace(entry, shape=tuple(
        other_size(side) if axis and axis in dynamic.get(entry.name, {}) else side
        for axis, side in enumerate(entry.shape))) for entry in inputs]
    different = next((entry for entry, old in zip(changed, inputs, strict=True) if entry.shape != old.shape), None)
    if different:
        yield _from_chance(changed, seed, "random-" + "x".join(map(str, different.shape)))


def _check_names(samples: Sequence[Sample]) -> None:
    names = [sample.name for sample in samples]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RecipeError(f"samples: several files are called {', '.join(twice)}",
                          remedy="expectations and reports name samples by their file name: rename one")
