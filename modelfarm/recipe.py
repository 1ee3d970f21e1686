"""Recipes: model.yaml as frozen dataclasses, with every problem reported at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelfarm.decoders.options import DECODERS, OUTPUTS
from modelfarm.document import INVALID, Document, Where
from modelfarm.errors import RecipeError, UsageError, nearest
from modelfarm.grammar import recipe_shape
from modelfarm.schema import Record

ARCHITECTURES = "architectures"  # folder beside the models, holding modules that several recipes share

Contradiction = tuple[Where, str]  # a place, and what is wrong there


@dataclass(frozen=True, kw_only=True)
class NamedFile:
    """A file that is looked up by name: weights, or a model in a file format."""

    file: str
    sha256: str | None = None
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class TorchSource:
    """An architecture in PyTorch and its weights."""

    module: Path
    factory: str
    arguments: Mapping[str, Any]
    weights: NamedFile
    kind: str = "torch"


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """A model that is already a file; `kind` is onnx or tflite."""

    file: NamedFile
    kind: str


Source = TorchSource | FileSource


@dataclass(frozen=True, kw_only=True)
class Picture:
    """How a picture becomes an input tensor: (pixel * scale - mean) / std after resizing.

    `scale` None divides by the picture's own maximum. `pad`, `mean` and `std` have one value, or
    one per channel in the tensor's colour order.
    """

    resize: str
    anchor: str
    short: int | None
    pad: tuple[float, ...]
    interpolation: str
    color: str
    scale: float | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input: its shape includes the batch, and `picture` says how pictures fill it."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str | None
    picture: Picture | None


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output; shape and dtype are None where the recipe leaves them open."""

    name: str
    shape: tuple[int, ...] | None = None
    dtype: str | None = None


@dataclass(frozen=True, kw_only=True)
class DecoderChoice:
    """A decoder of the farm by name, or the module that a model brings along."""

    name: str
    options: Mapping[str, Any]
    module: Path | None = None


@dataclass(frozen=True, kw_only=True)
class SampleChoice:
    """What a model is tried on: patterns of pictures and arrays, and seeded random tensors."""

    pictures: tuple[str, ...]
    arrays: tuple[str, ...]
    random: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A wider parity limit, with its reason; `unit` and `measure` as in the verification report."""

    unit: str
    measure: str
    limit: float
    because: str
    precision: str | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One model. `values` holds the checked document with all defaults, as keys and manifests use it."""

    name: str
    description: str
    folder: Path
    source: Source
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    decoder: DecoderChoice | None
    samples: SampleChoice
    calibration: tuple[str, ...]
    expect: Mapping[str, Any]
    limits: tuple[Limit, ...]
    targets: Mapping[str, Mapping[str, Any]]
    values: Mapping[str, Any]


def recipe_file(models: Path, name: str) -> Path:
    """Return the file of a model's recipe; raises UsageError with the nearest names where there is none."""
    file = models / name / "model.yaml"
    if not name or "/" in name or not file.is_file():
        raise UsageError(f"there is no model {name!r} in {models}; {nearest(name, model_names(models))}",
                         remedy="`make models` lists them; MODELS_DIR= names another folder")
    return file


def model_names(models: Path) -> list[str]:
    """List the models of a folder: its subfolders that hold a model.yaml."""
    if not models.is_dir():
        raise UsageError(f"the models folder {models} does not exist", remedy="set MODELS_DIR= to a folder of recipes")
    return sorted(entry.parent.name for entry in models.glob("*/model.yaml"))


def read_recipe(file: Path, targets: Mapping[str, Record], shared: Path | None = None) -> Recipe:
    """Read one recipe.

    `targets` gives, by name, the shape of each target's options; `shared` is a folder of
    architectures, beside those in `file`'s neighbourhood. Raises RecipeError listing every problem.
    """
    document = Document.open(file)
    values = document.read(recipe_shape(targets))
    if values is not INVALID:
        for where, message in _contradictions(values, file, _architectures(file, shared)):
            document.complain(where, message)
    document.raise_problems()
    return _build(values, file.parent, _architectures(file, shared))


def _architectures(file: Path, shared: Path | None) -> list[Path]:
    folders = [file.parent, file.parent.parent / ARCHITECTURES]
    return [*folders, shared] if shared and shared not in folders else folders


def _contradictions(values: Mapping[str, Any], file: Path, modules: list[Path]) -> Iterator[Contradiction]:
    """Yield what cannot hold together; a part with problems of its own is left alone."""
    if isinstance(values["name"], str) and values["name"] != file.parent.name:
        yield ("name",), f"the folder is called {file.parent.name!r}; the two must agree"
    yield from _missing_module(values["source"], modules)
    yield from _decoder_problems(values["decoder"], file.parent)
    yield from _output_problems(values["outputs"], values["decoder"])
    for name, entry in _valid_items(values["inputs"]):
        yield from _shape_problems(name, entry)
    yield from _axis_problems(values)
    samples = values["samples"]
    if isinstance(samples, dict) and not (samples["pictures"] or samples["arrays"] or samples["random"]):
        yield ("samples",), "names no sample at all: give pictures, arrays or random"


def _valid_items(table: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(table, dict):
        yield from ((name, entry) for name, entry in table.items()
                    if isinstance(name, str) and isinstance(entry, dict))


def _missing_module(source: Any, folders: list[Path]) -> Iterator[Contradiction]:
    torch = source["torch"] if isinstance(source, dict) else None
    module = torch["module"] if isinstance(torch, dict) else None
    if isinstance(module, str) and _module(module, folders) is None:
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
    if 0 in _floats(picture["std"]):
        yield (*where, "std"), "a deviation of 0 divides by zero"
    if picture["resize"] == "short" and picture["short"] is None:
        yield where, "`resize: short` needs `short`, the length of the short side in pixels"


def _axis_problems(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    inputs = dict(_valid_items(values["inputs"]))
    for target, options in _valid_items(values["targets"]):
        for name, axes in _valid_items(options.get("dynamic")):
            where = ("targets", target, "dynamic", name)
            if name not in inputs:
                yield where, f"there is no such input; {nearest(name, inputs)}"
            elif isinstance(inputs[name]["shape"], list):
                rank = len(inputs[name]["shape"])
                for axis in axes:
                    if isinstance(axis, str) and not (axis.isdigit() and int(axis) < rank):
                        yield (*where, axis), f"axes of this input are numbered 0 to {rank - 1}"


def _module(name: str, folders: list[Path]) -> Path | None:
    return next((folder / name for folder in folders if is_file(folder / name)), None)


def is_file(path: Path) -> bool:
    """Say whether a file is there; a name that the file system cannot hold is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _build(values: dict[str, Any], folder: Path, modules: list[Path]) -> Recipe:
    samples, decoder = values["samples"], values["decoder"]
    return Recipe(
        name=values["name"], description=values["description"], folder=folder,
        source=_source(values["source"], modules),
        inputs=tuple(_input(name, entry) for name, entry in values["inputs"].items()),
        outputs=_outputs(values["outputs"]),
        decoder=_decoder(decoder, folder) if decoder else None,
        samples=SampleChoice(pictures=tuple(samples["pictures"]), arrays=tuple(samples["arrays"]),
                             random=samples["random"], seed=samples["seed"]),
        calibration=tuple((values["calibration"] or {}).get("pictures", ())),
        expect=values["expect"],
        limits=tuple(Limit(**entry) for entry in values["limits"]),
        targets=values["targets"], values=values)


def _source(values: dict[str, Any], modules: list[Path]) -> Source:
    torch = values["torch"]
    if torch is None:
        kind = "onnx" if values["onnx"] else "tflite"
        return FileSource(kind=kind, file=NamedFile(**values[kind]))
    module = _module(torch["module"], modules)
    if module is None:
        raise RecipeError(f"the module {torch['module']} went away while the recipe was read")
    return TorchSource(module=module, factory=torch["factory"], arguments=torch["arguments"],
                       weights=NamedFile(**torch["weights"]))


def _input(name: str, values: dict[str, Any]) -> Input:
    picture = values["picture"]
    return Input(name=name, shape=tuple(values["shape"]), dtype=values["dtype"], layout=values["layout"],
                 picture=_picture(picture) if picture else None)


def _picture(values: dict[str, Any]) -> Picture:
    scale = None if values["scale"] == "max" else values["scale"]
    return Picture(**{**values, "scale": scale, "pad": _floats(values["pad"]), "mean": _floats(values["mean"]),
                      "std": _floats(values["std"])})


def _floats(value: Any) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _outputs(values: Any) -> tuple[Output, ...]:
    if isinstance(values, list):
        return tuple(Output(name=name) for name in values)
    return tuple(Output(name=name, shape=tuple(entry["shape"]) if entry["shape"] else None, dtype=entry["dtype"])
                 for name, entry in values.items())


def _decoder(values: dict[str, Any], folder: Path) -> DecoderChoice:
    if values["module"]:
        return DecoderChoice(name="module", options=values["options"] or {}, module=folder / values["module"])
    name = next(name for name in DECODERS if values[name])
    return DecoderChoice(name=name, options=values[name])
