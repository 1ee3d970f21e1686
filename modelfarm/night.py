"""Nights: what became of every variant in one run of the matrix, as a document in the store.

    <root>/nights/<when it began>.json      such as 20261125T021500Z.json

A night's rows tell all that its table and the report show; figures are those of the artifacts' smoke.json.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from modelfarm import __version__
from modelfarm.store import Store

NIGHTS = "nights"
SCHEMA = 1
STATES = ("verified", "built", "cached", "failed", "skipped")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of one variant of a model; `variant` is a target's name where no variant could be planned.

    `state` is one of STATES: verified and built are new artifacts, of which the second could not be run here; cached
    ones were there already, and `reason` and `remedy` tell why a row failed or was skipped, with its exit `code`.
    `worst` is the greatest error by unit, `latency` as in smoke.json, `size` in bytes, `seconds` what the job took,
    `failed` the folder of a failure below the store, `waited_for` the job whose failure kept it from starting, `since`
    the version that `changes` and `regressions` compare with.
    """

    model: str
    variant: str
    target: str
    state: str
    reason: str = ""
    remedy: str = ""
    code: int = 0
    key: str = ""
    version: str = ""
    precision: str = ""
    runner: str = ""
    seconds: float | None = None
    worst: Mapping[str, float] = field(default_factory=dict)
    predictions: str = ""
    latency: Mapping[str, Any] | None = None
    size: int | None = None
    failed: str = ""
    waited_for: str = ""
    since: str = ""
    changes: Sequence[str] = ()
    regressions: Sequence[str] = ()

    @property
    def name(self) -> str:
        """Return `model/variant`."""
        return f"{self.model}/{self.variant}"


@dataclass(frozen=True, kw_only=True)
class Night:
    """One run of the matrix: when it began and ended (UTC, ISO 8601), where it ran, its exit code and its rows.

    `whole` says that it was about all models; `complete` is false where it was interrupted; `regression` is what
    REGRESSION= said.
    """

    began: str
    ended: str
    seconds: float
    engine: str
    strict: bool
    whole: bool
    complete: bool
    code: int
    rows: tuple[Row, ...]
    regression: str = ""
    farm: str = __version__

    @property
    def totals(self) -> dict[str, int]:
        """Return how many rows are in each state."""
        found = Counter(row.state for row in self.rows)
        return {state: found[state] for state in STATES}

    @property
    def regressed(self) -> list[Row]:
        """Return the rows that are worse than at the last good run."""
        return [row for row in self.rows if row.regressions]


def write_night(store: Store, night: Night) -> Path:
    """Write a night into the store, whole or not at all; return the file."""
    name = night.began.replace("-", "").replace(":", "")
    document = {"schema": SCHEMA, "totals": night.totals, **asdict(night)}
    with store.stage() as stage:
        fresh = stage.scratch / "night.json"
        fresh.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        folder = store.root / NIGHTS
        folder.mkdir(exist_ok=True)
        return fresh.replace(_free(folder, name))


def _free(folder: Path, name: str) -> Path:
    """Return a file of that name which is not there yet: two nights may begin in one second."""
    file, number = folder / f"{name}.json", 1
    while file.exists():
        number += 1
        file = folder / f"{name}-{number}.json"
    return file


def nights(store: Store) -> Iterator[Night]:
    """Yield the store's nights, newest first; what is no night of this schema is left out."""
    for file in sorted((store.root / NIGHTS).glob("*.json"), key=_age, reverse=True):
        if night := read_night(file):
            yield night


def _age(file: Path) -> tuple[str, int]:
    began, _, number = file.stem.partition("-")
    return began, int(number) if number.isdecimal() else 1


def read_night(file: Path) -> Night | None:
    """Read one night; None where it is none of this schema."""
    try:
        document = json.loads(file.read_bytes())
        if document["schema"] != SCHEMA:
            return None
        known = {entry.name for entry in fields(Night)}
        rows = tuple(map(_read_row, document["rows"]))
        return Night(**{name: value for name, value in document.items() if name in known - {"rows"}}, rows=rows)
    except (OSError, ValueError, TypeError, LookupError):
        return None


def _read_row(document: Mapping[str, Any]) -> Row:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                              for name, value in document.items()}
    return Row(**values)


def now() -> str:
    """Return the time as nights write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
