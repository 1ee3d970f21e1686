"""Plots: where bars, lines and ticks lie, in the units of an SVG's view box. The templates only write it down."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from modelfarm.site.figures import Error
from modelfarm.site.plain import figure
from modelfarm.site.version import Version

WIDTH = 420.0  # of every view box: the text is as large as the page's there, and still readable on a telephone
_ROW, _TOP, _FOOT = 40.0, 8.0, 24.0
_LEAST = -7  # the decade at which a bar is as short as it gets
_LEFT, _RIGHT, _HEIGHT = 52.0, 12.0, 150.0


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A line of the grid and its label."""

    at: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A column's greatest error, `length` long, with a mark at its mean, None where there is none to show."""

    label: str
    words: str
    top: float
    length: float
    mean: float | None
    over: bool


@dataclass(frozen=True, kw_only=True)
class ErrorPlot:
    """Errors as parts of their limits, on a logarithmic scale; `limit` is where the limit lies."""

    height: float
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    limit: float
    words: str


@dataclass(frozen=True, kw_only=True)
class Point:
    """One version in a trend; `y` is None where it has no figure, as a failure."""

    x: float
    y: float | None
    words: str
    state: str
    current: bool


@dataclass(frozen=True, kw_only=True)
class Trend:
    """A figure over the versions, oldest left; `line` is the path through the points that have one."""

    title: str
    words: str
    height: float
    points: tuple[Point, ...]
    line: str
    ticks: tuple[Tick, ...]
    dates: tuple[str, str]


def plot_errors(errors: Sequence[Error]) -> ErrorPlot | None:
    """Lay out a bar for each column that has a limit; None where none has one."""
    shown = [error for error in errors if error.share is not None]
    if not shown:
        return None
    shares = [error.share or 0.0 for error in shown]
    low = max(_LEAST, min(-1, math.floor(math.log10(min(filter(None, shares), default=0.1)))))
    high = max(1, math.ceil(math.log10(min(max(shares), 1e6)))) if max(shares) > 1 else 1

    def along(share: float) -> float:
        decade = min(max(math.log10(share), low), high) if share > 0 else low
        return WIDTH * (decade - low) / (high - low)

    bars = tuple(_bar(error, index, along) for index, error in enumerate(shown))
    step = max(1, math.ceil((high - low) / 5))
    ticks = tuple(Tick(at=along(10.0**decade), label=f"{10.0**decade:g}")
                  for decade in range(low, high, step) if decade)
    closest = max(shown, key=lambda error: error.share or 0.0)
    words = f"closest to its limit is {closest.column}, at {_percent(closest.share or 0.0)} of it"
    return ErrorPlot(height=_TOP + _ROW * len(bars) + _FOOT, bars=bars, ticks=ticks, limit=along(1.0), words=words)


def _bar(error: Error, index: int, along: Callable[[float], float]) -> Bar:
    share = error.share or 0.0
    return Bar(label=error.column, words=f"{_percent(share)} of the limit", top=_TOP + _ROW * index,
               length=max(along(share), 2.0), mean=along(error.mean_share) if error.mean_share else None,
               over=not error.passed)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 10 else f"{share:.3g} times"


def plot_trend(title: str, unit: str, versions: Sequence[Version], values: Iterable[float | None],
               current: Version) -> Trend | None:
    """Lay out a figure over versions that come newest first; None where fewer than two have it."""
    pairs = list(zip(versions, values, strict=True))[::-1]
    known = [value for _, value in pairs if value is not None]
    if len(known) < 2:
        return None
    top = _nice(max(known) or 1.0)
    step = (WIDTH - _LEFT - _RIGHT) / (len(pairs) - 1)

    def height(value: float) -> float:
        return _TOP + _HEIGHT * (1 - value / top)

    points = tuple(
        Point(x=_LEFT + step * index, y=None if value is None else height(value), state=version.state,
              words=f"{day(version.when)}, {version.version}: "
                    + (version.state if value is None else f"{figure(float(value))} {unit}"),
              current=version is current) for index, (version, value) in enumerate(pairs))
    line = " ".join(f"{point.x:.1f},{point.y:.1f}" for point in points if point.y is not None)
    ticks = tuple(Tick(at=height(part), label=figure(float(part))) for part in (0.0, top / 2, top))
    words = (f"{len(known)} versions, from {figure(float(known[0]))} {unit} to {figure(float(known[-1]))} {unit}; "
             f"least {figure(float(min(known)))}, greatest {figure(float(max(known)))}")
    return Trend(title=f"{title}, {unit}", words=words, height=_TOP + _HEIGHT + _FOOT, points=points, line=line,
                 ticks=ticks, dates=(day(pairs[0][0].when), day(pairs[-1][0].when)))


def _nice(value: float) -> float:
    """Return the least of 1, 2, 4, 5 times a power of ten that is not less than a value."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 4, 5, 10) if factor * power >= value * 0.9999)


def day(when: float) -> str:
    """Write the day of a time, UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(when))
