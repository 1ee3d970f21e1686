"""A trial: the folder of one job, prepared for its toolchain and judged afterwards."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from modelfarm import decoders, samples
from modelfarm.arrays import read_outputs
from modelfarm.artifact import SMOKE, Artifact
from modelfarm.decoders.prediction import Decoder
from modelfarm.digest import Digests
from modelfarm.job import Job, JobResult, JobSpec, read_result
from modelfarm.manifest import write_manifest
from modelfarm.recipe import TorchSource
from modelfarm.report import overlay
from modelfarm.report.smoke import smoke_document, smoke_text
from modelfarm.samples import Sample
from modelfarm.verify import Case, Verdict, verify

_LATENCY = {"warmup": 3, "runs": 30, "seconds": 2.0}
_KINDS = {"torch": "PyTorch", "onnx": "ONNX", "tflite": "TFLite"}
_WEIGHTS_SEED = 0  # of WEIGHTS=random


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One job between its preparation and its verdict.

    `scratch` is the job folder of the contract, `folder` what becomes the artifact.
    """

    job: Job
    folder: Path
    scratch: Path
    digests: Digests
    _seconds: dict[str, float] = field(default_factory=dict, repr=False)

    @cached_property
    def samples(self) -> list[Sample]:
        """Return the inputs that the artifact is tried on."""
        job = self.job
        return samples.prepare(job.recipe.inputs, job.recipe.samples, _paths(job, "pictures"), _paths(job, "arrays"),
                               job.dynamic)

    @cached_property
    def decoder(self) -> Decoder | None:
        """Return the decoder that the recipe names, if any."""
        recipe = self.job.recipe
        return decoders.load(recipe.decoder, recipe.folder) if recipe.decoder else None

    def prepare(self) -> None:
        """Write the job folder: the source, the samples and job.json."""
        (self.scratch / "in" / "source").mkdir(parents=True)
        (self.scratch / "out").mkdir()
        with self._timed("prepare the samples"):
            samples.write(self.samples, self.scratch / "in" / "samples.npz")
        recipe = self.job.recipe
        JobSpec(model=recipe.name, target=self.job.target.name, variant=self.job.variant, precision=self.job.precision,
                source=self._source(), options=self.job.options, inputs=recipe.inputs, outputs=recipe.outputs,
                samples=[sample.name for sample in self.samples], calibration=None,
                promises=self.job.target.promises, latency=_LATENCY).write(self.scratch / "job.json")

    def _source(self) -> Mapping[str, Any]:
        source = self.job.recipe.source
        if isinstance(source, TorchSource):
            self._copy("neighbour")
            return {"kind": source.kind, "module": self._copy("module"), "factory": source.factory,
                    "arguments": dict(source.arguments), "weights": self._copy("weights"), "seed": _WEIGHTS_SEED}
        return {"kind": source.kind, "file": self._copy("source")}

    def _copy(self, role: str) -> str | None:
        """Copy materials into the job folder and return the first's place, None where there is none.

        Copies, not links: a toolchain that overwrites its input harms nobody.
        """
        places = []
        for material in self.job.having(role):
            places.append(f"in/source/{material.name}")
            shutil.copyfile(material.path, self.scratch / places[-1])
        return places[0] if places else None

    def judge(self, previous: Artifact | None) -> Verdict:
        """Put the result through the gates, and write the reports and, where it passed, the manifest.

        Raises ConversionError where the toolchain refused or failed.
        """
        out = self.scratch / "out"
        result = read_result(out / "result.json")
        with self._timed("check the gates"):
            verdict = verify(self._case(result))
        for name in result.files:
            if (out / name).is_file():
                (out / name).rename(self.folder / name)
        self._report(result, verdict, previous)
        if verdict.passed:
            write_manifest(self.folder, self.job, result, verdict, self.digests)
        return verdict

    def _case(self, result: JobResult) -> Case:
        out, names = self.scratch / "out", [sample.name for sample in self.samples]
        return Case(recipe=self.job.recipe, result=result, promises=self.job.target.promises,
                    files=tuple(entry.name for entry in out.iterdir()), samples=self.samples,
                    reference=read_outputs(out / "reference.npz", len(names)),
                    outputs=read_outputs(out / "outputs.npz", len(names)), decoder=self.decoder,
                    precision=self.job.precision, dynamic=self.job.dynamic, random_weights=self.job.random_weights,
                    golden_waived=self.job.golden_waived)

    def _report(self, result: JobResult, verdict: Verdict, previous: Artifact | None) -> None:
        """Write smoke.json, smoke.log with the same figures, and a picture of each picture's predictions."""
        sizes = {name: (self.folder / name).stat().st_size for name in result.files if (self.folder / name).is_file()}
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

