"""Targets: docker/<target>/target.yaml, one folder for all that makes a format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from modelfarm.document import INVALID, Document, Shape, Where
from modelfarm.errors import UsageError, nearest
from modelfarm.schema import Anything, Boolean, Either, Field, Integer, Number, Record, Sequence, Table, Text

TOOLCHAINS = Path(__file__).resolve().parent.parent / "docker"


@dataclass(frozen=True, kw_only=True)
class Need:
    """The target whose artifact another one starts from, and the options that it asks of it."""

    target: str
    options: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A format that a model can become, and the folder that knows how.

    `reads` are the kinds of source files; where it `needs` another target, that one reads the recipe's source, and
    this one what it makes. `shares` are the folders beside its own whose modules it uses too. `seconds` of wall clock,
    `memory` in bytes, `processes` and `cpus` (None: all) are what a job may use at most. `environment` is `image` where
    the toolchain exists as an image only. `operators` is what lint holds a graph against before a conversion, None
    where the target takes any.
    """

    name: str
    title: str
    folder: Path
    reads: tuple[str, ...]
    needs: Need | None
    shares: tuple[Path, ...]
    makes: str
    python: str
    precisions: tuple[str, ...]
    promises: tuple[str, ...]
    device: str
    seconds: int
    memory: int
    processes: int
    cpus: float | None
    environment: str
    operators: Mapping[str, Any] | None
    options: Record
    defaults: Mapping[str, Any]

    @property
    def requirements(self) -> Path:
        """Return the lock file of the toolchain's Python packages."""
        return self.folder / "requirements.txt"

    @property
    def converter(self) -> Path:
        """Return the module that jobkit runs."""
        return self.folder / "converter.py"

    @property
    def code(self) -> tuple[Path, ...]:
        """Return the folders with the toolchain's modules, its own first."""
        return (self.folder, *self.shares)

    @property
    def containerised(self) -> bool:
        """Return whether the toolchain exists as an image."""
        return (self.folder / "Dockerfile").is_file()


_SIZE = r"[0-9]{1,15}|[0-9]{1,12}(\.[0-9]{1,9})? ?([kKMG]B|[KMG]iB)"


@dataclass(frozen=True, kw_only=True)
class Size:
    """A number of bytes, such as 512MiB or 2GiB."""

    def check(self, document: Document, node: yaml.Node, where: Where) -> Any:
        text = Text(pattern=_SIZE, like="a size such as 512MiB").check(document, node, where)
        return text if text is INVALID else parse_size(text)

    def json(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^(?:{_SIZE})$"}]}


def parse_size(text: str) -> int:
    """Read a size; KiB, MiB, GiB are powers of 1024, KB, MB, GB of 1000."""
    digits = text.rstrip("kKMGiB ")
    unit = text[len(digits):].strip()
    factor = (1024 if "i" in unit else 1000) ** ("KMG".find(unit[0].upper()) + 1) if unit else 1
    return int(float(digits) * factor)


_SWITCH = Field(shape=Boolean(), help="left out: no")

BATCH = r"[1-9]\d*|[A-Za-z_]\w*"

# Those who know these keys are docker/onnx/passes; the last two have a longer form too, which the pass checks.
_EDITS = Record(fields={
    "batch": Field(shape=Text(pattern=BATCH, like="a number of items, or a name for a free one")),
    "keep": Field(shape=Sequence(of=Text(), least=1), help="outputs, or tensors inside"),
    "remove": Field(shape=Sequence(of=Text(), least=1), help="nodes at which branches begin"),
    "exported": Field(shape=Sequence(of=Text(), least=1), help="outputs of a PyTorch source, where edits rename them"),
    **dict.fromkeys(("constants", "unused", "four_dimensions", "cut_decode", "padded_maxpool", "strided_slices",
                     "half"), _SWITCH),
    "split_outputs": Field(shape=Anything()),
    "normalise_boxes": Field(shape=Anything()),
})


@dataclass(frozen=True, kw_only=True)
class Edits:
    """Edits of a graph: those that are asked for, and no others."""

    def check(self, document: Document, node: yaml.Node, where: Where) -> Any:
        values = _EDITS.check(document, node, where)
        return values if values is INVALID else {name: value for name, value in values.items() if value is not None}

    def json(self) -> dict[str, Any]:
        return _EDITS.json()


# The types that target.yaml may give an option.
_TYPES: dict[str, Shape] = {
    "boolean": Boolean(),
    "integer": Integer(),
    "number": Number(),
    "text": Text(),
    "size": Size(),
    "texts": Sequence(of=Text()),
    "edits": Edits(),
    "axes": Table(of=Table(of=Text(pattern=r"[A-Za-z_]\w*", like="a name for the axis"),
                           keys=Text(pattern=r"\d", like="the number of an axis"))),
}


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of a target; its default is checked as a recipe's value would be."""

    def check(self, document: Document, node: yaml.Node, where: Where) -> Any:
        values = _OPTION.check(document, node, where)
        if isinstance(node, yaml.MappingNode) and isinstance(values["type"], str):
            for key, value in node.value:
                if key.value == "default":
                    values["default"] = _shape(values).check(document, value, (*where, "default"))
        return values

    def json(self) -> dict[str, Any]:
        return _OPTION.json()


@dataclass(frozen=True, kw_only=True)
class Beside:
    """The name of another toolchain's folder."""

    def check(self, document: Document, node: yaml.Node, where: Where) -> Any:
        name = Text(pattern=r"[a-z][a-z0-9-]*", like="the name of a folder in docker/").check(document, node, where)
        here = document.file.parent
        if name is not INVALID and (name == here.name or not (here.parent / name).is_dir()):
            document.complain(where, f"there is no other folder {name!r} beside {here.name}")
            return INVALID
        return name

    def json(self) -> dict[str, Any]:
        return Text().json()


_OPTION = Record(fields={
    "type": Field(shape=Text(choices=tuple(_TYPES)), required=True),
    "help": Field(shape=Text(), required=True),
    "default": Field(shape=Anything(), help="left out: none"),
    "minimum": Field(shape=Integer()),
    "maximum": Field(shape=Integer()),
    "choices": Field(shape=Sequence(of=Text(), least=1)),
})

_NAME = Text(pattern=r"(?!(precision|seconds)$)[a-z][a-z0-9_]*",
             like="a name in small letters, and not precision or seconds")

_TARGET = Record(fields={
    "title": Field(shape=Text(), required=True),
    "reads": Field(shape=Sequence(of=Text(choices=("torch", "onnx", "tflite")), least=1), required=True),
    "needs": Field(shape=Record(fields={
        "target": Field(shape=Text(), required=True),
        "options": Field(shape=Anything(), default={}),
    }), help="the target whose artifact this one starts from"),
    "shares": Field(shape=Sequence(of=Beside()), default=[],
                    help="folders beside this one whose modules the toolchain uses too"),
    "makes": Field(shape=Text(), required=True),
    "python": Field(shape=Text(pattern=r"3\.\d+", like="a Python version such as 3.11"), required=True),
    "precisions": Field(shape=Sequence(of=Text(), least=1), required=True),
    "promises": Field(shape=Sequence(of=Text(), least=1), required=True),
    "device": Field(shape=Text(choices=("cpu", "gpu")), default="cpu"),
    "seconds": Field(shape=Integer(minimum=1), default=1800),
    "memory": Field(shape=Size(), default=8 << 30),
    "processes": Field(shape=Integer(minimum=1), default=512),
    "cpus": Field(shape=Number(minimum=0.01), help="left out: all"),
    "environment": Field(shape=Text(choices=("any", "image")), default="any"),
    "operators": Field(shape=Anything(), help="what the target takes of a graph; docker/onnx/operators.py reads it"),
    "options": Field(shape=Table(of=Option(), keys=_NAME), default={}),
})


def read_target(file: Path) -> Target:
    """Read a target.yaml; raises RecipeError with every problem of it."""
    document = Document.open(file)
    values = document.read(_TARGET)
    document.raise_problems()
    precisions = tuple(values["precisions"])
    return Target(
        name=file.parent.name, title=values["title"], folder=file.parent, reads=tuple(values["reads"]),
        makes=values["makes"], python=values["python"], precisions=precisions, promises=tuple(values["promises"]),
        device=values["device"], seconds=values["seconds"], memory=values["memory"],
        processes=values["processes"], cpus=values["cpus"], environment=values["environment"],
        operators=values["operators"],
        needs=Need(**values["needs"]) if values["needs"] else None,
        shares=tuple(file.parent.parent / name for name in values["shares"]),
        options=_options(values["options"], precisions),
        defaults={name: entry["default"] for name, entry in values["options"].items()})


def _options(entries: Mapping[str, Any], precisions: tuple[str, ...]) -> Record:
    precision = Text(choices=precisions)
    fields = {name: Field(shape=_shape(entry), help=entry["help"], default=entry["default"])
              for name, entry in entries.items()}
    choice = Either(scalar=precision, sequence=Sequence(of=precision, least=1))
    return Record(fields={
        "precision": Field(shape=choice, default=[precisions[0]], help="one precision or several"),
        "seconds": Field(shape=Integer(minimum=1), help="wall clock of a job; left out, as the target has it"),
        **fields})


def _shape(entry: Mapping[str, Any]) -> Shape:
    bounds = {name: bound for name in ("minimum", "maximum") if isinstance(bound := entry[name], int)}
    if entry["type"] == "integer":
        return Integer(**bounds)
    if entry["type"] == "number":
        return Number(**bounds)
    if entry["type"] == "text" and isinstance(entry["choices"], list):
        return Text(choices=tuple(choice for choice in entry["choices"] if choice is not INVALID))
    return _TYPES[entry["type"]]


def read_targets(toolchains: Path = TOOLCHAINS) -> dict[str, Target]:
    """Read every target of a folder, by name."""
    return {file.parent.name: read_target(file) for file in sorted(toolchains.glob("*/target.yaml"))}


def modules(folder: Path) -> list[Path]:
    """Return the modules of a toolchain's folder, those of packages in it too; its self-test is not among them."""
    return [file for file in sorted(folder.rglob("*.py")) if "self_test" not in file.relative_to(folder).parts]


def choose_target(targets: Mapping[str, Target], name: str) -> Target:
    """Return a target by name; raises UsageError with the nearest names."""
    if name not in targets:
        raise UsageError(f"there is no target {name!r}; {nearest(name, targets)}")
    return targets[name]
