"""The job as the host wrote it: job.json parsed once into frozen dataclasses."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, TypeVar, Union

from jobkit.arrays import Samples
from jobkit.errors import JobError
from jobkit.events import Events

SCHEMA = 1

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class TorchSource:
    """A PyTorch model: a factory in a module file, and its weights.

    `weights` None means: initialise from `seed`, for sizing and timing.
    """

    module: Path
    factory: str
    arguments: Mapping[str, Any]
    weights: Optional[Path]
    seed: int


@dataclass(frozen=True)
class FileSource:
    """A model that is one file in a format of its own: `kind` is ``onnx``, ``tflite``, ..."""

    kind: str
    file: Path


@dataclass(frozen=True)
class Input:
    """An input that the recipe names; `shape` has no unknown axis."""

    name: str
    shape: Tuple[int, ...]
    dtype: str
    layout: Optional[str]


@dataclass(frozen=True)
class Output:
    """An output that the recipe names; shape and dtype where the recipe states them.

    A job without any leaves them to the graph: an edit made others than the recipe knows.
    """

    name: str
    shape: Optional[Tuple[int, ...]]
    dtype: Optional[str]


@dataclass(frozen=True)
class LatencyPlan:
    """How long to measure: at most `runs` runs, at most about `seconds` seconds, after `warmup` runs."""

    warmup: int
    runs: int
    seconds: float


@dataclass(frozen=True)
class Job:
    """One (model, variant) conversion with all its inputs.

    `options` is what the recipe says for this target, for the converter to parse. A converter adds what it learns to
    `facts`: free in form, JSON values only, and equal in equal runs. Where files are `given`, nothing is converted:
    they are loaded and run instead. `lint` is what the target that reads the artifact takes of it, with its title.

    `calibration` are inputs to measure ranges on, prepared as `samples` are; None where the precision wants none.
    `meaning` is what is known of the model for those who use the artifact: its description, how pictures are prepared,
    the labels, the decoder and its options, and what the passes that made the source from the model had to tell.
    """

    folder: Path
    model: str
    target: str
    variant: str
    precision: str
    source: Union[TorchSource, FileSource]
    options: Mapping[str, Any]
    inputs: Tuple[Input, ...]
    outputs: Tuple[Output, ...]
    samples: Samples
    calibration: Optional[Samples]
    promises: Tuple[str, ...]
    latency: LatencyPlan
    reference: bool
    given: Tuple[Path, ...]
    lint: Optional[Mapping[str, Any]]
    meaning: Mapping[str, Any]
    events: Events
    facts: Dict[str, Any] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """The folder for everything that the job makes."""
        return self.folder / "out"


def read_job(folder: Path, events: Events) -> Job:
    """Read ``job.json`` in `folder`.

    Raises JobError naming the field that is absent or wrong.
    """
    path = folder / "job.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise JobError(f"cannot read {path}: {error}", "run the job through the farm, which writes this file") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else None
        raise JobError(
            f"{path} has schema {found!r}; this jobkit reads schema {SCHEMA}",
            "use the farm and the image of one release",
        )
    return _Reader(folder, document).job(events)


class _Reader:
    def __init__(self, folder: Path, document: Mapping[str, Any]) -> None:
        self.folder = folder
        self.document = document

    def job(self, events: Events) -> Job:
        inputs = self.take("inputs", lambda items: tuple(_input(item) for item in items))
        names = self.take("samples", lambda items: tuple(str(item) for item in items))
        path, fed = self.folder / "in" / "samples.npz", tuple(item.name for item in inputs)
        calibration = self.take("calibration", self.optional_path)
        return Job(
            folder=self.folder,
            model=self.take("model", str),
            target=self.take("target", str),
            variant=self.take("variant", str),
            precision=self.take("precision", str),
            source=self.take("source", self.source),
            options=self.take("options", dict),
            inputs=inputs,
            outputs=self.take("outputs", lambda items: tuple(_output(item) for item in items)),
            samples=Samples(path, names, fed),
            calibration=Samples.counted(calibration, fed) if calibration else None,
            promises=self.take("promises", lambda items: tuple(str(item) for item in items)),
            latency=self.take("latency", _latency_plan),
            reference=self.take("reference", bool),
            given=self.take("given", self.given) if "given" in self.document else (),
            lint=self.take("lint", dict) if "lint" in self.document else None,
            meaning=self.take("meaning", dict) if "meaning" in self.document else {},
            events=events,
        )

    def take(self, key: str, parse: Callable[[Any], Parsed]) -> Parsed:
        try:
            return parse(self.document[key])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problem = "is absent" if key not in self.document else f"is wrong: {type(error).__name__}: {error}"
            raise JobError(f"job.json: {key!r} {problem}", "use the farm and the image of one release") from None

    def source(self, value: Mapping[str, Any]) -> Union[TorchSource, FileSource]:
        if value["kind"] != "torch":
            return FileSource(kind=str(value["kind"]), file=self.path(value["file"]))
        return TorchSource(
            module=self.path(value["module"]),
            factory=str(value["factory"]),
            arguments=dict(value["arguments"]),
            weights=self.optional_path(value["weights"]),
            seed=int(value["seed"]),
        )

    def given(self, names: Any) -> Tuple[Path, ...]:
        return tuple(self.path(f"in/given/{name}") for name in names)

    def optional_path(self, value: Optional[str]) -> Optional[Path]:
        return None if value is None else self.path(value)

    def path(self, value: str) -> Path:
        relative = PurePosixPath(value)
        if relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"the path {value!r} leaves the job folder")
        return self.folder / relative


def _input(value: Mapping[str, Any]) -> Input:
    shape = tuple(int(size) for size in value["shape"])
    return Input(name=str(value["name"]), shape=shape, dtype=str(value["dtype"]), layout=value.get("layout"))


def _output(value: Mapping[str, Any]) -> Output:
    shape = value.get("shape")
    known = None if shape is None else tuple(int(size) for size in shape)
    return Output(name=str(value["name"]), shape=known, dtype=value.get("dtype"))


def _latency_plan(value: Mapping[str, Any]) -> LatencyPlan:
    return LatencyPlan(warmup=int(value["warmup"]), runs=int(value["runs"]), seconds=float(value["seconds"]))
