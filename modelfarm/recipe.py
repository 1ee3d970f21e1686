"""Recipes: model.yaml as frozen dataclasses, with every problem reported at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelfarm.contradictions import contradictions, find_module, per_channel
from modelfarm.decoders.options import DECODERS
from modelfarm.document import INVALID, Document
from modelfarm.errors import RecipeError, UsageError, nearest
from modelfarm.grammar import recipe_shape
from modelfarm.schema import Record

Region = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels of a picture

ARCHITECTURES = "architectures"  # folder beside the models, holding modules that several recipes share


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
    """What a model is tried on: patterns of pictures and arrays, and seeded random tensors.

    `regions` are the parts of pictures that the model gets, by file name. `all_rows` False leaves out the last rows of
    an array file where they do not fill a batch.
    """

    pictures: tuple[str, ...]
    arrays: tuple[str, ...]
    random: int
    seed: int
    regions: Mapping[str, Region] = field(default_factory=dict)
    all_rows: bool = True


@dataclass(frozen=True, kw_only=True)
class CalibrationChoice:
    """What the ranges of a quantised model are measured on: patterns of pictures and arrays.

    `regions` as of samples. Each picture counts with as many `variations` of it beside, drawn from `seed`.
    """

    pictures: tuple[str, ...] = ()
    arrays: tuple[str, ...] = ()
    variations: int = 0
    seed: int = 0
    regions: Mapping[str, Region] = field(default_factory=dict)


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
    calibration: CalibrationChoice
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
        for where, message in contradictions(values, file, _architectures(file, shared)):
            document.complain(where, message)
    document.raise_problems()
    return _build(values, file.parent, _architectures(file, shared))


def _architectures(file: Path, shared: Path | None) -> list[Path]:
    folders = [file.parent, file.parent.parent / ARCHITECTURES]
    return [*folders, shared] if shared and shared not in folders else folders


def _build(values: dict[str, Any], folder: Path, modules: list[Path]) -> Recipe:
    samples, decoder = values["samples"], values["decoder"]
    return Recipe(
        name=values["name"], description=values["description"], folder=folder,
        source=_source(values["source"], modules),
        inputs=tuple(_input(name, entry) for name, entry in values["inputs"].items()),
        outputs=_outputs(values["outputs"]),
        decoder=_decoder(decoder, folder) if decoder else None,
        samples=SampleChoice(pictures=tuple(samples["pictures"]), arrays=tuple(samples["arrays"]),
                             random=samples["random"], seed=samples["seed"], regions=_regions(samples)),
        calibration=_calibration(values["calibration"]),
        expect=values["expect"],
        limits=tuple(Limit(**entry) for entry in values["limits"]),
        targets=values["targets"], values=values)


def _source(values: dict[str, Any], modules: list[Path]) -> Source:
    torch = values["torch"]
    if torch is None:
        kind = "onnx" if values["onnx"] else "tflite"
        return FileSource(kind=kind, file=NamedFile(**values[kind]))
    module = find_module(torch["module"], modules)
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
    return Picture(**{**values, "scale": scale, "pad": per_channel(values["pad"]), "mean": per_channel(values["mean"]),
                      "std": per_channel(values["std"])})


def _outputs(values: Any) -> tuple[Output, ...]:
    if isinstance(values, list):
        return tuple(Output(name=name) for name in values)
    return tuple(Output(name=name, shape=tuple(entry["shape"]) if entry["shape"] else None, dtype=entry["dtype"])
                 for name, entry in values.items())


def _calibration(values: dict[str, Any] | None) -> CalibrationChoice:
    if not values:
        return CalibrationChoice()
    return CalibrationChoice(pictures=tuple(values["pictures"]), arrays=tuple(values["arrays"]),
                             variations=values["variations"], seed=values["seed"], regions=_regions(values))


def _regions(values: dict[str, Any]) -> dict[str, Region]:
    return {name: (left, top, right, bottom) for name, (left, top, right, bottom) in values["regions"].items()}


def _decoder(values: dict[str, Any], folder: Path) -> DecoderChoice:
    if values["module"]:
        return DecoderChoice(name="module", options=values["options"] or {}, module=folder / values["module"])
    name = next(name for name in DECODERS if values[name])
    return DecoderChoice(name=name, options=values[name])
