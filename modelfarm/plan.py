"""Plans: recipes and a target become jobs, each with its materials and its key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from modelfarm import edits
from modelfarm.contradictions import axis_problems
from modelfarm.digest import Digests, key_of
from modelfarm.errors import MachineError, RecipeError, UsageError
from modelfarm.gpu import Gpu
from modelfarm.job import REFERENCE, SCHEMA, Job, Material
from modelfarm.lookup import Lookup, Progress
from modelfarm.neighbours import neighbours
from modelfarm.recipe import Recipe, TorchSource
from modelfarm.request import RANDOM, Request, parse_models
from modelfarm.runners import Runner
from modelfarm.target import Target

__all__ = ["RANDOM", "Planner", "Request", "parse_models", "variants"]

_RECIPE_PARTS = ("inputs", "outputs", "decoder", "samples", "expect", "limits")


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Plans jobs for one target.

    `feeding` plans those whose artifacts this target's jobs start from; `beside` gives what plans for another toolchain
    by its name: another way to make the target, or what brings a source to what the target reads. `gpu` is the GPU that
    the target's artifacts are made for, None where they are for any machine.
    """

    target: Target
    runner: Runner
    lookup: Lookup
    digests: Digests
    request: Request
    progress: Progress | None = None
    feeding: Planner | None = None
    beside: Callable[[str], Planner] | None = None
    gpu: Gpu | None = None

    @cached_property
    def given(self) -> dict[str, Any]:
        """Return the options of the command line; raises UsageError where the target does not know them."""
        return self.request.given(self.target)

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
        """Yield the jobs of a recipe, one for each way and precision.

        Raises UsageError where the target does not read the recipe's source or an option is off,
        MachineError where files are missing.
        """
        given = self.given
        for where, message in axis_problems(recipe.values["inputs"], {self.target.name: given}):
            raise UsageError(f"OPTIONS: {'.'.join(map(str, where[2:]))}: {message}")
        usual = self._usual(recipe)
        first = next(iter(self.target.ways), "")
        own = _listed(usual.get("via") or first)
        unnamed = own[0] if len(own) == 1 else first
        changed = {name: value for name, value in given.items() if value != usual.get(name)}
        changed = {name: value for name, value in changed.items() if name not in ("precision", "seconds", "via")}
        for way in _listed(given.get("via") or own):
            planner = self._by(self.target.ways.get(way, self.target.name))
            yield from planner._made(recipe, {**usual, **given}, changed, "" if way == unnamed else way)

    def _by(self, name: str) -> Planner:
        if name == self.target.name:
            return self
        assert self.beside is not None
        return self.beside(name)

    def _usual(self, recipe: Recipe) -> dict[str, Any]:
        """Return the options that a recipe has for the target, with the target's defaults."""
        return {**self.target.defaults, **(recipe.targets.get(self.target.makes_for) or {})}

    def _made(self, recipe: Recipe, options: Mapping[str, Any], changed: Mapping[str, Any], way: str) -> Iterator[Job]:
        """Yield the jobs of one way, which shows in their variants where it is not the recipe's own."""
        edited, plain, options = dict(self.request.edit), recipe, dict(options)
        recipe, options = edits.planned(recipe, options, edited)
        seconds = options.pop("seconds", None) or self.target.seconds
        precisions = _listed(options.pop("precision", self.target.precisions[0]))
        options.pop("via", None)
        for precision in precisions:
            origin = self._origin(plain, options, precision)
            if origin and self.feeding:
                recipe = origin.recipe  # with the batch and the outputs that it starts from
                if origin.dynamic:  # the same samples, whose outputs in the source it keeps
                    options["dynamic"] = origin.options["dynamic"]
            variant = self._variant(precision, {**changed, **edited}, way)
            yield self._job(recipe, precision, options, variant, self._materials(recipe, origin), seconds,
                            origin=origin)

    def _origin(self, recipe: Recipe, options: Mapping[str, Any], precision: str) -> Job | None:
        """Return the job that the jobs of a recipe start from, None where that is its source.

        Raises UsageError where nothing leads from the source to the target.
        """
        if self.feeding:
            return self.feeding.feed(recipe, self.target, edits.adapted(options), precision)
        kind = recipe.source.kind
        if kind in self.target.reads:
            return None
        if kind not in self.target.bridges:
            raise UsageError(f"target {self.target.name} cannot read {'an' if kind == 'onnx' else 'a'} {kind} source, "
                             f"as {recipe.name} has; it reads {' and '.join(self.target.reads)}")
        return self._by(self.target.bridges[kind]).bring(recipe)

    def fed(self, recipe: Recipe, reader: Target) -> Iterator[Job]:
        """Yield the job whose artifact another target starts from, with the edits that the recipe has for it."""
        usual = {**reader.defaults, **(recipe.targets.get(reader.makes_for) or {})}
        yield self.feed(recipe, reader, edits.adapted(usual), reader.precisions[0])

    def feed(self, recipe: Recipe, reader: Target, adapt: Mapping[str, Any], precision: str) -> Job:
        """Return the job whose artifact another target starts from: this target's, with the options that it needs.

        `adapt` are the edits that the reader wants. The job keeps the source's outputs, which the reader's gates
        compare with, and holds the graph against what the reader takes. One job serves every precision, but for those
        in which the reader wants the graph itself: it is then made, judged and named in that precision.
        """
        if not self.target.runs:
            raise UsageError(f"target {reader.name} cannot start from {self.target.name}, whose artifacts are built "
                             "and not run: nobody has seen what they compute")
        assert reader.needs is not None
        usual = self._usual(recipe)
        options = {**usual, **reader.needs.options}
        if always := reader.needs.options.get("edit"):  # what it needs of every graph, unless a recipe objects
            options["edit"] = {**always, **(usual.get("edit") or {})}
        graph, parts, own = recipe, [self.target.name, "for", reader.name], reader.brings(precision)
        if adapt := _in_precision(adapt, reader.needs.precisions, precision):
            graph, options["edit"] = edits.on_top(recipe, options.get("edit") or {}, adapt)
        return self._kept(recipe, graph, options, [*parts, *([precision] if own else [])], reader,
                          precision if own else "")

    def bring(self, recipe: Recipe) -> Job:
        """Return the job that brings a source to what other targets read; it keeps the source's outputs for them."""
        parts = [self.target.makes, "from", recipe.source.kind]
        return self._kept(recipe, recipe, self._usual(recipe), parts, None)

    def _kept(self, plain: Recipe, recipe: Recipe, options: dict[str, Any], parts: Sequence[str],
              reader: Target | None, precision: str = "") -> Job:
        precision = precision or self.target.precisions[0]
        recipe, options = edits.planned(recipe, options, {})
        seconds = options.pop("seconds", None) or self.target.seconds
        options.pop("precision", None)
        variant = "-".join([*parts, *([RANDOM] if self._random else [])])
        origin = self._origin(plain, options, precision)
        return self._job(recipe, precision, options, variant, self._materials(recipe, origin), seconds, origin=origin,
                         reader=reader, kept=True)

    def _job(self, recipe: Recipe, precision: str, options: Mapping[str, Any], variant: str,
             materials: tuple[Material, ...], seconds: int, *, origin: Job | None = None,
             reader: Target | None = None, kept: bool = False) -> Job:
        waived = self.request.expect == "none"
        lint = {"title": reader.title, "operators": reader.operators} if reader and reader.operators else None
        # Who makes the precision measures the ranges: the graph's job where the reader wants the graph in it.
        measuring = reader if reader and reader.brings(precision) else self.target
        calibrated = precision in measuring.calibrates and not self.target.brings(precision)
        if calibrated:
            materials = (*materials, *self._calibration(recipe, variant))
        identity = {
            "schema": SCHEMA, "model": recipe.name, "target": self.target.name, "precision": precision,
            "source": {"artifact": origin.key} if origin else _source_identity(recipe), "options": dict(options),
            "recipe": {part: recipe.values[part] for part in _RECIPE_PARTS},
            "golden": not waived, "weights": RANDOM if self._random else "given",
            "materials": [[material.role, material.name, material.sha256] for material in materials],
            "toolchain": self.toolchain,
        }
        if calibrated:
            identity["calibration"] = {"variations": recipe.calibration.variations, "seed": recipe.calibration.seed}
        if self.gpu:
            identity["gpu"] = self.gpu.identity
        if kept:
            identity["feeds"] = {"target": reader.name, "takes": key_of(lint)} if reader else {}
        return Job(recipe=recipe, target=self.target, precision=precision, options=options, materials=materials,
                   variant=variant, random_weights=self._random, golden_waived=waived, runner=self.runner.name,
                   seconds=seconds, provenance=self.provenance, identity=identity,
                   key=key_of(identity), origin=origin, bridged=bool(origin) and not self.feeding,
                   keeps=(REFERENCE,) if kept else (), lint=lint, calibrated=calibrated)

    @property
    def _random(self) -> bool:
        return self.request.weights == RANDOM

    def _variant(self, precision: str, changed: Mapping[str, Any], way: str) -> str:
        """Name the variant; what OPTIONS changes of the recipe shows, so that `latest` is never an experiment."""
        parts = [self.target.makes_for]
        if len(self.target.precisions) > 1:
            parts.append(precision)
        if way:
            parts.append(way)
        parts += [name if value == name else f"{name}{_brief(value)}" for name, value in sorted(changed.items())]
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

    def _materials(self, recipe: Recipe, origin: Job | None) -> tuple[Material, ...]:
        return (*(() if origin else self._source(recipe)), *self._samples(recipe))

    def _samples(self, recipe: Recipe) -> Iterator[Material]:
        samples = {"pictures": recipe.samples.pictures, "arrays": recipe.samples.arrays}
        for role, files in self.lookup.matching_all(samples, recipe.folder).items():
            yield from (self._material(role, file) for file in files)
        if recipe.decoder and recipe.decoder.module:
            yield self._material("decoder", recipe.decoder.module)
        if recipe.decoder and recipe.decoder.options.get("labels"):
            yield self._material("labels", recipe.folder / recipe.decoder.options["labels"])

    def _calibration(self, recipe: Recipe, variant: str) -> Iterator[Material]:
        choice = recipe.calibration
        if not (choice.pictures or choice.arrays):
            raise RecipeError(f"{recipe.name} has no `calibration`, and {variant} measures its ranges on such samples",
                              remedy="name pictures like those that the model will see, at best some dozens: "
                                     "calibration: {pictures: [calibration/*.png]}; docs/quantisation.md says more")
        groups = {"calibration pictures": choice.pictures, "calibration arrays": choice.arrays}
        for role, files in self.lookup.matching_all(groups, recipe.folder).items():
            yield from (self._material(role, file) for file in files)

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


def _in_precision(adapt: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]], precision: str) -> dict[str, Any]:
    """Return the edits of a graph for one precision: of those that bring it to one, its own, as the recipe has them."""
    only = {name for table in tables.values() for name in table}
    wanted = {name: value for name, value in adapt.items() if name not in only}
    return {**wanted, **{name: adapt.get(name, value) for name, value in tables.get(precision, {}).items()}}


def _source_identity(recipe: Recipe) -> dict[str, Any]:
    source = recipe.source
    if isinstance(source, TorchSource):
        return {"kind": source.kind, "factory": source.factory, "arguments": dict(source.arguments)}
    return {"kind": source.kind}


def variants(target: Target, recipe: Recipe, request: Request) -> list[Request]:
    """Return a request for each way and precision of a target: those that are asked for, else the recipe's precisions
    in every way.
    """
    given = request.given(target)
    options = {**(recipe.targets.get(target.name) or {}), **given}
    precisions = _listed(options.get("precision") or target.precisions[0])
    ways = _listed(given.get("via") or list(target.ways) or "")
    rest = " ".join(word for word in request.options.split() if not word.startswith(("precision=", "via=")))
    return [replace(request, options=rest, precision=precision, via=way) for precision in precisions for way in ways]


def _listed(value: Any) -> list[str]:
    """Return one name, or the list of several, as a list without repetitions."""
    return [value] if isinstance(value, str) else list(dict.fromkeys(value))


def _brief(value: Any) -> str:
    """Return a value as part of a variant's name."""
    if value is False or value in ({}, []):
        return "-none"
    if isinstance(value, str | int | float):
        return "" if value is True else re.sub(r"[^A-Za-z0-9.]+", "_", str(value))
    return f"-{key_of(value)[:6]}"
