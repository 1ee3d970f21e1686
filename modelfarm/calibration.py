"""Calibration sets: the inputs on which a toolchain measures the ranges of a quantised model."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelfarm import pictures as files
from modelfarm.errors import RecipeError
from modelfarm.pictures import Pixels
from modelfarm.recipe import CalibrationChoice, Input
from modelfarm.samples import Tensors, check_regions, from_arrays, from_picture

LEAST = 8  # different inputs; the range of fewer is that of these pictures, not of the model
ENOUGH = 24  # from here on, more of them move the ranges of the models of this project by less than a step

_CUT = 0.6  # the smallest share of a side that a variation keeps
_LIGHT = 0.2  # how much brighter or darker it becomes at most


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An input that may go into the set; `flat` says that it shows one value only."""

    name: str
    tensors: Tensors
    flat: bool


def write(inputs: Sequence[Input], choice: CalibrationChoice, pictures: Sequence[Path], arrays: Sequence[Path],
          file: Path) -> tuple[int, list[str]]:
    """Write a calibration set as an uncompressed .npz, under "<index>/<input name>", one input at a time.

    Pictures are prepared exactly as they are at inference. Left out are those that show one colour only and those that
    are there already; returns how many inputs were written, and what to say of them. Raises RecipeError where a file
    cannot be read, or too few are left.
    """
    seen: dict[str, str] = {}
    notes: list[str] = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for found in _candidates(inputs, choice, pictures, arrays):
            digest = _digest(found.tensors)
            if found.flat:
                notes.append(f"{found.name} shows one value only: it tells nothing of ranges, and is left out")
            elif digest in seen:
                notes.append(f"{found.name} is the same as {seen[digest]}, and is left out")
            else:
                _add(archive, len(seen), found.tensors)
                seen[digest] = found.name
    _check(len(seen), notes)
    if len(seen) < ENOUGH:
        notes.append(f"{len(seen)} inputs are few to measure ranges on: {ENOUGH} or more are better")
    return len(seen), [f"calibration: {note}" for note in notes]


def _check(count: int, notes: Sequence[str]) -> None:
    if count < LEAST:
        listed = "".join(f"\n    {note}" for note in notes)
        raise RecipeError(f"calibration: {count} different inputs, of at least {LEAST}: ranges that are measured on so "
                          f"few are theirs, not the model's{listed}",
                          remedy="name more pictures in the recipe's `calibration`, or say `variations: 10` there")


def _add(archive: zipfile.ZipFile, index: int, tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        with archive.open(f"{index}/{name}.npy", "w", force_zip64=True) as entry:
            np.lib.format.write_array(entry, np.asanyarray(tensor), allow_pickle=False)


def _digest(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for tensor in tensors.values():
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def _candidates(inputs: Sequence[Input], choice: CalibrationChoice, pictures: Sequence[Path],
                arrays: Sequence[Path]) -> Iterator[Candidate]:
    check_regions("calibration", choice.regions, pictures)
    for file in pictures:
        pixels, region = files.read(file, "rgb"), choice.regions.get(file.name)
        pixels = files.part(pixels, region, file.name) if region else pixels
        if bool((pixels == pixels[0, 0]).all()):  # here, not in the tensor: a border would hide it
            yield Candidate(name=file.name, tensors={}, flat=True)
            continue
        yield Candidate(name=file.name, tensors=from_picture(inputs, choice.seed, file, region).tensors, flat=False)
        for number in range(choice.variations):
            changed = from_picture(inputs, choice.seed, file, region,
                                   variation(choice.seed, file.name, number))
            yield Candidate(name=f"variation {number + 1} of {file.name}", tensors=changed.tensors, flat=False)
    for file in arrays:
        for sample in from_arrays(inputs, file, {}, all_rows=False):
            flat = all(bool(np.ptp(tensor) == 0) for tensor in sample.tensors.values())
            yield Candidate(name=sample.name, tensors=sample.tensors, flat=flat)


def variation(seed: int, name: str, number: int) -> Callable[[Pixels], Pixels]:
    """Return what makes another picture of one: a part of it, perhaps mirrored, in other light.

    The same for equal arguments, whatever the picture's size or colours.
    """
    generator = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
    tall, wide = generator.uniform(_CUT, 1, 2)
    down, right = generator.uniform(0, 1, 2)
    mirrored, light = bool(generator.integers(2)), generator.uniform(1 - _LIGHT, 1 + _LIGHT)

    def change(pixels: Pixels) -> Pixels:
        height, width = (max(round(side * share), 1) for side, share in zip(pixels.shape, (tall, wide), strict=False))
        top, left = round((pixels.shape[0] - height) * down), round((pixels.shape[1] - width) * right)
        part = pixels[top:top + height, left:left + width]
        lit = np.clip(np.rint(part * light), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(lit[:, ::-1] if mirrored else lit)

    return change
