"""The farm: what each task calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from modelfarm import disk, doctor
from modelfarm import settings as environment
from modelfarm.artifact import Artifact
from modelfarm.build import Builder
from modelfarm.console import Console
from modelfarm.digest import Digests
from modelfarm.engines.local import LocalEngine, Outcome
from modelfarm.errors import ArtifactError, FarmError, MachineError, UsageError
from modelfarm.grammar import json_schema
from modelfarm.job import Job
from modelfarm.lookup import Lookup
from modelfarm.phrase import shown
from modelfarm.plan import RANDOM, Planner, Request, parse_models
from modelfarm.recipe import ARCHITECTURES, Recipe, model_names, read_recipe, recipe_file
from modelfarm.runners import VenvRunner, choose
from modelfarm.schema import Record
from modelfarm.settings import ROOT, Settings, positive
from modelfarm.store import Store
from modelfarm.summary import print_findings, print_outcomes, print_status
from modelfarm.target import Target, choose_target, read_targets


@dataclass(frozen=True)
class Farm:
    """One invocation: its settings, and what they lead to."""

    settings: Settings

    @classmethod
    def here(cls) -> Farm:
        """Open the farm with the settings of the environment."""
        return cls(environment.from_environment())

    @cached_property
    def digests(self) -> Digests:
        """Return the digests of files, cached between invocations."""
        return Digests(self.settings.cache)

    @cached_property
    def store(self) -> Store:
        """Return the store of artifacts."""
        return Store(self.settings.artifacts, self.digests)

    @cached_property
    def targets(self) -> dict[str, Target]:
        """Return all targets by name."""
        return read_targets()

    @cached_property
    def runner(self) -> VenvRunner:
        """Return the runner that the settings choose."""
        return choose(self.settings)

    @property
    def lookup(self) -> Lookup:
        """Return what finds the files that recipes name."""
        return Lookup(data=self.settings.data, downloads=self.settings.downloads, digests=self.digests)

    def recipe(self, model: str) -> Recipe:
        """Read the recipe of a model."""
        return read_recipe(recipe_file(self.settings.models, model), self.options, ROOT / "models" / ARCHITECTURES)

    @property
    def options(self) -> dict[str, Record]:
        """Return the shape of each target's options."""
        return {name: target.options for name, target in self.targets.items()}

    def models(self) -> list[str]:
        """List the models of the models folder."""
        return model_names(self.settings.models)

    def convert(self, target: str, models: str, request: Request, console: Console) -> int:
        """Convert models to a target and print a summary; a failed one does not stop the others.

        Returns the exit code: 0, or that of the first failure. Raises UsageError where the words are off.
        """
        names = parse_models(models, self.models())
        if len(names) > 1 and request.weights not in ("", RANDOM):
            raise UsageError("WEIGHTS= names one file, but MODEL= several models", remedy="convert them one by one")
        for name in names:
            recipe_file(self.settings.models, name)
        planner = Planner(target=choose_target(self.targets, target), runner=self.runner, lookup=self.lookup,
                          digests=self.digests, request=request, progress=console.meter("download the weights"))
        self.store.sweep()
        jobs, outcomes = self._plan(planner, names)
        try:
            outcomes += LocalEngine(workers=self.settings.jobs, builder=self._builder).run(jobs, console)
        finally:
            self.digests.save()
        print_outcomes(outcomes, console)
        return next((outcome.error.code for outcome in outcomes if outcome.error), 0)

    def _plan(self, planner: Planner, names: Sequence[str]) -> tuple[list[Job], list[Outcome]]:
        """Plan what can be planned; what cannot is an outcome already."""
        jobs: list[Job] = []
        refused: list[Outcome] = []
        for name in names:
            try:
                jobs += planner.jobs(self.recipe(name))
            except FarmError as error:
                refused.append(Outcome(name=name, error=error))
        return jobs, refused

    def _builder(self, cancelled: Callable[[], bool]) -> Builder:
        return Builder(store=self.store, runner=self.runner, cancelled=cancelled)

    def artifact(self, model: str, variant: str) -> Artifact:
        """Return the latest artifact of a model; raises ArtifactError where there is none, or a damaged one."""
        name = only(parse_models(model, self.models()))
        recipe_file(self.settings.models, name)
        found = self.store.latest(name, variant)
        if found is None:
            target = variant.partition("-")[0]
            raise ArtifactError(f"{name} has no {variant} artifact yet", remedy=f"make {target} MODEL={name}")
        return found.check(self.digests)

    def list_models(self, console: Console) -> None:
        """Print the models, what they are made from, and whether their files are here."""
        rows = [("model", "source", "targets", "files", "description")]
        lookup = replace(self.lookup, offline=True)
        for name in self.models():
            try:
                recipe = self.recipe(name)
            except FarmError as error:
                rows.append((name, "", "", "", error.message.splitlines()[0]))
                continue
            files = "here" if doctor.has_files(recipe, lookup) else "missing"
            targets = " ".join(target for target, options in recipe.targets.items() if options)
            rows.append((name, recipe.source.kind, targets, files, recipe.description))
        console.table(rows)

    def list_artifacts(self, console: Console) -> None:
        """Print the artifacts and the failures of the store."""
        print_status(self.store, console)

    def examine(self, console: Console) -> None:
        """Print what the doctor finds; raises MachineError where something is lacking."""
        if not print_findings(self._findings(), console):
            raise MachineError("this machine lacks something", remedy="see the remedies above")

    def _findings(self) -> Iterator[doctor.Finding]:
        yield from doctor.examine_machine(self.settings)
        for target in self.targets.values():
            yield from doctor.examine_toolchain(target, self.runner)
        yield from doctor.examine_engines()
        yield from doctor.examine_store(self.store)
        recipes: list[Recipe] = []
        for name in self.models():
            try:
                recipes.append(self.recipe(name))
            except FarmError as error:
                yield doctor.Finding(state="lacking", subject=f"recipe {name}", detail=error.message,
                                     remedy=error.remedy)
        yield from doctor.examine_recipes(recipes, replace(self.lookup, offline=True))

    def collect(self, keep: str, console: Console) -> None:
        """Remove old versions and print what went."""
        removed = self.store.gc(positive(keep, "KEEP"))
        for entry in removed:
            console.line(f"  removed {shown(entry.folder)}")
        console.line(f"  {len(removed)} removed")

    def clean(self, console: Console) -> None:
        """Remove failures and what killed runs left."""
        self.store.sweep()
        failures = list(self.store.failures())
        for failure in failures:
            disk.remove(failure.folder)
            console.line(f"  removed {shown(failure.folder)}")
        console.line(f"  {len(failures)} failures removed; artifacts stay (make gc removes old versions)")

    def write_schema(self, console: Console) -> None:
        """Write the JSON Schema of recipes into docs/."""
        file = ROOT / "docs" / "recipe.schema.json"
        file.write_text(json.dumps(json_schema(self.options), indent=1) + "\n", encoding="utf-8")
        console.line(f"  {shown(file)}")


def only(names: Sequence[str]) -> str:
    """Return the one name; raises UsageError where there are several."""
    if len(names) > 1:
        raise UsageError(f"one model at a time, not {len(names)}", remedy="say MODEL=name")
    return names[0]
