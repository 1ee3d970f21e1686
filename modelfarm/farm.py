"""The farm: what each task calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from modelfarm import disk, doctor
from modelfarm import settings as environment
from modelfarm.artifact import Artifact
from modelfarm.board import Blocks
from modelfarm.build import Builder
from modelfarm.console import Console
from modelfarm.digest import Digests
from modelfarm.engines.engine import Engine, Outcome, code_of
from modelfarm.engines.graph import Graph, Watch
from modelfarm.engines.local import LocalEngine
from modelfarm.engines.slots import Slots
from modelfarm.errors import ArtifactError, FarmError, MachineError, UsageError
from modelfarm.grammar import json_schema
from modelfarm.job import Job
from modelfarm.lookup import Lookup
from modelfarm.matrix import Matrix
from modelfarm.phrase import shown
from modelfarm.pins import published_lock
from modelfarm.plan import RANDOM, Planner, Request, parse_models, variants
from modelfarm.recipe import ARCHITECTURES, Recipe, model_names, read_recipe, recipe_file
from modelfarm.repository import checked_registry
from modelfarm.runners import Runners
from modelfarm.schema import Record
from modelfarm.settings import LOCAL, ROOT, Settings, positive
from modelfarm.store import Store
from modelfarm.summary import print_findings, print_lint, print_outcomes, print_status
from modelfarm.survey import surveys
from modelfarm.target import TOOLCHAINS, Target, choose_made, choose_target, read_targets

if TYPE_CHECKING:
    from modelfarm.engines.dask import DaskEngine
    from modelfarm.images.desk import Desk
    from modelfarm.registry.desk import Order


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
    def runners(self) -> Runners:
        """Return what chooses the runner of each target: this machine, or the workers of its cluster."""
        here = Runners(settings=self.settings, digests=self.digests)
        if self.cluster is None:
            return here
        from modelfarm.engines.abroad import Abroad

        return Abroad(settings=self.settings, digests=self.digests, here=here, tools=self.cluster.tools())

    @cached_property
    def cluster(self) -> DaskEngine | None:
        """Return the cluster that ENGINE= names, None where jobs run here; raises MachineError where it is silent."""
        if self.settings.engine == LOCAL:
            return None
        from modelfarm.engines.dask import DaskEngine

        registry = self.settings.registry and checked_registry(self.settings.registry, "ENGINE=")
        return DaskEngine(self.settings.engine, self.store, self._builder(lambda: False).find, registry)

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
        return {name: target.options for name, target in self.targets.items() if not target.way_of}

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
        planner = self.planner(choose_made(self.targets, target), request, console)
        self.store.sweep()
        jobs, outcomes = self._plan(planner.jobs, names)
        outcomes += self.run(jobs, Blocks(console), console, at_a_time=self.settings.jobs or 1)
        print_outcomes(outcomes, console)
        return code_of(outcomes)

    def compare(self, target: str, model: str, request: Request, console: Console) -> int:
        """Print what each way and precision of a target makes of a model; what is missing is converted first.

        Without PRECISION= the recipe's precisions are meant, without VIA= every way. Returns the exit code: 0, or that
        of the first failure.
        """
        from modelfarm.comparison import print_comparison

        made = choose_made(self.targets, target)
        recipe = self.recipe(only(parse_models(model, self.models())))
        outcomes: list[Outcome] = []
        self.store.sweep()
        for variant in variants(made, recipe, request):
            planner = self.planner(made, variant, console)
            jobs, refused = self._plan(planner.jobs, [recipe.name])
            wanted = {job.key for job in jobs}
            done = self.run(jobs, Blocks(console), console, at_a_time=self.settings.jobs or 1)
            named = [replace(each, name=f"{recipe.name}/{variant.precision} {variant.via}") for each in refused]
            failed = [each for each in done if each.error and each.job and each.job.key not in wanted]
            outcomes += [*named, *failed, *(each for each in done if each.job and each.job.key in wanted)]
        print_comparison(outcomes, next(iter(made.ways), ""), console)
        return code_of(outcomes)

    def planner(self, target: Target, request: Request, console: Console) -> Planner:
        """Return what plans a target's jobs, and those of the target that it needs."""
        gpu, feeding = self.runners.gpu(target), None  # a machine without one is told so before all else
        if target.needs:
            needed = choose_target(self.targets, target.needs.target)
            feeding = self.planner(needed, replace(request, options="", precision="", via="", batch=""), console)
        return Planner(target=target, runner=self.runners.of(target), lookup=self.lookup, digests=self.digests,
                       request=request, progress=console.meter("download the weights"), feeding=feeding, gpu=gpu,
                       beside=lambda name: self.planner(choose_target(self.targets, name), request, console))

    def matrix(self, request: Request, console: Console) -> Matrix:
        """Return what plans every variant that recipes name."""
        def named(recipe: Recipe) -> list[Target]:
            return [self.targets[name] for name, options in recipe.targets.items() if options]

        return Matrix(recipe=self.recipe, targets=named, store=self.store,
                      planner=lambda target: self.planner(target, request, console))

    def _plan(self, plan: Callable[[Recipe], Iterable[Job]],
              names: Sequence[str]) -> tuple[list[Job], list[Outcome]]:
        """Plan what can be planned; what cannot is an outcome already."""
        jobs: list[Job] = []
        refused: list[Outcome] = []
        for name in names:
            try:
                jobs += plan(self.recipe(name))
            except FarmError as error:
                refused.append(Outcome(name=name, error=error))
        return jobs, refused

    def run(self, jobs: Sequence[Job], watch: Watch, console: Console, *, at_a_time: int | None) -> list[Outcome]:
        """Run jobs on the engine that the settings name, and before them those that they start from.

        `at_a_time` is how many the local engine runs beside each other; None leaves that to memory and processors.
        Returns the outcomes in order; a failed job stops only those that start from it. Raises Interrupted on Ctrl-C,
        after every running job has ended.
        """
        try:
            return Graph(jobs, self._builder(lambda: False).find).run(self._engine(console, at_a_time), watch)
        finally:
            self.digests.save()

    def _engine(self, console: Console, at_a_time: int | None) -> Engine:
        if self.cluster:
            return self.cluster
        return LocalEngine(slots=Slots.of(self.settings, at_a_time), builder=self._builder, console=console)

    def _builder(self, cancelled: Callable[[], bool]) -> Builder:
        return Builder(store=self.store, runners=lambda target: self.runners.of(target), cancelled=cancelled)

    def artifact(self, model: str, variant: str) -> Artifact:
        """Return the latest artifact of a model; raises ArtifactError where there is none, or a damaged one."""
        name = only(parse_models(model, self.models()))
        recipe_file(self.settings.models, name)
        found = self.store.latest(name, variant)
        if found is None:
            target = variant.partition("-")[0]
            raise ArtifactError(f"{name} has no {variant} artifact yet", remedy=f"make {target} MODEL={name}")
        return found.check(self.digests)

    def explain(self, target: str, model: str, variant: str, request: Request, console: Console) -> None:
        """Print what of the key has changed since the latest artifact of a model."""
        from modelfarm.why import explain

        explain(self._jobs(target, model, request, console), variant, self.store, self.settings.images, console)

    def write_job(self, target: str, model: str, variant: str, folder: str, request: Request,
                  console: Console) -> None:
        """Write the folder that the toolchain would get, and print what runs it."""
        from modelfarm.reproduce import Rebuilder, choose, empty_folder

        place = empty_folder(folder)
        job = choose(self._jobs(target, model, request, console), variant)
        Rebuilder(store=self.store, runners=self.runners.of).write(job, place, console)

    def reproduce(self, target: str, model: str, variant: str, weights: str, console: Console) -> None:
        """Make the latest artifact again and print how the two compare; raises GateError where they differ."""
        from modelfarm.manifest import read_origin
        from modelfarm.reproduce import Rebuilder, Replanner, request_of, runner_of, usual_variant

        artifact = self.artifact(model, variant or usual_variant(choose_target(self.targets, target)))
        origin = read_origin(artifact)
        made = choose_target(self.targets, origin.target)
        runner = runner_of(origin, made, self.runners)
        planner = Replanner.of(self.planner(made, request_of(origin, weights), console), artifact, runner,
                                self.targets)
        job = planner.job(self.recipe(artifact.model))
        rebuilder = Rebuilder(store=self.store,
                              runners=lambda needed: runner if needed == made else self.runners.of(needed))
        console.line(f"  {job.name} {artifact.version}: {rebuilder.reproduce(job, artifact, console)}")

    def look(self, model: str, variant: str, picture: str, console: Console) -> None:
        """Run the latest artifact of a model on a picture, print what it sees and draw it.

        Raises MachineError, before anything is loaded, where the artifact is for another machine than this.
        """
        from modelfarm.look import Looker, picture_of
        from modelfarm.manifest import read_origin

        file, artifact = picture_of(picture), self.artifact(model, variant)
        origin = read_origin(artifact)
        target = choose_target(self.targets, origin.target)
        if not target.runs:
            raise UsageError(f"{artifact.model}/{variant} is built and not run: {target.name} engines run elsewhere")
        self._inspect(artifact, target, origin.precision)
        looker = Looker(store=self.store, runners=self.runners.of)
        drawn = looker.look(artifact, origin, target, self.recipe(artifact.model), file, console)
        console.line(f"  the picture:    {shown(drawn)}")

    def _inspect(self, artifact: Artifact, target: Target, precision: str) -> None:
        """Raise MachineError where an artifact was made for another GPU, or another version of its runtime."""
        from modelfarm import passport

        if (issued := passport.read_passport(artifact)) is None:
            return
        try:
            gpu = self.runners.gpu(target)
        except MachineError as error:
            raise MachineError(f"{artifact.model}/{artifact.variant} was built for {issued}. {error.message}",
                               remedy=error.remedy) from error
        assert gpu is not None
        packages = self.runners.of(target).packages(target)
        here = next((packages[name] for name in passport.PACKAGES if name in packages), "")
        way = f" VIA={target.way}" if target.way_of else ""
        passport.inspect(issued, artifact, gpu, here,
                         f"make {target.makes_for} MODEL={artifact.model} PRECISION={precision}{way}")

    def _jobs(self, target: str, model: str, request: Request, console: Console) -> list[Job]:
        """Plan the jobs of one model."""
        recipe = self.recipe(only(parse_models(model, self.models())))
        try:
            return list(self.planner(choose_made(self.targets, target), request, console).jobs(recipe))
        finally:
            self.digests.save()

    def diff(self, one: str, other: str, console: Console) -> None:
        """Print how two graphs differ: files, or the latest artifacts of `model` or `model/variant`."""
        from modelfarm.differ import print_differences

        print_differences(self.runners.venv, choose_target(self.targets, "onnx"), self._graph("A", one),
                          self._graph("B", other), console)

    def _graph(self, variable: str, text: str) -> Path:
        if not text:
            raise UsageError(f"{variable}= is missing", remedy="make diff A=one.onnx B=other.onnx, or names of models")
        if (file := Path(text).expanduser()).is_file():
            return file.absolute()
        model, _, variant = text.partition("/")
        artifact = self.artifact(model, variant or "onnx")
        return artifact.path(artifact.files[0].name)

    def lint(self, target: str, models: str, request: Request, console: Console) -> int:
        """Print what a target, or each that says what it takes, will not take of models; returns the exit code.

        The graph is exported and proven on the way, and kept: a conversion starts from it.
        """
        readers = [choose_target(self.targets, target)] if target else list(self.targets.values())
        if target and not readers[0].operators:
            raise UsageError(f"target {target} does not say what it takes",
                             remedy=f"docker/{target}/target.yaml has no operators")
        self.store.sweep()
        outcomes = []
        for reader in (reader for reader in readers if reader.operators):
            assert reader.needs
            planner = self.planner(choose_target(self.targets, reader.needs.target), request, console)
            jobs, refused = self._plan(partial(planner.fed, reader=reader), parse_models(models, self.models()))
            done = self.run(jobs, Blocks(console), console, at_a_time=self.settings.jobs or 1)
            outcomes += [*refused, *done]
            print_lint([*refused, *done], reader.title, console)
        return code_of(outcomes)

    def images(self) -> Desk:
        """Return what takes orders about the images of targets."""
        from modelfarm.images.desk import Desk  # not above: a conversion that is cached has no need of it

        return Desk(settings=self.settings, digests=self.digests, targets=self.targets)

    def publish(self, order: Order, force: bool, console: Console) -> int:
        """Publish artifacts to a registry; returns the exit code."""
        from modelfarm.registry import desk

        return desk.publish(self.store, order, force, console)

    def fetch(self, order: Order, console: Console) -> int:
        """Fetch artifacts from a registry into the store; returns the exit code."""
        from modelfarm.registry import desk

        self.store.sweep()
        return desk.fetch(self.store, order, self.models(), console)

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

    def report(self, console: Console) -> None:
        """Write the pages about everything in the store, and print where they begin."""
        from modelfarm.site.writer import Writer

        with console.step("write the report") as step:
            written = Writer(self.store).write(step.progress)
        self.digests.save()
        console.line(f"  {written.pages} pages, {written.fresh} written anew: {shown(written.index)}")

    def examine(self, console: Console) -> None:
        """Print what the doctor finds; raises MachineError where something is lacking."""
        if not print_findings(self._findings(), console):
            raise MachineError("this machine lacks something", remedy="see the remedies above")

    def _findings(self) -> Iterator[doctor.Finding]:
        yield from doctor.examine_machine(self.settings)
        engines = surveys()
        yield from doctor.examine_engines(engines, self.settings.runner)
        yield from doctor.examine_gpu(engines)
        yield from doctor.examine_toolchains(self.targets.values(), self.runners, engines, published_lock(TOOLCHAINS))
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
