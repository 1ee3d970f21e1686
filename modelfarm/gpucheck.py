"""The GPU check: every way and precision of targets for GPUs over all models in one run, as one JSON and one table."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from modelfarm.board import Blocks
from modelfarm.console import Console
from modelfarm.doctor import has_files
from modelfarm.engines.engine import Outcome
from modelfarm.errors import FarmError, MachineError, UsageError
from modelfarm.farm import Farm
from modelfarm.gpu import Gpu
from modelfarm.phrase import rounded, shown
from modelfarm.plan import Request, parse_models
from modelfarm.recipe import Recipe
from modelfarm.target import Target

NAME = "gpu-check"  # .json and .md, in the store's folder
HEADING = ("model", "variant", "result", "latency", "p95", "on the GPU alone", "items/s", "ONNX Runtime",
           "PyTorch eager", "worst error")

# What runtimes call their figures; see docker/trt/latency.py and docker/trt-torch2trt/rivals.py.
_ALONE, _ITEMS = "without copies, median ms", "items per second"
_RIVALS = ("ONNX Runtime, median ms", "PyTorch eager, median ms")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant of one model: `result` is verified, failed or skipped, `reason` why where it is not verified.

    `latency` is that of smoke.json, in milliseconds, with its further `figures`; `worst` the greatest error by unit.
    """

    model: str
    variant: str
    result: str
    reason: str = ""
    latency: Mapping[str, Any] = field(default_factory=dict)
    worst: Mapping[str, Any] = field(default_factory=dict)

    @property
    def figures(self) -> Mapping[str, float]:
        """Return what the runtime measured beside the latency."""
        return self.latency.get("figures") or {}


def check(farm: Farm, models: str, console: Console) -> int:
    """Build and measure every way and precision of the targets for GPUs, and write what came out.

    Returns the exit code: 0, or that of the first failure. Raises MachineError where there is no GPU.
    """
    targets = [target for target in farm.targets.values() if target.device == "gpu" and not target.way_of]
    gpu = next((found for target in targets if (found := farm.runners.gpu(target))), None)
    if gpu is None:
        raise UsageError("no target is for GPUs")
    lookup = replace(farm.lookup, offline=True)
    recipes = [recipe for recipe in map(farm.recipe, parse_models(models or "all", farm.models()))
               if models or has_files(recipe, lookup)]
    rows: list[Row] = []
    code = 0
    for recipe, target in product(recipes, targets):
        for request in requests(target, recipe):
            failed = _one(farm, recipe, target, request, rows, console)
            code = code or failed
    files = write(farm.settings.artifacts, gpu, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), rows)
    console.line()
    console.table(table(rows))
    console.lines([f"  {shown(file)}" for file in files])
    return code


def _one(farm: Farm, recipe: Recipe, target: Target, request: Request, rows: list[Row], console: Console) -> int:
    """Add the rows of one way and precision of one model; returns the code of its failure."""
    try:
        jobs = list(farm.planner(target, request, console).jobs(recipe))
    except FarmError as error:
        rows.append(unplanned(target, recipe.name, request, error))
        return error.code if rows[-1].result == "failed" else 0
    # One at a time: they are measured.
    outcomes = {outcome.name: outcome for outcome in farm.run(jobs, Blocks(console), console, at_a_time=1)}
    for job in jobs:
        rows.append(row_of(outcomes[job.name], recipe.name, job.variant))
    failures = [outcomes[job.name].error for job in jobs]
    return next((failure.code for failure in failures if failure), 0)


def requests(target: Target, recipe: Recipe) -> Iterator[Request]:
    """Yield what to ask for, for each way and precision of a target that a model can have.

    A precision that is calibrated is left out where the recipe has no calibration set.
    """
    calibrated = bool(recipe.calibration.pictures or recipe.calibration.arrays)
    for way in target.ways or ("",):
        for precision in target.precisions:
            if calibrated or precision not in target.calibrates:
                yield Request(precision=precision, via=way)


def row_of(outcome: Outcome, model: str, variant: str) -> Row:
    """Return the row of what became of a job."""
    if outcome.built is None:
        reason = outcome.error.message if outcome.error else f"{outcome.waited_for} failed"
        return Row(model=model, variant=variant, result="failed", reason=reason)
    smoke = outcome.built.artifact.smoke
    return Row(model=model, variant=variant, result="verified", latency=smoke.get("latency") or {},
               worst=smoke.get("worst") or {})


def unplanned(target: Target, model: str, request: Request, error: FarmError) -> Row:
    """Return the row of what could not be planned: a way that does not read the source, or a toolchain that lacks."""
    words = "-".join(word for word in (target.name, request.precision, request.via) if word)
    result = "failed" if isinstance(error, MachineError) else "skipped"
    return Row(model=model, variant=words, result=result, reason=error.message.splitlines()[0])


def table(rows: Iterable[Row]) -> list[tuple[str, ...]]:
    """Return the rows as text; the rivals' figures of a model stand in each of its rows."""
    listed = list(rows)
    rivals: dict[tuple[str, str], float] = {(row.model, name): row.figures[name] for row in listed for name in _RIVALS
                                            if name in row.figures}
    return [HEADING, *(_cells(row, rivals) for row in listed)]


def _cells(row: Row, rivals: Mapping[tuple[str, str], float]) -> tuple[str, ...]:
    if row.result != "verified":
        return (row.model, row.variant, f"{row.result}: {row.reason.splitlines()[0]}", *[""] * (len(HEADING) - 3))
    worst = ", ".join(f"{value:.1e} {unit}" for unit, value in row.worst.items() if isinstance(value, int | float))
    return (row.model, row.variant, row.result, _ms(row.latency.get("median_ms")), _ms(row.latency.get("p95_ms")),
            _ms(row.figures.get(_ALONE)), f"{row.figures[_ITEMS]:.0f}" if _ITEMS in row.figures else "",
            *(_ms(rivals.get((row.model, name))) for name in _RIVALS), worst)


def _ms(value: float | None) -> str:
    return f"{rounded(value)} ms" if value is not None else ""


def write(folder: Path, gpu: Gpu, at: str, rows: Sequence[Row]) -> tuple[Path, Path]:
    """Write the figures as JSON and as a table in Markdown; `at` is a time stamp. Raises MachineError."""
    document = {"schema": 1, "made_at": at, "gpu": gpu.identity, "rows": [asdict(row) for row in rows]}
    files = folder / f"{NAME}.json", folder / f"{NAME}.md"
    lines = [f"# {gpu}, {at[:10]}", "", *_markdown(table(rows))]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files[0].write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        files[1].write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise MachineError(f"{folder} cannot be written: {error.strerror}",
                           remedy="ARTIFACTS= names another folder") from error
    return files


def _markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(rows[0])} |"
    yield "|" + "---|" * len(rows[0])
    yield from (f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows[1:])
