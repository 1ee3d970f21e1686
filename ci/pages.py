"""Benchmarks of the report: pages about a store of thousands of versions, beside reading that store alone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from ci import scale
from modelfarm.artifact import MANIFEST, SMOKE
from modelfarm.farm import Farm
from modelfarm.site.writer import Writer, Written
from modelfarm.store import Store


def bench_report(pattern: Path, models: int = scale.MODELS, variants: int = scale.VARIANTS) -> list[tuple[str, float]]:
    """Return ratios: the report written first, and again, to reading all documents of its store, and to looking at it.

    `pattern` is the folder of the artifact of which the store is filled with copies.
    """
    with scale.many(models, variants) as farm:
        jobs = scale.planned(farm)
        scale.fill(farm, jobs, pattern)
        reading, looking = _timed(lambda: _read(farm.store)), _timed(lambda: _look(farm.store))
        first = _timed(lambda: _write(farm, fresh=len(jobs)))
        again = _timed(lambda: _write(farm, fresh=0))
        os.utime(farm.store.folders(jobs[0].recipe.name, jobs[0].variant)[0] / MANIFEST)
        one = _timed(lambda: _write(farm, fresh=1))
    count = len(jobs)
    return [(f"report of {count} versions / reading their documents", first / reading),
            ("the same again, nothing changed / looking at each file", again / looking),
            ("the same again, one changed / writing all", one / first)]


def _write(farm: Farm, fresh: int) -> Written:
    """Write the report as a new process does; every page that is wanted, and no other, must be written anew."""
    written = Writer(Store(farm.settings.artifacts, farm.digests)).write()
    assert written.fresh == fresh, written
    return written


def _read(store: Store) -> int:
    """Read manifest and figures of every version: the least that a report has to do."""
    return sum(len(json.loads((folder / name).read_bytes())) for model, variant in store.variants()
               for folder in store.folders(model, variant) for name in (MANIFEST, SMOKE))


def _look(store: Store) -> int:
    """Look at every file of every version, as one has to who wants to know whether anything changed."""
    return sum(entry.stat().st_size for model, variant in store.variants() for folder in store.folders(model, variant)
               for entry in os.scandir(folder))


def _timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
