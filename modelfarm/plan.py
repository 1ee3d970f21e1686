"""Plans: recipes and a target become jobs, each with its materials and its key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from modelfarm import edits
from modelfarm.contradictions import axis_problems
from modelfarm.digest import Digests, key_of
from modelfarm.document import Document
from modelfarm.errors import MachineError, UsageError
from modelfarm.gpu import Gpu
from modelfarm.job import REFERENCE, SCHEMA, Job, Material
from modelfarm.lookup import Lookup, Progress
from modelfarm.neighbours import neighbours
from modelfarm.recipe import Recipe, TorchSource
from modelfarm.runners import Runner
from modelfarm.target import Target

RANDOM = "random"  # WEIGHTS=random
_RECIPE_PARTS = ("inputs", "outputs", "decoder", "samples", "expect", "limits")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for, beside models and target; `edit` are edits of the graph."""

    weights: str = ""
    options: str = ""
    expect: str = ""
    edit: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.expect not in ("", "none"):
            raise UsageError(f"EXPECT={self.expect} is not known; the only value is none",
                             remedy="EXPECT=none says that the recipe's golden results do not describe these weights")


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Plans jobs for one target; `feeding` plans those whose artifacts this target's jobs start from.

    `gpu` is the GPU that the target's artifacts are made for, None where they are for any machine.
    """

    target: Target
    runner: Runner
    lookup: Lookup
    digests: Digests
    request: Request
    progress: Progress | None = None
    feeding: Planner | None = None
    gpu: Gpu | None = None

    @cached_property
    def given(self) -> dict[str, Any]:
        """Return the options of the command line; raises UsageError where the target does not know them."""
        return _parse_options(self.request.options, self.target)

    @cached_property
    def toolchain(self) -> Mapping[str, Any]:
        """Return what about the toolchain is in the key; raises MachineError where it is not here."""
        return self.runner.identity(self.target, self.digests)

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """Return what else is known of the toolchain."""
        return self.runner.provenance(self.target, self.digests)

    def look(self) -> None:
        """Raise MachineError where a toolchain that the target's jobs want is not here."""
        if self.feeding:
            self.feeding.look()
        _ = self.toolchain

    def jobs(self, recipe: Recipe) -> Iterator[Job]:
        """Yield the jobs of a recipe, one for each precision.

        Raises UsageError where the target does not read the recipe's source or an option is off,
        MachineError where files are missing.
        """
        if self.feeding is None:
            self._check_source(recipe)
        given, edited = self.given, dict(self.request.edit)
        for where, message in axis_problems(recipe.values["inputs"], {self.target.name: given}):
            raise UsageError(f"OPTIONS: {'.'.join(map(str, where[2:]))}: {message}")
        usual = {**self.target.defaults, **(recipe.targets.get(self.target.name) or {})}
        options = {**usual, **given}
        changed = {name: value for name, value in given.items() if value != usual.get(name)}
        changed |= edited
        recipe, options = edits.planned(recipe, options, edited)
        seconds = options.pop("seconds", None) or self.target.seconds
        precisions = options.pop("precision", self.target.precisions[0])
        precisions = [precisions] if isinstance(precisions, str) else list(dict.fromkeys(precisions))
        origin = self.feeding.feed(recipe, self.target, options.get("adapt") or {}) if self.feeding else None
        recipe = origin.recipe if origin else recipe  # with the batch that it starts from
        materials = (*(() if origin else self._source(recipe)), *self._materials(recipe))
        for precision in precisions:
            yield self._job(recipe, precision, options, self._variant(precision, changed), materials, seconds,
                            origin=origin)

    def fed(self, recipe: Recipe, reader: Target) -> Iterator[Job]:
        """Yield the job whose artifact another target starts from, with the edits that the recipe has for it."""
        usual = {**reader.defaults, **(recipe.targets.get(reader.name) or {})}
        yield self.feed(recipe, reader, usual.get("adapt") or {})

    def feed(self, recipe: Recipe, reader: Target, adapt: Mapping[str, Any]) -> Job:
        """Return the job whose artifact another target starts from: this target's, with the options that it needs.

        `adapt` are the edits that the reader wants. The job keeps the source's outputs, which the reader's gates
        compare with, and holds the graph against what the reader takes.
        """
        self._check_source(recipe)
        if not self.target.runs:
            raise UsageError(f"target {reader.name} cannot start from {self.target.name}, whose artifacts are built "
                             "and not run: nobody has seen what they compute")
        assert reader.needs is not None
        options = {**self.target.defaults, **(recipe.targets.get(self.target.name) or {}), **reader.needs.options}
        if adapt:
            options["edit"] = {**(options.get("edit") or {}), **adapt}
        recipe, options = edits.planned(recipe, options, {})
        seconds, precision = options.pop("seconds", None) or self.target.seconds, self.target.precisions[0]
        options.pop("precision", None)
        parts = [self.target.name, "for", reader.name, *([RANDOM] if self._random else [])]
        materials = (*self._source(recipe), *self._materials(recipe))
        return self._job(recipe, precision, options, "-".join(parts), materials, seconds, reader=reader)

    def _check_source(self, recipe: Recipe) -> None:
        if recipe.source.kind not in self.target.reads:
            raise UsageError(f"target {self.target.name} cannot read a {recipe.source.kind} source, "
                             f"as {recipe.name} has; it reads {' and '.join(self.target.reads)}")

    def _job(self, recipe: Recipe, precision: str, options: Mapping[str, Any], variant: str,
             materials: tuple[Material, ...], seconds: int, *, origin: Job | None = None,
             reader: Target | None = None) -> Job:
        waived = self.request.expect == "none"
        lint = {"title": reader.title, "operators": reader.operators} if reader and reader.operators else None
        identity = {
            "schema": SCHEMA, "model": recipe.name, "target": self.target.name, "precision": precision,
            "source": {"artifact": origin.key} if origin else _source_identity(recipe), "options": dict(options),
            "recipe": {part: recipe.values[part] for part in _RECIPE_PARTS},
            "golden": not waived, "weights": RANDOM if self._random else "given",
            "materials": [[material.role, material.name, material.sha256] for material in materials],
            "toolchain": self.toolchain,
        }
        if self.gpu:
            identity["gpu"] = self.gpu.identity
        if reader:
            identity["feeds"] = {"target": reader.name, "takes": key_of(lint)}
        return Job(recipe=recipe, target=self.target, precision=precision, options=options, materials=materials,
                   variant=variant, random_weights=self._random, golden_waived=waived, runner=self.runner.name,
                   seconds=seconds, provenance=self.provenance, identity=identity,
                   key=key_of(identity), origin=origin, keeps=(REFERENCE,) if reader else (), lint=lint)

    @property
    def _random(self) -> bool:
        return self.request.weights == RANDOM

    def _variant(self, precision: str, changed: Mapping[str, Any]) -> str:
        """Name the variant; what OPTIONS changes of the recipe shows, so that `latest` is never an experiment."""
        parts = [self.target.name]
        if len(self.target.precisions) > 1:
            parts.append(precision)
        parts += [name if value == name else f"{name}{_brief(value)}" for name, value in sorted(changed.items())
                  if name not in ("precision", "seconds")]
        return "-".join([*parts, RANDOM] if self._random else parts)

    def _source(self, recipe: Recipe) -> Iterator[Material]:
        source = recipe.source
        if isinstance(source, TorchSource):
            yield self._material("module", source.module)
            yield from (self._material("neighbour", file) for file in neighbours(source.module))
            if not self._random:
                yield self._material("weights", self._weights(recipe))
        elif self._random:
            raise UsageError(f"WEIGHTS=random needs an architecture; {recipe.name} is made from a file")
        else:
            yield self._material("source", self._weights(recipe))

    def _materials(self, recipe: Recipe) -> Iterator[Material]:
        samples = {"pictures": recipe.samples.pictures, "arrays": recipe.samples.arrays}
        for role, files in self.lookup.matching_all(samples, recipe.folder).items():
            yield from (self._material(role, file) for file in files)
        if recipe.decoder and recipe.decoder.module:
            yield self._material("decoder", recipe.decoder.module)
        if recipe.decoder and recipe.decoder.options.get("labels"):
            yield self._material("labels", recipe.folder / recipe.decoder.options["labels"])

    def _weights(self, recipe: Recipe) -> Path:
        if self.request.weights:
            return self.lookup.given(self.request.weights)
        source = recipe.source
        named = source.weights if isinstance(source, TorchSource) else source.file
        return self.lookup.file(named, recipe.folder, self.progress)

    def _material(self, role: str, path: Path) -> Material:
        try:
            return Material(role=role, name=path.name, path=path, sha256=self.digests.file(path))
        except OSError as error:
            raise MachineError(f"{path} cannot be read: {error.strerror}") from error


def _source_identity(recipe: Recipe) -> dict[str, Any]:
    source = recipe.source
    if isinstance(source, TorchSource):
        return {"kind": source.kind, "factory": source.factory, "arguments": dict(source.arguments)}
    return {"kind": source.kind}


def _parse_options(text: str, target: Target) -> dict[str, Any]:
    """Read OPTIONS="opset=11 simplify=false" against the target's options; raises UsageError."""
    if not text.strip():
        return {}
    pairs = [word.partition("=") for word in text.split()]
    if broken := [name for name, equals, _ in pairs if not equals]:
        raise UsageError(f"OPTIONS: {broken[0]!r} has no value",
                         remedy='write OPTIONS="name=value name=value", with no space inside a value')
    document = Document(Path("OPTIONS"), "\n".join(f"{name}: {value}" for name, _, value in pairs))
    values = document.read(target.options)
    if document.problems:
        said = (": ".join(part for part in (problem.where, problem.message) if part) for problem in document.problems)
        raise UsageError("; ".join(f"OPTIONS: {words}" for words in said))
    return {name: values[name] for name, _, _ in pairs}


def _brief(value: Any) -> str:
    """Return a value as part of a variant's name."""
    if value is False or value in ({}, []):
        return "-none"
    if isinstance(value, str | int | float):
        return "" if value is True else re.sub(r"[^A-Za-z0-9.]+", "_", str(value))
    return f"-{key_of(value)[:6]}"


def parse_models(text: str, known: Sequence[str]) -> list[str]:
    """Split MODEL= into names: one, several with commas, or `all`; raises UsageError where it is empty."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("which model?", remedy=f"say MODEL=name, MODEL=a,b or MODEL=all; known: {', '.join(known)}")
    return list(known) if names == ["all"] else list(dict.fromkeys(names))
