"""Targets: docker/<target>/target.yaml, one folder for all that makes a format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from modelfarm.document import INVALID, Document, Shape, Where
from modelfarm.errors import UsageError, nearest
from modelfarm.schema import Anything, Boolean, Either, Field, Integer, Number, Record, Sequence, Table, Text

TOOLCHAINS = Path(__file__).resolve().parent.parent / "docker"


@dataclass(frozen=True, kw_only=True)
class Need:
    """The target whose artifact another one starts from, and the options that it asks of it.

    `precisions` are edits of the graph that bring it to a precision: one graph for each, made and judged in it.
    """

    target: str
    options: Mapping[str, Any]
    precisions: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A format that a model can become, and the folder that knows how.

    `reads` are the kinds of source files; where it `needs` another target, that one reads the recipe's source, and
    this one what it makes. `shares` are the folders beside its own whose modules it uses too, `stands_on` those whose
    image, or stages of it, its own image is made from. `seconds` of wall clock, `memory` in bytes, `processes` and
    `cpus` (None: all) are what a job may use at most. `environment` is `image` where the toolchain exists as an image
    only. `device` is where the artifact runs, cpu or gpu; `otherwise` says what can be done on a machine without one.
    `hands_on` are files that a job leaves to later ones, which they make quicker. `operators` is what lint holds a
    graph against before a conversion, None where the target takes any.

    `ways` are the folders that can make the target, by the name of each way, the usual one first; `way_of` is the
    target that such a folder makes in its `way`, both empty where it is one of its own. `bridges` are the targets that
    bring a kind of source, which this one does not read, to what it reads. `calibrates` are the precisions that want
    calibration samples, `integer` those whose inputs and outputs are integers with a scale and a zero point; `layouts`
    are the orders of axes that a file may have beside the recipe's own.
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
    otherwise: str
    hands_on: tuple[str, ...]
    runs: bool
    seconds: int
    memory: int
    processes: int
    cpus: float | None
    environment: str
    operators: Mapping[str, Any] | None
    options: Record
    defaults: Mapping[str, Any]
    ways: Mapping[str, str] = field(default_factory=dict)
    way_of: str = ""
    way: str = ""
    stands_on: tuple[Path, ...] = ()
    bridges: Mapping[str, str] = field(default_factory=dict)
    calibrates: tuple[str, ...] = ()
    integer: tuple[str, ...] = ()
    layouts: tuple[str, ...] = ()

    def brings(self, precision: str) -> bool:
        """Return whether what the target starts from comes in this precision already."""
        return self.needs is not None and precision in self.needs.precisions

    @property
    def makes_for(self) -> str:
        """Return the target whose variants and options these are: its own name, or that of which it is a way."""
        return self.way_of or self.name

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

# Those who know these keys are docker/onnx/passes; some have a longer form too, which the pass checks.
_EDITS = Record(fields={
    "batch": Field(shape=Text(pattern=BATCH, like="a number of items, or a name for a free one")),
    "keep": Field(shape=Sequence(of=Text(), least=1), help="outputs, or tensors inside"),
    "remove": Field(shape=Sequence(of=Text(), least=1), help="nodes at which branches begin"),
    "exported": Field(shape=Sequence(of=Text(), least=1), help="outputs of a PyTorch source, where edits rename them"),
    **dict.fromkeys(("constants", "unused", "four_dimensions", "strided_slices", "whole_numbers"), _SWITCH),
    "padded_maxpool": Field(shape=Either(scalar=Boolean(), mapping=Record(fields={
        "same": Field(shape=Boolean(), default=True, help="also what is TensorFlow's padding SAME")}))),
    "cut_decode": Field(shape=Anything()),
    "half": Field(shape=Anything()),
    "quantise": Field(shape=Anything()),
    "float": Field(shape=Sequence(of=Text(), least=1), help="nodes that half and quantise leave in float"),
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

_NAME = Text(pattern=r"(?!(precision|seconds|via)$)[a-z][a-z0-9_]*",
             like="a name in small letters, and not precision, seconds or via")
_KIND = Text(choices=("torch", "onnx", "tflite"))
_FOLDER = Text(pattern=r"[a-z0-9][a-z0-9-]*", like="a name in small letters")
_TEXTS = Sequence(of=Text(), least=1)

# What each toolchain says of itself; a folder that is a way to make another target has the rest from that one.
_OWN: Mapping[str, Field] = {
    "title": Field(shape=Text(), required=True),
    "needs": Field(shape=Record(fields={
        "target": Field(shape=Text(), required=True),
        "options": Field(shape=Anything(), default={}),
        "precisions": Field(shape=Table(of=Edits()), default={}, help="edits that bring the graph to a precision"),
    }), help="the target whose artifact this one starts from"),
    "shares": Field(shape=Sequence(of=Beside()), default=[],
                    help="folders beside this one whose modules the toolchain uses too"),
    "stands_on": Field(shape=Sequence(of=Beside()), default=[],
                       help="folders beside this one whose image, or stages of it, the toolchain's own is made from"),
    "python": Field(shape=Text(pattern=r"3\.\d+", like="a Python version such as 3.11"), required=True),
    "seconds": Field(shape=Integer(minimum=1), default=1800),
    "memory": Field(shape=Size(), default=8 << 30),
    "processes": Field(shape=Integer(minimum=1), default=512),
    "cpus": Field(shape=Number(minimum=0.01), help="left out: all"),
    "environment": Field(shape=Text(choices=("any", "image")), default="any"),
}
_WAY = Record(fields={
    **_OWN,
    "way_of": Field(shape=_FOLDER, required=True),
    "reads": Field(shape=Sequence(of=_KIND, least=1), help="the sources that this way reads; left out: the target's"),
})
_TARGET = Record(fields={
    **_OWN,
    "reads": Field(shape=Sequence(of=_KIND, least=1), required=True),
    "makes": Field(shape=Text(), required=True),
    "precisions": Field(shape=_TEXTS, required=True),
    "promises": Field(shape=_TEXTS, required=True),
    "device": Field(shape=Text(choices=("cpu", "gpu")), default="cpu"),
    "hands_on": Field(shape=Sequence(of=Text(pattern=r"[a-z][a-z0-9._-]*", like="the name of a file")), default=[],
                      help="files in out/ that later jobs find in in/; they are in no key"),
    "otherwise": Field(shape=Text(), default="", help="what can be done on a machine that lacks the device"),
    "runs": Field(shape=Boolean(), default=True, help="false: what it makes is built and inspected, never run"),
    "ways": Field(shape=Table(of=_FOLDER, keys=_FOLDER, least=1), default={},
                  help="the folders that can make the target, by the name of the way; the first is the usual one"),
    "bridges": Field(shape=Table(of=_FOLDER, keys=_KIND), default={},
                     help="by kind of source, the target that brings it to what this one reads"),
    "calibrates": Field(shape=_TEXTS, default=[], help="the precisions that want calibration samples"),
    "integer": Field(shape=_TEXTS, default=[], help="the precisions whose inputs and outputs are integers"),
    "layouts": Field(shape=Sequence(of=Text(choices=("NCHW", "NHWC"))), default=[],
                     help="orders of axes that a file may have, whatever the recipe's"),
    "operators": Field(shape=Anything(), help="what the target takes of a graph; docker/onnx/operators.py reads it"),
    "options": Field(shape=Table(of=Option(), keys=_NAME), default={}),
})


@dataclass(frozen=True, kw_only=True)
class _Toolchain:
    """A target.yaml: of a target, or of a folder that is a way to make one."""

    def check(self, document: Document, node: yaml.Node, where: Where) -> Any:
        way = isinstance(node, yaml.MappingNode) and any(key.value == "way_of" for key, _ in node.value)
        return (_WAY if way else _TARGET).check(document, node, where)

    def json(self) -> dict[str, Any]:
        return {"anyOf": [_WAY.json(), _TARGET.json()]}


def read_target(file: Path) -> Target:
    """Read a target.yaml; raises RecipeError with every problem of it.

    A folder that is a way to make another target has its options, precisions and promises from that one.
    """
    document = Document.open(file)
    values: Any = document.read(_Toolchain())
    if isinstance(values, dict) and "way_of" in values:
        return _way(document, values, file.parent)
    _complain_of_precisions(document, values)
    document.raise_problems()
    precisions, ways = tuple(values["precisions"]), dict(values["ways"])
    return Target(
        folder=file.parent, reads=tuple(values["reads"]), makes=values["makes"], precisions=precisions,
        promises=tuple(values["promises"]), device=values["device"], otherwise=values["otherwise"],
        hands_on=tuple(values["hands_on"]),
        operators=values["operators"], options=_options(values["options"], precisions, ways), ways=ways,
        bridges=dict(values["bridges"]), runs=values["runs"],
        calibrates=tuple(values["calibrates"]), integer=tuple(values["integer"]), layouts=tuple(values["layouts"]),
        defaults={name: entry["default"] for name, entry in values["options"].items()}, **_own(values, file.parent))


def _own(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    names = ("title", "python", "seconds", "memory", "processes", "cpus", "environment")
    return {"name": folder.name, **{name: values[name] for name in names},
            "needs": Need(**values["needs"]) if values["needs"] else None,
            **{name: tuple(folder.parent / other for other in values[name]) for name in ("shares", "stands_on")}}


def _way(document: Document, values: Mapping[str, Any], folder: Path) -> Target:
    made = values["way_of"]
    file = folder.parent / made / "target.yaml" if isinstance(made, str) else folder
    target = read_target(file) if file.is_file() and made != folder.name else None
    if isinstance(made, str) and (target is None or folder.name not in target.ways.values()):
        document.complain(("way_of",), f"{made} is no target that names {folder.name} among its `ways`")
    document.raise_problems()
    assert target is not None
    way = next(name for name, place in target.ways.items() if place == folder.name)
    reads = tuple(values["reads"] or target.reads)
    return replace(target, folder=folder, ways={}, way_of=made, way=way, reads=reads, **_own(values, folder))


def _complain_of_precisions(document: Document, values: Any) -> None:
    """Complain of precisions that a list names and the target does not have."""
    if not isinstance(values, dict) or not isinstance(values["precisions"], list):
        return
    for key in ("calibrates", "integer"):
        for name in values[key] if isinstance(values[key], list) else ():
            if name not in values["precisions"] and name is not INVALID:
                document.complain((key,), f"{name!r} is no precision of this target; "
                                          f"{nearest(name, filter(None, values['precisions']))}")


def _options(entries: Mapping[str, Any], precisions: tuple[str, ...], ways: Mapping[str, str]) -> Record:
    precision, way = Text(choices=precisions), Text(choices=tuple(ways))
    fields = {name: Field(shape=_shape(entry), help=entry["help"], default=entry["default"])
              for name, entry in entries.items()}
    via = {"via": Field(shape=_one_or_several(way), default=next(iter(ways)),
                        help="the way in which the target is made, or several")} if ways else {}
    return Record(fields={
        "precision": Field(shape=_one_or_several(precision), default=[precisions[0]], help="one precision or several"),
        **via,
        "seconds": Field(shape=Integer(minimum=1), help="wall clock of a job; left out, as the target has it"),
        **fields})


def _one_or_several(word: Text) -> Either:
    return Either(scalar=word, sequence=Sequence(of=word, least=1))


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


def choose_made(targets: Mapping[str, Target], name: str) -> Target:
    """Return a target to make by name; raises UsageError where it is only a way to make another one."""
    target = choose_target(targets, name)
    if target.way_of:
        raise UsageError(f"{name} is a way to make {target.way_of}, not a target",
                         remedy=f"make {target.way_of} VIA={target.way}")
    return target
