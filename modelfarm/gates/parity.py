"""Parity: how far an artifact's outputs are from the reference's, column by column."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from modelfarm.decoders.prediction import Column, Decoder, Outputs
from modelfarm.gates.limits import Limits

RELATIVE = "relative"  # the unit of columns that know none


@dataclass(frozen=True, kw_only=True)
class ParityRow:
    """The errors of one column on one sample, or on all samples of a group.

    `max_error` and `mean_error` are absolute, in the column's own scale, over the rows that can become
    a prediction; `relative` is the greatest error of all rows over the reference's range. `limit` bounds
    `relative` where the unit is "relative", else `max_error`; `relative_limit` bounds `relative` where
    faint rows are left out of `max_error`. `sample` is the one with the greatest error, `samples` how
    many there are.
    """

    sample: str
    group: str
    column: str
    unit: str
    max_error: float
    mean_error: float
    relative: float
    cosine: float
    limit: float
    cosine_limit: float
    relative_limit: float
    passed: bool
    samples: int = 1

    @property
    def judged(self) -> bool:
        """Return whether there is a limit at all; a sample that is only shown has none."""
        return math.isfinite(self.limit)

    @property
    def error(self) -> float:
        """Return the figure that the limit bounds."""
        return self.relative if self.unit == RELATIVE else self.max_error


def columns(outputs: Outputs, decoder: Decoder | None, size: tuple[int, int]) -> list[Column]:
    """Split outputs into the decoder's columns; each output that it leaves alone is a column of its own."""
    known = list(decoder.columns(outputs, size)) if decoder else []
    covered = {name for column in known for name in (column.output, *column.covers)}
    return known + [Column(name=name, unit="", values=values, output=name)
                    for name, values in outputs.items() if name not in covered]


def compare(reference: Column, output: Column, *, sample: str, group: str, limits: Limits) -> ParityRow:
    """Judge one column of one sample; errors that are no numbers fail."""
    # At least one axis: an output may be a single number.
    expected, found = (np.atleast_1d(np.asarray(column.values, np.float64)) for column in (reference, output))
    errors = np.abs(found - expected)
    judged = errors[_likely(reference, output, limits.faint)]
    unit = reference.unit or RELATIVE
    max_error, cosine_limit = _greatest(judged), limits.cosines[unit]
    limit = limits.errors[unit] * (limits.raw if reference.raw else 1.0)
    relative = _greatest(errors) / (_range(expected) or 1.0)
    unseen = limits.errors[RELATIVE] if limits.unseen is None else limits.unseen
    relative_limit = unseen if reference.scores is not None else math.inf
    relative_limit = limits.errors[RELATIVE] if unit == RELATIVE else relative_limit
    within = relative <= relative_limit and (unit == RELATIVE or max_error <= limit)
    cosine = _cosine(expected.ravel(), found.ravel(), alike=within)
    return ParityRow(sample=sample, group=group, column=reference.name, unit=unit, max_error=max_error,
                     mean_error=float(judged.mean()) if judged.size else 0.0, relative=relative, cosine=cosine,
                     limit=limit, cosine_limit=cosine_limit, relative_limit=relative_limit,
                     passed=bool(within and cosine >= cosine_limit))


def _likely(reference: Column, output: Column, faint: float) -> NDArray[np.bool_] | slice:
    """Return which rows can become a prediction, by either's scores; all where there are none."""
    if reference.scores is None or output.scores is None:
        return slice(None)
    # A score that is no number is not less than anything: its row is judged.
    likely: NDArray[np.bool_] = ~((reference.scores < faint) & (output.scores < faint))
    return likely


def _greatest(errors: NDArray[np.float64]) -> float:
    return float(errors.max()) if errors.size else 0.0


def _range(values: NDArray[np.float64]) -> float:
    """Return the range of the values and 0.

    Zero belongs to it because rounding grows with a value's distance from 0: of values all near
    1000, differences under 1e-4 mean nothing. 0 where all values are 0: then errors count as they are.
    """
    return float(max(values.max(), 0.0) - min(values.min(), 0.0)) if values.size else 0.0


def _cosine(expected: NDArray[np.float64], found: NDArray[np.float64], *, alike: bool) -> float:
    """Return the cosine between two vectors; one without length has no direction, and its error decides."""
    # Plain sums: BLAS wakes its threads for each product, which takes longer than the product.
    lengths = math.sqrt(_product(expected, expected)) * math.sqrt(_product(found, found))
    if lengths == 0:
        return 1.0 if alike else 0.0
    return _product(expected, found) / lengths


def _product(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float((one * other).sum())


def by_group(rows: Iterable[ParityRow]) -> list[ParityRow]:
    """Merge the rows of each group's column, so that hundreds of array rows read as one line."""
    groups: dict[tuple[str, str], list[ParityRow]] = {}
    for row in rows:
        groups.setdefault((row.group, row.column), []).append(row)
    return [_merged(members) for members in groups.values()]


def by_column(rows: Iterable[ParityRow]) -> list[ParityRow]:
    """Merge all judged rows of a column, and behind them those that are only shown."""
    table: dict[tuple[bool, str], list[ParityRow]] = {}
    for row in rows:
        table.setdefault((row.judged, row.column), []).append(row)
    return [_merged(table[key]) for key in sorted(table, key=lambda key: not key[0])]


def _merged(rows: Sequence[ParityRow]) -> ParityRow:
    # numpy's max and min hand a NaN on; Python's depend on the order.
    worst = rows[int(np.argmax([row.error for row in rows]))]
    return replace(
        worst, passed=all(row.passed for row in rows), samples=sum(row.samples for row in rows),
        max_error=float(np.max([row.max_error for row in rows])),
        mean_error=float(np.mean([row.mean_error for row in rows])),
        relative=float(np.max([row.relative for row in rows])),
        cosine=float(np.min([row.cosine for row in rows])))


def shape_problems(reference: Outputs, output: Outputs, sample: str) -> Iterator[str]:
    """Yield, for each output whose shape is not the reference's, both shapes."""
    for name, expected in reference.items():
        if output[name].shape != expected.shape:
            yield (f"{sample}: output {name!r} has shape {list(output[name].shape)}, "
                   f"the reference's is {list(expected.shape)}")


def complaint(row: ParityRow) -> str:
    """Say why a row did not pass."""
    bad = f"{row.error:.3g} {row.unit}, the limit is {row.limit:g}"
    if row.error <= row.limit and not row.relative <= row.relative_limit:
        bad = f"{row.relative:.3g} of its range in rows of low score, the limit is {row.relative_limit:g}"
    elif row.error <= row.limit:
        bad = f"cosine {row.cosine:.6f}, the least allowed is {row.cosine_limit:g}"
    return f"{row.sample}: {row.column}: {bad}"
