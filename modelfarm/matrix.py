"""The matrix: every model by every variant of its recipe, as jobs, and as rows where there can be none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from modelfarm.errors import FarmError, MachineError, UsageError
from modelfarm.job import Job
from modelfarm.night import Row
from modelfarm.plan import Planner
from modelfarm.recipe import Recipe
from modelfarm.store import Store
from modelfarm.target import Target


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Plans the jobs of many models; each target's toolchain is looked at once.

    `planner` gives what plans a target's jobs, and raises MachineError where its toolchain is not here.
    """

    recipe: Callable[[str], Recipe]
    planner: Callable[[Target], Planner]
    targets: Callable[[Recipe], Sequence[Target]]
    store: Store
    _planners: dict[str, Planner | FarmError] = field(default_factory=dict, repr=False)

    def plan(self, models: Sequence[str]) -> tuple[list[Job], list[Row]]:
        """Return the jobs of models, and a row for each target of a model that leads to none."""
        jobs: list[Job] = []
        rows: list[Row] = []
        for model in models:
            for entry in self._of(model):
                if isinstance(entry, Job):
                    jobs.append(entry)
                else:
                    rows.append(entry)
        return jobs, rows

    def _of(self, model: str) -> Iterator[Job | Row]:
        try:
            recipe = self.recipe(model)
        except FarmError as error:
            yield _row(model, "", error, "failed")
            return
        targets = self.targets(recipe)
        if not targets:
            nothing = UsageError("its recipe names no targets", remedy="say targets: {onnx: {}} in it")
            yield _row(model, "", nothing, "skipped")
        for target in targets:
            yield from self._jobs(recipe, target)

    def _jobs(self, recipe: Recipe, target: Target) -> Iterator[Job | Row]:
        planner = self._planner(target)
        if isinstance(planner, FarmError):
            yield _row(recipe.name, target.name, planner, "skipped")
            return
        try:
            yield from planner.jobs(recipe)
        except MachineError as error:
            yield _row(recipe.name, target.name, error, "failed" if self._was_made(recipe, target) else "skipped")
        except FarmError as error:
            yield _row(recipe.name, target.name, error, "failed")

    def _planner(self, target: Target) -> Planner | FarmError:
        """Return what plans a target's jobs, or why its toolchain cannot be used here."""
        if target.name not in self._planners:
            try:
                planner = self._planners[target.name] = self.planner(target)
                planner.look()
            except MachineError as error:
                self._planners[target.name] = error
        return self._planners[target.name]

    def _was_made(self, recipe: Recipe, target: Target) -> bool:
        """Return whether the store has an artifact of a target: then files that are missing have been lost."""
        return any(artifact.manifest["predicate"]["buildDefinition"]["externalParameters"]["target"] == target.name
                   for artifact in self.store.of_model(recipe.name))


def _row(model: str, target: str, error: FarmError, state: str) -> Row:
    return Row(model=model, variant=target, target=target, state=state, reason=error.message, remedy=error.remedy,
               code=error.code)
