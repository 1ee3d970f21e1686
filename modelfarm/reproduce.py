"""Reproduction: an artifact made again from its manifest, and compared; and job folders for working by hand."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from modelfarm import disk
from modelfarm.artifact import Artifact
from modelfarm.build import Builder
from modelfarm.console import Console
from modelfarm.errors import ConversionError, GateError, MachineError, UsageError, nearest
from modelfarm.job import Job, Material
from modelfarm.manifest import Origin, read_origin
from modelfarm.phrase import shown
from modelfarm.plan import RANDOM, Planner, Request
from modelfarm.recipe import Recipe
from modelfarm.runners import Runner, Runners
from modelfarm.script import command
from modelfarm.store import Stage
from modelfarm.target import Target
from modelfarm.why import Change, changes, row

if TYPE_CHECKING:
    from modelfarm.trial import Trial
    from modelfarm.verify import Verdict

_WEIGHTS = ("weights", "source")  # roles of what WEIGHTS= names
IDENTICAL, EQUAL = "identical", "equal behaviour, other bytes"
ALIKE = "other bytes, the same as far as it can be inspected; it was built, not run"


def request_of(origin: Origin, weights: str) -> Request:
    """Return what asked for an artifact; `weights` names a file where the recipe's are not those."""
    return Request(weights=RANDOM if origin.random_weights else weights, expect="none" if origin.golden_waived else "")


def runner_of(origin: Origin, target: Target, runners: Runners) -> Runner:
    """Return the runner that made an artifact, or the one that RUNNER= names."""
    settings = runners.settings
    if settings.runner != "auto":
        return runners.of(target)
    return Runners(settings=replace(settings, runner=origin.runner), digests=runners.digests).of(target)


@dataclass(frozen=True, kw_only=True)
class Replanner(Planner):
    """Plans one job as a manifest has it: its options and precision, whatever the recipe says of them now."""

    artifact: Artifact
    targets: Mapping[str, Target]

    @classmethod
    def of(cls, planner: Planner, artifact: Artifact, runner: Runner, targets: Mapping[str, Target]) -> Replanner:
        """Return what plans an artifact's job, with all that a planner of its target has but the runner."""
        known = {each.name: getattr(planner, each.name) for each in fields(planner)}
        return cls(**{**known, "runner": runner}, artifact=artifact, targets=targets)

    @cached_property
    def origin(self) -> Origin:
        """Return what the artifact was made from; raises ArtifactError where its manifest does not say it."""
        return read_origin(self.artifact)

    def job(self, recipe: Recipe) -> Job:
        """Return the job that would make the artifact again.

        Raises MachineError naming what is not as it was: then it would make another.
        """
        seconds = (recipe.targets.get(self.target.makes_for) or {}).get("seconds") or self.target.seconds
        reader = self.targets.get(self.origin.identity.get("feeds", {}).get("target", ""))
        origin = self._origin(recipe, self.origin.options, self.origin.precision)
        job = self._job(recipe, self.origin.precision, self.origin.options, self.artifact.variant,
                        self._materials(recipe, origin), seconds, origin=origin, reader=reader,
                        kept="feeds" in self.origin.identity)
        if found := list(changes(self.origin.identity, job.identity)):
            raise self._refusal(found)
        return job

    def _material(self, role: str, path: Path) -> Material:
        """Return a material; weights that are the manifest's by digest are called as they were."""
        material = super()._material(role, path)
        then = {name for (kind, name), sha256 in self.origin.materials.items()
                if kind == role in _WEIGHTS and sha256 == material.sha256}
        return replace(material, name=then.pop()) if len(then) == 1 else material

    def _refusal(self, found: Sequence[Change]) -> MachineError:
        rows = [row(change)[:3] for change in found]
        listed = "".join(f"\n    {field}: was {was}, is {now}" for field, was, now in rows)
        remedies = dict.fromkeys(self._remedy(change) for change in found)
        return MachineError(f"{self.artifact.folder} cannot be made again here: not all is as it was{listed}",
                            remedy="; ".join(remedies))

    def _remedy(self, change: Change) -> str:
        toolchain = self.origin.toolchain
        if change.field == "toolchain.runner":
            return f"RUNNER={self.origin.runner}"
        if change.field == "toolchain.image":
            names = toolchain.get("repositories") or [toolchain.get("image", "the manifest's image")]
            return f"get the image {names[0]}, or check out the revision that it was made from and make images"
        if change.field.startswith(("materials: weights", "materials: source")):
            return f"WEIGHTS= names the file with SHA-256 {self._weights_then}"
        if change.field == "source.artifact":
            return f"make why MODEL={self.artifact.model} TARGET={self.target.name} says what changed before it"
        return "check out the revision that the artifact was made with"

    @property
    def _weights_then(self) -> str:
        return next((sha256 for (role, _), sha256 in self.origin.materials.items() if role in _WEIGHTS), "as it was")


@dataclass(frozen=True, kw_only=True)
class Rebuilder(Builder):
    """Makes jobs beside the store, for comparison or for working by hand; it publishes nothing."""

    def reproduce(self, job: Job, artifact: Artifact, console: Console) -> str:
        """Make the job of an artifact again and compare: first the bytes, then what both compute.

        Returns how they compare; of what does not run here, what was found in it is compared. Raises GateError where
        they are different, ConversionError where the toolchain
        fails. The artifact is only read, and nothing of the new one is kept.
        """
        source = self._origin(job, console)
        with self.store.lock(job.key, waiting=lambda who: console.note(f"waiting for {who}, which works on the same"),
                             cancelled=self.cancelled):
            self.runners(job.target).prepare(job.target, console, self._go_on)
            with self.store.stage() as stage:
                fresh = self._attempt(job, source, stage, console)
                made = fresh.made()
                other = [name for name in {**artifact.subjects, **made}
                         if artifact.subjects.get(name) != made.get(name)]
                if not other:
                    return IDENTICAL
                if not job.target.runs:
                    return _alike(fresh, artifact)
                console.note(f"other bytes: {', '.join(other)}; comparing what both compute")
                verdict = self._behaviour(fresh, artifact, console)
        _print_differences(verdict, console)
        if verdict.failure:
            raise _otherwise(verdict)
        return EQUAL

    def _behaviour(self, fresh: Trial, artifact: Artifact, console: Console) -> Verdict:
        """Run the artifact's own files on the same samples and judge the fresh one's outputs by theirs."""
        job = fresh.job
        given = tuple(artifact.path(file.name) for file in artifact.files if file.name not in job.keeps)
        with self.store.stage() as stage:
            kept = self._attempt(job, fresh.origin, stage, console, given)
            with console.step("compare the outputs"):
                return fresh.compare(kept)

    def _attempt(self, job: Job, source: Artifact | None, stage: Stage, console: Console,
                 given: tuple[Path, ...] = ()) -> Trial:
        from modelfarm.trial import Trial

        trial = Trial(job=job, origin=source, folder=stage.folder, scratch=stage.scratch, digests=self.store.digests,
                      given=given)
        try:
            with console.step("prepare the samples"):
                trial.prepare()
            self._run(job, stage, console)
            assert trial.result
        except ConversionError as error:
            raise ConversionError(error.message, remedy=f"{command(job)} writes the job folder, to look closer; "
                                                        "the artifact in the store is as it was") from error
        return trial

    def write(self, job: Job, folder: Path, console: Console) -> None:
        """Write what the toolchain would get into a folder, and print the commands that run it there."""
        from modelfarm.trial import Trial

        source = self._origin(job, console)
        with self.store.stage() as stage:
            Trial(job=job, origin=source, folder=stage.folder, scratch=stage.scratch,
                  digests=self.store.digests).prepare()
            try:
                shutil.copytree(stage.scratch, folder, dirs_exist_ok=True)
            except OSError as error:
                raise MachineError(f"{folder} cannot be written: {error.strerror or error}") from error
        console.line(f"  {shown(folder)} is the job {job.name}; this runs it:")
        console.lines(["", f"JOB={shlex.quote(str(folder))}", self.runners(job.target).script(job.target).rstrip()])


def empty_folder(text: str) -> Path:
    """Return the folder that FOLDER= names; raises UsageError where it is none, or has anything in it."""
    if not text:
        raise UsageError("where to?", remedy="say FOLDER=path, of a folder that is new or empty")
    try:
        folder = Path(text).expanduser().absolute()
        if disk.names(folder):
            raise UsageError(f"FOLDER={text} is not empty", remedy="name a new one, or empty it")
    except (OSError, RuntimeError) as error:  # a file; ~somebody who is not known here
        raise UsageError(f"FOLDER={text} is no folder: {error}") from error
    return folder


def choose(jobs: Sequence[Job], variant: str) -> Job:
    """Return the job of a variant, or the only one; those that they start from count too. Raises UsageError."""
    known = {job.variant: job for last in jobs for job in last.line}
    if not variant and len(jobs) == 1:
        return jobs[0]
    if variant not in known:
        raise UsageError(f"there is no variant {variant!r}; {nearest(variant, known)}" if variant else "which variant?",
                         remedy=f"say VARIANT=name, one of {', '.join(known)}")
    return known[variant]


def usual_variant(target: Target) -> str:
    """Return the variant that a target makes where nothing is asked for."""
    name = target.makes_for
    return name if len(target.precisions) == 1 else f"{name}-{target.precisions[0]}"


def _alike(fresh: Trial, artifact: Artifact) -> str:
    """Compare what the toolchain found in two files that it cannot run; raises GateError where it differs."""
    then, now = artifact.facts, fresh.result.facts
    if other := [name for name in {**then, **now} if then.get(name) != now.get(name)]:
        raise GateError(f"made again, it is another: {', '.join(other)} differ",
                        remedy="the artifact in the store is as it was; the toolchain does not give the same twice")
    return ALIKE


def _print_differences(verdict: Verdict, console: Console) -> None:
    """Print, for each output, how far the new one is from the old one at most."""
    from modelfarm.gates.parity import by_column

    rows = [(row.column, f"{row.error:.2g} {row.unit}", f"{row.limit:g}", f"{row.cosine:.6f}", row.sample)
            for row in by_column(verdict.rows)]
    if rows:
        console.table([("output", "greatest difference", "limit", "cosine", "on sample"), *rows])


def _otherwise(verdict: Verdict) -> GateError:
    gate = verdict.failure
    assert gate is not None
    reasons = "".join(f"\n    {reason}" for reason in gate.reasons)
    return GateError(f"made again, it behaves differently: gate {gate.name}: {gate.summary}{reasons}",
                     remedy="the artifact in the store is as it was; the toolchain does not give the same twice")
