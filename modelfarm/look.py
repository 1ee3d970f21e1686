"""A look: what an artifact sees in a picture of the user's own, run in its toolchain and drawn."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfarm.artifact import Artifact
from modelfarm.build import Builder
from modelfarm.console import Console
from modelfarm.edits import OTHER_NAMES
from modelfarm.errors import UsageError
from modelfarm.job import REFERENCE, Job, JobResult, JobSpec, read_result
from modelfarm.manifest import EDITED, OUTPUTS, Origin
from modelfarm.phrase import rounded
from modelfarm.recipe import Output, Recipe
from modelfarm.target import Target

if TYPE_CHECKING:
    from modelfarm.decoders.prediction import Prediction
    from modelfarm.samples import Sample

_LATENCY = {"warmup": 3, "runs": 30, "seconds": 2.0}


@dataclass(frozen=True, kw_only=True)
class Looker(Builder):
    """Runs an artifact's own files on a picture; nothing is converted, judged or published."""

    def look(self, artifact: Artifact, origin: Origin, target: Target, recipe: Recipe, picture: Path,
             console: Console) -> Path:
        """Print what the artifact sees and return the picture with it drawn, in the working folder.

        Raises UsageError where the recipe says nothing of pictures or decoding, ConversionError where the toolchain
        fails on the artifact, MachineError where the drawing cannot be written.
        """
        from modelfarm import decoders, samples
        from modelfarm.arrays import read_outputs
        from modelfarm.report import overlay

        if recipe.decoder is None:
            raise UsageError(f"{recipe.name} names no decoder, so that its outputs have no meaning to draw",
                             remedy="give the recipe a decoder")
        choice, facts = replace(recipe.samples, random=0, regions={}), artifact.facts
        (sample,) = samples.prepare(recipe.inputs, choice, [picture], [], {})[:1]
        job = _job(artifact, origin, target, replace(recipe, outputs=_outputs(recipe, facts)))
        self.runners(target).prepare(target, console, self._go_on)
        with self.store.stage() as stage:
            _write(job, artifact, sample, stage.scratch)
            self._run(job, stage, console)
            result = read_result(stage.scratch / "out" / "result.json")
            (outputs,) = read_outputs(stage.scratch / "out" / "outputs.npz", 1)
        found = decoders.load(recipe.decoder, recipe.folder, facts.get(EDITED)).decode(outputs, sample.placements)[0]
        _print(found, result, console)
        file = Path.cwd() / f"{picture.stem}.{artifact.variant}.png"
        overlay.save_alone(file, picture, found, f"{recipe.name}: {target.title}")
        return file


def _outputs(recipe: Recipe, facts: Mapping[str, Any]) -> tuple[Output, ...]:
    """Return the outputs that the artifact has: the recipe's, or those that edits of the graph left."""
    if told := facts.get(OUTPUTS):
        return tuple(Output(name=name, shape=tuple(entry["shape"]), dtype=entry["dtype"])
                     for name, entry in told.items())
    renamed = any((facts.get(EDITED) or {}).get(name) for name in OTHER_NAMES)
    return () if renamed else recipe.outputs


def _job(artifact: Artifact, origin: Origin, target: Target, recipe: Recipe) -> Job:
    return Job(recipe=recipe, target=target, variant=artifact.variant, precision=origin.precision,
               options=origin.options, materials=(), random_weights=origin.random_weights, golden_waived=True,
               runner=origin.runner, seconds=target.seconds, provenance={}, identity=origin.identity, key=artifact.key)


def _write(job: Job, artifact: Artifact, sample: Sample, folder: Path) -> None:
    """Write a job folder whose files are given, so that they are loaded and run as they are."""
    from modelfarm import samples

    (folder / "in" / "given").mkdir(parents=True)
    (folder / "out").mkdir()
    names = [file.name for file in artifact.files if file.name != REFERENCE]
    for name in names:
        shutil.copyfile(artifact.path(name), folder / "in" / "given" / name)
    samples.write([sample], folder / "in" / "samples.npz")
    JobSpec(model=job.recipe.name, target=job.target.name, variant=job.variant, precision=job.precision,
            source=_source(job, names), options=job.options, inputs=job.recipe.inputs, outputs=job.recipe.outputs,
            samples=[sample.name], calibration=None, promises=job.target.promises, latency=_LATENCY, given=names,
            reference=False).write(folder / "job.json")


def _source(job: Job, names: Sequence[str]) -> Mapping[str, Any]:
    """Return what stands in the place of a source, which nobody reads where files are given."""
    if job.target.needs is None and job.recipe.source.kind == "torch":
        return {"kind": "torch", "module": "in/source/none.py", "factory": "none", "arguments": {}, "weights": None,
                "seed": 0}
    return {"kind": "onnx", "file": f"in/given/{names[0]}"}


def _print(found: Sequence[Prediction], result: JobResult, console: Console) -> None:
    from modelfarm.report.smoke import prediction_line

    for line in [prediction_line(entry) for entry in found] or ["nothing found"]:
        console.line(f"  {line}")
    if result.latency:
        console.line(f"  {rounded(result.latency.median_ms)} ms median, {rounded(result.latency.p95_ms)} ms p95, on "
                     f"{result.device.used} ({result.device.detail})")


def picture_of(text: str) -> Path:
    """Return the file that PICTURE= names; raises UsageError where there is none."""
    if not text:
        raise UsageError("which picture?", remedy="say PICTURE=face.jpg")
    file = Path(text).expanduser().absolute()
    if not file.is_file():
        raise UsageError(f"PICTURE={text}: there is no such file")
    return file
