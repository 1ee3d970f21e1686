"""A trial: the folder of one job, prepared for its toolchain and judged afterwards."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from modelfarm import calibration, decoders, handed, lint, meaning, samples
from modelfarm.arrays import read_outputs
from modelfarm.artifact import SMOKE, Artifact, Subject
from modelfarm.decoders.prediction import Decoder, Outputs
from modelfarm.digest import Digests
from modelfarm.errors import GateError
from modelfarm.gates.signature import Form
from modelfarm.job import REFERENCE, Job, JobResult, JobSpec, read_result
from modelfarm.manifest import EDITED, OUTPUTS, write_manifest
from modelfarm.recipe import Output, TorchSource
from modelfarm.report import overlay
from modelfarm.report.smoke import smoke_document, smoke_text
from modelfarm.samples import Sample
from modelfarm.script import NAME, script
from modelfarm.verify import Case, Verdict, verify, verify_devices

_LATENCY = {"warmup": 3, "runs": 30, "seconds": 2.0}
_KINDS = {"torch": "PyTorch", "onnx": "ONNX", "tflite": "TFLite"}
_ON_DEVICE = "outputs-"  # outputs-<device>.npz, beside outputs.npz
_WEIGHTS_SEED = 0  # of WEIGHTS=random


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One job between its preparation and its verdict.

    `scratch` is the job folder of the contract, `folder` what becomes the artifact, `origin` the artifact that the job
    starts from, where it does not start from the source. `given` are files made earlier, which are then run instead of
    converting. `shell` are the lines that run the job folder "$JOB", for reproduce.sh. `notes` is what a user should
    know of what was prepared.
    """

    job: Job
    origin: Artifact | None = None
    folder: Path
    scratch: Path
    digests: Digests
    given: tuple[Path, ...] = ()
    shell: str = ""
    _seconds: dict[str, float] = field(default_factory=dict, repr=False)
    _inputs: dict[str, str] = field(default_factory=dict, repr=False)
    _handed: dict[str, str] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list, repr=False)

    @cached_property
    def samples(self) -> list[Sample]:
        """Return the inputs that the artifact is tried on."""
        job = self.job
        return samples.prepare(job.recipe.inputs, job.recipe.samples, _paths(job, "pictures"), _paths(job, "arrays"),
                               job.dynamic)

    @property
    def decoder(self) -> Decoder | None:
        """Return the decoder that the recipe names, if any, for outputs as the edits of the graph left them."""
        recipe, edited = self.job.recipe, self.result.facts.get(EDITED)
        return decoders.load(recipe.decoder, recipe.folder, edited) if recipe.decoder else None

    @cached_property
    def inherited(self) -> Mapping[str, Any]:
        """Return what the edits of the graph that the job starts from had to tell; nothing where there were none."""
        return (self.origin.facts.get(EDITED) if self.origin else None) or {}

    @cached_property
    def outputs(self) -> tuple[Output, ...]:
        """Return the outputs that the job is to have: the recipe's, or those of the graph that it starts from."""
        if self.job.recipe.outputs or self.origin is None:
            return self.job.recipe.outputs
        first = read_outputs(self.origin.path(REFERENCE), len(self.samples))[0]
        return tuple(Output(name=name, shape=array.shape, dtype=array.dtype.name) for name, array in first.items())

    @property
    def origin_kind(self) -> str:
        """Return what the job's toolchain reads: the kind of the source, or of the artifact that it starts from."""
        return self.job.origin.target.makes if self.job.origin else self.job.recipe.source.kind

    def prepare(self) -> None:
        """Write the job folder: the source, the samples and job.json; equal jobs give equal files."""
        (self.scratch / "in" / "source").mkdir(parents=True)
        (self.scratch / "out").mkdir()
        with self._timed("prepare the samples"):
            samples.write(self.samples, self.scratch / "in" / "samples.npz")
        recipe = self.job.recipe
        JobSpec(model=recipe.name, target=self.job.target.name, variant=self.job.variant, precision=self.job.precision,
                source=self._source(), options=self.job.options, inputs=recipe.inputs, outputs=self.outputs,
                samples=[sample.name for sample in self.samples], calibration=self._calibration(),
                promises=self.job.target.promises, latency=_LATENCY, given=self._given(), lint=self.job.lint,
                reference=self.job.tells_reference and not self.given,
                meaning=meaning.describe(self.job, [output.name for output in self.outputs], self.inherited),
                ).write(self.scratch / "job.json")
        self._handed.update(handed.give(self.job, self.digests.folder, self.scratch / "in"))
        if self.shell:
            self._digest_inputs()

    def _calibration(self) -> str | None:
        """Write the calibration set and return its place, None where the precision wants none."""
        job, place = self.job, "in/calibration.npz"
        if not job.calibrated:
            return None
        with self._timed("prepare the calibration set"):
            count, notes = calibration.write(
                job.recipe.inputs, job.recipe.calibration, _paths(job, "calibration pictures"),
                _paths(job, "calibration arrays"), self.scratch / place)
        self.notes.extend([*notes, f"calibration: {count} inputs"])
        return place

    def _source(self) -> Mapping[str, Any]:
        if self.origin:
            return {"kind": self.origin_kind, "file": self._copy_origin(self.origin)}
        source = self.job.recipe.source
        if isinstance(source, TorchSource):
            self._copy("neighbour")
            return {"kind": source.kind, "module": self._copy("module"), "factory": source.factory,
                    "arguments": dict(source.arguments), "weights": self._copy("weights"), "seed": _WEIGHTS_SEED}
        return {"kind": source.kind, "file": self._copy("source")}

    def _copy_origin(self, origin: Artifact) -> str:
        """Copy the files of the artifact that the job starts from and return the first's place."""
        names = [file.name for file in origin.files if file.name != REFERENCE]
        for name in names:
            shutil.copyfile(origin.path(name), self.scratch / "in" / "source" / name)
            self._inputs[f"in/source/{name}"] = origin.subjects[name]
        return f"in/source/{names[0]}"

    def _copy(self, role: str) -> str | None:
        """Copy materials into the job folder and return the first's place, None where there is none.

        Copies, not links: a toolchain that overwrites its input harms nobody.
        """
        places = []
        for material in self.job.having(role):
            places.append(f"in/source/{material.name}")
            shutil.copyfile(material.path, self.scratch / places[-1])
            self._inputs[places[-1]] = material.sha256
        return places[0] if places else None

    def _given(self) -> list[str]:
        """Copy the files that are to be run as they are into the job folder and return their names."""
        for file in self.given:
            (self.scratch / "in" / "given").mkdir(exist_ok=True)
            shutil.copyfile(file, self.scratch / "in" / "given" / file.name)
        return [file.name for file in self.given]

    def _digest_inputs(self) -> None:
        """Digest what the farm wrote itself; of what it copied, the digest is known."""
        for file in (self.scratch / "job.json", *(self.scratch / "in").rglob("*")):
            place = file.relative_to(self.scratch).as_posix()
            if file.is_file() and place not in self._inputs and file.name not in self._handed:
                with file.open("rb") as stream:
                    self._inputs[place] = hashlib.file_digest(stream, "sha256").hexdigest()

    @cached_property
    def result(self) -> JobResult:
        """Return what the toolchain answered; raises ConversionError where it refused or failed."""
        result = read_result(self.scratch / "out" / "result.json")
        if not self.inherited:
            return result
        facts: dict[str, Any] = {EDITED: self.inherited}
        if not self.job.recipe.outputs:  # whoever runs the file later has no graph that tells them
            facts[OUTPUTS] = {output.name: {"shape": output.shape, "dtype": output.dtype} for output in self.outputs}
        return replace(result, facts={**facts, **result.facts})

    def judge(self, previous: Artifact | None) -> Verdict:
        """Put the result through the gates, and write the reports and, where it passed, manifest and reproduce.sh.

        Raises ConversionError where the toolchain refused or failed, GateError where the target that is to read the
        artifact will not take it.
        """
        out = self.scratch / "out"
        try:
            result = self.result
        except GateError as error:
            verdict = self._unusable(error)
            self._report(None, verdict, previous)
            return verdict
        self._hand_on_reference()
        if self.job.lint:
            lint.check(lint.read_findings(result.facts), self.job.lint["title"])
        with self._timed("check the gates"):
            verdict = verify_devices(self._case(result), self._other_devices())
        for name in (*result.files, *self.job.keeps):
            if (out / name).is_file():
                (out / name).rename(self.folder / name)
        self._report(result, verdict, previous)
        if verdict.passed:
            subjects = self._subjects(self.folder, result)
            write_manifest(self.folder, self.job, result, verdict, subjects, self._handed)
            handed.take(self.job, self.digests.folder, out)
            self._write_script(subjects)
        return verdict

    def _write_script(self, subjects: Sequence[Subject]) -> None:
        if self.shell:
            file = self.folder / NAME
            made = [subject for subject in subjects if subject.name != REFERENCE or self.job.tells_reference]
            file.write_text(script(self.job, self.shell, self._inputs, made), encoding="utf-8")
            file.chmod(0o755)

    def _subjects(self, folder: Path, result: JobResult) -> list[Subject]:
        files = [folder / name for name in (*result.files, *self.job.keeps)]
        return [Subject(name=file.name, sha256=self.digests.file(file), size=file.stat().st_size) for file in files]

    def made(self) -> dict[str, str]:
        """Return the SHA-256 of each file that was made; raises ConversionError where the toolchain failed."""
        result = self.result
        self._hand_on_reference()
        return {file.name: file.sha256 for file in self._subjects(self.scratch / "out", result)}

    def _hand_on_reference(self) -> None:
        """Put the origin's reference where the job keeps its own, for those who start from this one."""
        if REFERENCE in self.job.keeps and not self.job.tells_reference:
            shutil.copyfile(self._reference, self.scratch / "out" / REFERENCE)

    def compare(self, other: Trial) -> Verdict:
        """Judge the outputs by those of another trial of the same job, as the gates judge them by the source's."""
        return verify(replace(self._case(self.result), golden_waived=True,
                              reference=read_outputs(other.scratch / "out" / "outputs.npz", len(self.samples))))

    def _case(self, result: JobResult) -> Case:
        out, names = self.scratch / "out", [sample.name for sample in self.samples]
        outputs = self.outputs or tuple(Output(name=tensor.name) for tensor in result.outputs)
        return Case(recipe=replace(self.job.recipe, outputs=outputs), result=result, promises=self.job.target.promises,
                    files=tuple(entry.name for entry in out.iterdir()), samples=self.samples,
                    reference=read_outputs(self._reference, len(names)),
                    outputs=read_outputs(out / "outputs.npz", len(names)), decoder=self.decoder,
                    precision=self.job.precision, dynamic=self.job.dynamic, random_weights=self.job.random_weights,
                    golden_waived=self.job.golden_waived, form=self._form, device=self.job.target.device,
                    runs=self.job.target.runs)

    def _unusable(self, error: GateError) -> Verdict:
        """Return the verdict on what does not work in its own runtime, which gave no outputs to judge."""
        out, job = self.scratch / "out", self.job
        files = tuple(entry.name for entry in out.iterdir())
        for name in {*job.target.promises} & {*files}:
            (out / name).rename(self.folder / name)
        return verify(Case(recipe=job.recipe, precision=job.precision, promises=job.target.promises, result=None,
                           files=files, samples=(), reference=(), outputs=(), decoder=None, dynamic={},
                           error=f"{error.message} -> {error.remedy}"))

    @property
    def _form(self) -> Form:
        """Return what the file may be like beside what the recipe says."""
        job = self.job
        layout = next((entry.layout for entry in job.recipe.inputs if entry.layout), None)
        return Form(integer=job.precision if job.precision in job.target.integer else "", layouts=job.target.layouts,
                    layout=layout)

    @property
    def _reference(self) -> Path:
        """Return where the outputs are that the artifact is held against."""
        if self.origin is None or self.job.tells_reference:
            return self.scratch / "out" / REFERENCE
        return self.origin.path(REFERENCE)

    def _other_devices(self) -> dict[str, list[Outputs]]:
        """Return the outputs of each further device on which the toolchain ran the artifact."""
        files = sorted((self.scratch / "out").glob(f"{_ON_DEVICE}*.npz"))
        return {file.stem.removeprefix(_ON_DEVICE): list(read_outputs(file, len(self.samples))) for file in files}

    def _report(self, result: JobResult | None, verdict: Verdict, previous: Artifact | None) -> None:
        """Write smoke.json, smoke.log with the same figures, and a picture of each picture's predictions."""
        made = [self.folder / name for name in (result.files if result else self.job.target.promises)]
        sizes = {file.name: file.stat().st_size for file in made if file.is_file()}
        document = smoke_document(job=self.job, result=result, verdict=verdict, sizes=sizes, timings=self._seconds,
                                  made_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), previous=previous)
        (self.folder / SMOKE).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        (self.folder / "smoke.log").write_text(smoke_text(document), encoding="utf-8")
        titles = (f"reference: {_KINDS[self.job.recipe.source.kind]}", f"artifact: {self.job.target.title}")
        for seen in verdict.predictions:
            overlay.save(self.folder, seen.picture, seen.reference, seen.artifact, titles)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._seconds[step] = time.perf_counter() - start


def _paths(job: Job, role: str) -> list[Path]:
    return [material.path for material in job.having(role)]

