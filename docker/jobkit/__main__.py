"""The life of a job: ``python -m jobkit <job folder>``.

Exit codes: 0 done; 1 an error that is in result.json, or a check of the self-test that failed; 2 usage;
130 interrupted.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import Deque, Iterator, List, Sequence

from jobkit import process
from jobkit.arrays import ArrayWriter
from jobkit.converter import Converter, find_converter
from jobkit.describe import describe
from jobkit.errors import ContractError, Interrupted, Refused
from jobkit.events import Events
from jobkit.job import Job, read_job
from jobkit.result import Result, failure_of, versions_of
from jobkit.runtime import Arrays, Inspected, Runtime, measure
from jobkit.selftest import test_image

USAGE = """\
usage: python -m jobkit <job folder, with a job.json>    do the job; everything that it makes goes into its folder `out`
       python -m jobkit --describe                      print as JSON what is installed, and a digest over all files
       python -m jobkit --self-test                     check this image, with a small job too
       python -m jobkit --help                          print this"""


class Life:
    """One job from its reading to its result, in one process, so that the source model is loaded once."""

    def __init__(self, folder: Path, result: Result) -> None:
        """Begin the job in `folder`; what becomes known goes to `result`."""
        self.folder = folder
        self.result = result
        self.events = Events(folder / "out" / "events.jsonl")

    def run(self) -> None:
        """Do everything, in order: reference, conversion, loading, inference, latency."""
        job = read_job(self.folder, self.events)
        self.result.facts = job.facts
        converter = self.prepare(job)
        if job.reference and converter.reference:
            with self.phase("reference", "run the source model"):
                self.run_samples(converter.reference(job), job, "reference.npz")
        with self.phase("convert", "take the files that are given" if job.given else f"convert to {job.variant}"):
            self.result.files = take_given(job) if job.given else list(converter.convert(job))
            check_files(self.result.files, job)
        with self.phase("load", f"load {job.variant}"):
            runtime = converter.load(self.result.files, job)
            self.result.describe(runtime)
        if isinstance(runtime, Inspected):
            self.events.note(f"not run: {runtime.device.detail}")
            return
        with self.phase("inference", f"run {job.variant}"):
            self.run_samples(runtime, job, "outputs.npz")
        self.measure_latency(runtime, job)

    def prepare(self, job: Job) -> Converter:
        """Import the converter and what it needs for this job."""
        with self.phase("import", f"import the {job.target} toolchain"):
            converter = find_converter()
            if converter.prepare:
                converter.prepare(job)
            self.result.versions = versions_of(("numpy", *converter.packages))
            return converter

    def run_samples(self, runtime: Runtime, job: Job, name: str) -> None:
        """Run every sample and write the outputs to ``out/<name>``."""
        with ArrayWriter(job.out / name) as writer:
            for index, sample in enumerate(job.samples):
                outputs = runtime(sample)
                check_outputs(outputs, job)
                names = [output.name for output in job.outputs] or list(outputs)
                writer.add(index, {name: outputs[name] for name in names})
                self.events.progress(index + 1, len(job.samples))

    def measure_latency(self, runtime: Runtime, job: Job) -> None:
        """Time the artifact on the first sample."""
        if len(job.samples):
            with self.events.step("measure the latency"):
                self.result.latency = measure(runtime, job.samples[0], job.latency, job.samples.names[0])

    @contextmanager
    def phase(self, name: str, step: str) -> Iterator[None]:
        """Show `step` while it runs and keep its seconds under `name`, of a failed one too."""
        began = time.perf_counter()
        try:
            with self.events.step(step):
                yield
        finally:
            self.result.timings[name] = time.perf_counter() - began


def take_given(job: Job) -> List[str]:
    """Copy files of an earlier conversion to where the converter would have made them; give their names."""
    for file in job.given:
        shutil.copyfile(file, job.out / file.name)
    return [file.name for file in job.given]


def check_files(files: Sequence[str], job: Job) -> None:
    """Raise ContractError unless every file exists, is not empty, and every promise is among them."""
    empty = [name for name in files if not (job.out / name).is_file() or not (job.out / name).stat().st_size]
    broken = [name for name in job.promises if name not in files]
    if empty or broken:
        raise ContractError(
            f"the {job.target} converter promised {list(job.promises)} and made {list(files)}; "
            f"absent or empty: {sorted({*empty, *broken})}",
            "this is a defect of the converter: see convert.log",
        )


def check_outputs(outputs: Arrays, job: Job) -> None:
    """Raise ContractError where the model lacks an output that the recipe names."""
    missing = [output.name for output in job.outputs if output.name not in outputs]
    if missing:
        raise ContractError(
            f"the model has no output {', '.join(map(repr, missing))}; it has {', '.join(map(repr, outputs))}",
            "name the outputs in the recipe as the model does",
        )


def run_alone(life: Life) -> None:
    """Run the job; a process that the converter forked and forgot to end ends here, and does not report."""
    own = os.getpid()
    try:
        life.run()
    finally:
        if os.getpid() != own:
            os._exit(1)


def attempt(folder: Path, result: Result, log: Deque[str]) -> int:
    """Run the job; put an exception into `result`; return the exit code."""
    try:
        run_alone(Life(folder, result))
    except Refused as error:
        result.failure = failure_of(error, log)
        return 1
    except Interrupted as error:
        result.failure = failure_of(error, log)
        return 130
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        result.failure = failure_of(error, log)
        return 1
    return 0


def main(arguments: Sequence[str]) -> int:
    """Do what the only argument says: a job in a folder, or one of the options."""
    if list(arguments) == ["--help"]:
        print(USAGE)
        return 0
    if list(arguments) == ["--describe"]:
        print(json.dumps(describe(), indent=1, sort_keys=True))
        return 0
    if list(arguments) == ["--self-test"]:
        return 0 if test_image() else 1
    if len(arguments) != 1 or not Path(arguments[0], "job.json").is_file():
        print(USAGE, file=sys.stderr)
        return 2
    return run_job(Path(arguments[0]).resolve())


def run_job(folder: Path) -> int:
    """Do the job in `folder`, and write its result."""
    process.die_with_parent()
    process.interrupt_on_signals()
    process.share_processors()
    log = process.keep_log()
    (folder / "out").mkdir(exist_ok=True)
    result = Result()
    code = attempt(folder, result, log)
    if result.failure:
        print(f"{result.failure.name}: {result.failure.message}", file=sys.stderr)
    result.write(folder / "out" / "result.json")
    return code


def leave(code: int) -> None:
    """End the process at once: everything is written, and torch would take a third of a second to put itself away."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
