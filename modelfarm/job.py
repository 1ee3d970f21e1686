"""Jobs: one conversion with all its inputs, what the image is told, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from modelfarm.digest import key_of
from modelfarm.errors import ConversionError, GateError
from modelfarm.recipe import Input, Output, Recipe
from modelfarm.target import Target

REFERENCE = "reference.npz"  # the source's outputs on the samples
OTHER_OUTPUTS = {"batch", "keep", "remove", "exported", "cut_decode", "split_outputs", "normalise_boxes"}  # edits
_UNUSABLE = "UnusableError"  # jobkit's word for what was made and does not load, run or read back
SCHEMA = 1  # of job.json, result.json and the key: raise it when any of them changes its meaning


@dataclass(frozen=True, kw_only=True)
class Material:
    """A file that goes into a job: `role` is module, neighbour (of it), weights, source, pictures, arrays,
    calibration pictures, calibration arrays, decoder or labels.
    """

    role: str
    name: str
    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """One (model, variant) conversion; `identity` is everything that `key` is the digest of.

    `provenance` is what else is known of the toolchain; `seconds` are what the job may take; `origin` is the job whose
    artifact this one starts from, instead of the source; `keeps` are files of out/ that the artifact keeps for others;
    `lint` is what the target that reads the artifact takes of it, with that target's title. `bridged` says that the
    origin is the source itself, brought to another format. `calibrated` says that the job's toolchain measures ranges.
    """

    recipe: Recipe
    target: Target
    variant: str
    precision: str
    options: Mapping[str, Any]
    materials: tuple[Material, ...]
    random_weights: bool
    golden_waived: bool
    runner: str
    seconds: int
    provenance: Mapping[str, Any]
    identity: Mapping[str, Any]
    key: str
    origin: Job | None = None
    bridged: bool = False
    keeps: tuple[str, ...] = ()
    lint: Mapping[str, Any] | None = None
    calibrated: bool = False

    @property
    def name(self) -> str:
        """Return `model/variant`, as output and messages name the job."""
        return f"{self.recipe.name}/{self.variant}"

    @cached_property
    def made_with(self) -> str:
        """Return the digest of the toolchain, and of the GPU where there is one, as the key holds them."""
        return key_of([self.identity["toolchain"], self.identity.get("gpu")])

    @property
    def dynamic(self) -> Mapping[str, Mapping[int, str]]:
        """Return the axes left open, by input name and axis number."""
        axes = self.options.get("dynamic") or {}
        return {name: {int(axis): label for axis, label in table.items()} for name, table in axes.items()}

    @property
    def tells_reference(self) -> bool:
        """Return whether the job's own toolchain tells the reference, by running what the job reads.

        Elsewhere it is that of the job's origin, which comes from the source. But a source that was brought to another
        format knows only the recipe's samples and its own outputs: what open axes add, and what edits make of outputs,
        the toolchain that does it has to tell, by the graph that it starts from.
        """
        if self.origin is None:
            return True
        return self.bridged and bool(self.dynamic or OTHER_OUTPUTS & set(self.options.get("edit") or {}))

    @property
    def line(self) -> tuple[Job, ...]:
        """Return what the job starts from, the first first, and the job itself."""
        return (*(self.origin.line if self.origin else ()), self)

    def having(self, role: str) -> tuple[Material, ...]:
        """Return the materials of one role."""
        return tuple(material for material in self.materials if material.role == role)


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """What job.json says; paths are relative to the job folder.

    `given` names files in in/given/, made earlier, that are to be loaded and run: then nothing is converted. `lint` is
    what the target that reads the artifact takes of it. `meaning` is what is known of the model for its users.
    """

    model: str
    target: str
    variant: str
    precision: str
    source: Mapping[str, Any]
    options: Mapping[str, Any]
    inputs: Sequence[Input]
    outputs: Sequence[Output]
    samples: Sequence[str]
    calibration: str | None
    promises: Sequence[str]
    latency: Mapping[str, float]
    reference: bool = True
    given: Sequence[str] = ()
    lint: Mapping[str, Any] | None = None
    meaning: Mapping[str, Any] | None = None
    schema: int = SCHEMA

    def write(self, file: Path) -> None:
        """Write job.json."""
        document = asdict(self)
        for entry in document["inputs"]:
            del entry["picture"]
        for name in ("given", "lint", "meaning"):
            if not document[name]:
                del document[name]
        file.write_text(json.dumps(document, indent=1), encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor as the artifact has it; an open axis is a name.

    `layout` is NCHW or NHWC where the toolchain found it out from the file. An integer stands for
    (integer - `zero_point`) * `scale`; both are None where the tensor is not quantised.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    layout: str | None = None
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Inference times of one sample, in milliseconds; `figures` is what else a runtime measured, each with its unit."""

    median_ms: float
    p95_ms: float
    runs: int
    sample: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where the runtime was meant to run, and where it ran."""

    wanted: str
    used: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What result.json of a successful job says; no latency where the artifact was inspected and not run."""

    files: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    device: Device
    latency: Latency | None
    timings: Mapping[str, float]
    facts: Mapping[str, Any]
    versions: Mapping[str, str]


def read_result(file: Path) -> JobResult:
    """Read result.json; raises ConversionError with the toolchain's own words where the job failed.

    Raises GateError where what it made does not work in its own runtime.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["ok"]:
            return _result(document)
        failure = _failure(document["error"])
    except FileNotFoundError:
        raise ConversionError("the toolchain ended without a result",
                              remedy="convert.log holds its last words") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConversionError(f"{file.name} is not what the farm expects: {type(error).__name__}: {error}",
                              remedy="the toolchain's jobkit and the farm must be of one version") from error
    raise failure


def _result(document: Mapping[str, Any]) -> JobResult:
    signature = document["signature"]
    return JobResult(
        files=tuple(document["files"]), inputs=_tensors(signature["inputs"]), outputs=_tensors(signature["outputs"]),
        device=Device(**document["device"]), timings=document["timings"],
        latency=Latency(**document["latency"]) if document["latency"] else None,
        facts=document["facts"], versions=document["versions"])


def _tensors(entries: Sequence[Mapping[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(Tensor(name=entry["name"], shape=tuple(entry["shape"]), dtype=entry["dtype"],
                        layout=entry.get("layout"), scale=entry.get("scale"), zero_point=entry.get("zero_point"))
                 for entry in entries)


def _failure(error: Mapping[str, Any]) -> ConversionError | GateError:
    if error["class"] == _UNUSABLE:
        return GateError(error["message"], remedy=error["remedy"])
    if error["kind"] == "refused":
        return ConversionError(error["message"], remedy=error["remedy"])
    last = "".join(f"\n    {line}" for line in error["log"][-8:])
    return ConversionError(f"{error['class']}: {error['message']}{last}",
                           remedy=error["remedy"] or "convert.log holds the whole output")
