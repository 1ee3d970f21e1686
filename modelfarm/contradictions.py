"""Contradictions: what is well formed in a recipe and cannot hold together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modelfarm.decoders.options import DECODERS, OUTPUTS
from modelfarm.document import INVALID, Where
from modelfarm.errors import nearest

Contradiction = tuple[Where, str]  # a place, and what is wrong there


def contradictions(values: Mapping[str, Any], file: Path, modules: list[Path]) -> Iterator[Contradiction]:
    """Yield what cannot hold together in the values of the recipe `file`; parts that are invalid are left alone.

    The architecture is sought in the folders `modules`.
    """
    if isinstance(values["name"], str) and values["name"] != file.parent.name:
        yield ("name",), f"the folder is called {file.parent.name!r}; the two must agree"
    yield from _missing_module(values["source"], modules)
    yield from _decoder_problems(values["decoder"], file.parent)
    yield from _output_problems(values["outputs"], values["decoder"])
    for name, entry in _valid_items(values["inputs"]):
        yield from _shape_problems(name, entry)
    yield from axis_problems(values["inputs"], values["targets"])
    samples = values["samples"]
    if isinstance(samples, dict) and not (samples["pictures"] or samples["arrays"] or samples["random"]):
        yield ("samples",), "names no sample at all: give pictures, arrays or random"
    calibration = values["calibration"]
    if isinstance(calibration, dict) and not (calibration["pictures"] or calibration["arrays"]):
        yield ("calibration",), "names nothing: give pictures or arrays"


def _valid_items(table: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(table, dict):
        yield from ((name, entry) for name, entry in table.items()
                    if isinstance(name, str) and isinstance(entry, dict))


def _missing_module(source: Any, folders: list[Path]) -> Iterator[Contradiction]:
    torch = source["torch"] if isinstance(source, dict) else None
    module = torch["module"] if isinstance(torch, dict) else None
    if isinstance(module, str) and find_module(module, folders) is None:
        known = {entry.name for folder in folders if folder.is_dir() for entry in folder.glob("*.py")}
        sought = ", ".join(str(folder) for folder in folders)
        yield ("source", "torch", "module"), f"{module} is not in {sought}; {nearest(module, known)}"


def _decoder_problems(decoder: Any, folder: Path) -> Iterator[Contradiction]:
    if not isinstance(decoder, dict):
        return
    module = decoder["module"]
    if isinstance(module, str) and not is_file(folder / module):
        yield ("decoder", "module"), f"{folder / module} does not exist"
    if decoder["options"] is not None and module is None:
        yield ("decoder", "options"), "these go to a `module`, and there is none"
    labels = dict(_valid_items(decoder)).get("classification", {}).get("labels")
    if isinstance(labels, str) and not is_file(folder / labels):
        yield ("decoder", "classification", "labels"), f"{folder / labels} does not exist"


def _output_problems(outputs: Any, decoder: Any) -> Iterator[Contradiction]:
    if not isinstance(outputs, dict | list):
        return
    names = [name for name in outputs if isinstance(name, str)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield ("outputs",), f"{name!r} stands twice"
    for kind in DECODERS:
        for option, name in dict(_valid_items(decoder)).get(kind, {}).items():
            if option in OUTPUTS and isinstance(name, str) and name not in names:
                yield ("decoder", kind, option), f"there is no output {name!r}; {nearest(name, names)}"


def _shape_problems(name: str, entry: dict[str, Any]) -> Iterator[Contradiction]:
    shape, layout, picture = entry["shape"], entry["layout"], entry["picture"]
    if not isinstance(shape, list) or layout is INVALID:
        return
    if layout and len(shape) != 4:
        yield ("inputs", name, "shape"), f"layout {layout} has 4 axes, this shape has {len(shape)}"
    elif isinstance(picture, dict) and not layout:
        yield ("inputs", name), "a picture needs an input of 4 axes, and its `layout`: NCHW or NHWC"
    elif isinstance(picture, dict) and picture["color"] is not INVALID:
        channels = 1 if picture["color"] == "gray" else 3
        found = shape[1 if layout == "NCHW" else 3]
        if found is not INVALID and found != channels:
            yield (("inputs", name, "shape"),
                   f"{found} channels in layout {layout}, but color {picture['color']} has {channels}")
        yield from _picture_problems(("inputs", name, "picture"), picture, channels)


def _picture_problems(where: Where, picture: dict[str, Any], channels: int) -> Iterator[Contradiction]:
    for key in ("pad", "mean", "std"):
        if isinstance(picture[key], list) and len(picture[key]) not in (1, channels):
            yield (*where, key), f"expected 1 or {channels} values, found {len(picture[key])}"
    if 0 in per_channel(picture["std"]):
        yield (*where, "std"), "a deviation of 0 divides by zero"
    if picture["resize"] == "short" and picture["short"] is None:
        yield where, "`resize: short` needs `short`, the length of the short side in pixels"


def axis_problems(inputs: Any, targets: Any) -> Iterator[Contradiction]:
    """Yield what is wrong with open axes, `dynamic` among the options of a target: they must be the inputs'."""
    inputs = dict(_valid_items(inputs))
    for target, options in _valid_items(targets):
        for name, axes in _valid_items(options.get("dynamic")):
            where = ("targets", target, "dynamic", name)
            if name not in inputs:
                yield where, f"there is no such input; {nearest(name, inputs)}"
            elif isinstance(inputs[name]["shape"], list):
                rank = len(inputs[name]["shape"])
                for axis in axes:
                    if isinstance(axis, str) and not (axis.isdigit() and int(axis) < rank):
                        yield (*where, axis), f"axes of this input are numbered 0 to {rank - 1}"


def find_module(name: str, folders: list[Path]) -> Path | None:
    """Return the first file of that name in the folders, or None."""
    return next((folder / name for folder in folders if is_file(folder / name)), None)


def is_file(path: Path) -> bool:
    """Say whether a file is there; a name that the file system cannot hold is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def per_channel(value: Any) -> tuple[float, ...]:
    """Return one value, or the list of one per channel, as a tuple."""
    return tuple(value) if isinstance(value, list) else (value,)
