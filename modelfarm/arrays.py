"""Arrays: .npz files, with rows for a model's inputs and perhaps their labels, or with a job's outputs."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelfarm.errors import ConversionError, RecipeError, nearest
from modelfarm.recipe import Input

LABEL = "label"  # the array with the class index of each row


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The arrays of a file by input name, how many batches they make, and the label of each row."""

    arrays: Mapping[str, NDArray[Any]]
    batches: int
    labels: NDArray[Any] | None


def read_rows(file: Path, inputs: Sequence[Input], dynamic: Mapping[str, Mapping[int, str]], *,
              all_rows: bool = True) -> Rows:
    """Read a file of arrays and check that they fit the inputs.

    Axis 0 counts rows; the other axes are as in the recipe, or free where dynamic. `all_rows` False lets the last ones
    be too few for a batch, and none but whole batches count. Raises RecipeError naming the file and the array.
    """
    content = _load(file)
    arrays = {entry.name: _checked(file, content, entry, dynamic.get(entry.name, {}), all_rows) for entry in inputs}
    counts = {entry.name: len(arrays[entry.name]) // entry.shape[0] for entry in inputs}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise RecipeError(f"{file}: the arrays have different numbers of batches ({listed})")
    return Rows(arrays=arrays, batches=counts[inputs[0].name],
                labels=_labels(file, content, len(arrays[inputs[0].name])))


def read_outputs(file: Path, count: int) -> list[dict[str, NDArray[Any]]]:
    """Read what a job wrote for each of `count` samples, under "<sample index>/<output name>".

    What was not written is absent, which is for a gate to judge. Raises ConversionError where the
    file is damaged.
    """
    outputs: list[dict[str, NDArray[Any]]] = [{} for _ in range(count)]
    try:
        with np.load(file, allow_pickle=False) as archive:
            for key in archive.files:
                index, _, name = key.partition("/")
                outputs[int(index)][name] = archive[key]
    except FileNotFoundError:
        return outputs
    except (OSError, ValueError, EOFError, IndexError, zipfile.BadZipFile) as error:
        raise ConversionError(f"the toolchain wrote a damaged {file.name}: {error}",
                              remedy="convert.log holds its last words; is the disk full?") from error
    return outputs


def _load(file: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise RecipeError(f"{file}: not an .npz file of plain arrays, or damaged: {error}",
                          remedy="write it with numpy.savez(file, input=...), one array per input") from error


def _checked(file: Path, content: Mapping[str, NDArray[Any]], entry: Input, free: Mapping[int, str],
             all_rows: bool) -> NDArray[Any]:
    if entry.name not in content:
        raise RecipeError(f"{file}: there is no array for input {entry.name!r}; {nearest(entry.name, content)}")
    array, where = content[entry.name], f"{file}: array {entry.name!r}"
    if array.dtype != entry.dtype:
        raise RecipeError(f"{where} is {array.dtype}, but the input is {entry.dtype}",
                          remedy=f"store it as {entry.dtype}: a silent conversion would change values")
    wanted = entry.shape[1:]
    alike = array.ndim == len(entry.shape) and all(
        axis in free or array.shape[axis] == side for axis, side in enumerate(wanted, 1))
    if not alike:
        raise RecipeError(f"{where} has shape {list(array.shape)}, expected [rows, {', '.join(map(str, wanted))}]")
    _check_rows(where, array, entry.shape[0] if all_rows else 1)
    return array


def _check_rows(where: str, array: NDArray[Any], batch: int) -> None:
    if not len(array):
        raise RecipeError(f"{where} has no rows")
    left = len(array) % batch
    if left:
        raise RecipeError(f"{where} has {len(array)} rows: the last {left} do not fill a batch of {batch}",
                          remedy=f"give a multiple of {batch} rows")
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        raise RecipeError(f"{where} holds values that are NaN or infinite")


def _labels(file: Path, content: Mapping[str, NDArray[Any]], rows: int) -> NDArray[Any] | None:
    if LABEL not in content:
        return None
    labels = content[LABEL]
    if labels.shape != (rows,) or not np.issubdtype(labels.dtype, np.integer):
        raise RecipeError(f"{file}: array {LABEL!r} is {labels.dtype} {list(labels.shape)}, "
                          f"expected one whole number for each of {rows} rows")
    return labels
