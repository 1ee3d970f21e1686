"""Plots: bars as long as the errors are, lines through the versions, and words for whoever does not see them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from modelfarm.site.figures import Error, read_figures
from modelfarm.site.plot import WIDTH, ErrorPlot, Trend, plot_errors, plot_trend
from modelfarm.site.version import Version, read_versions
from tests.site.shelf import NOON, Shelf, row, smoke


def errors(*rows: dict[str, Any]) -> tuple[Error, ...]:
    return read_figures(smoke(columns=list(rows))).errors


def plotted(*rows: dict[str, Any]) -> ErrorPlot:
    plot = plot_errors(errors(*rows))
    assert plot
    return plot


def test_bars_are_logarithms_of_the_part_of_the_limit() -> None:
    plot = plotted(row("a", 1e-3), row("b", 1e-4), row("c", 1e-5), row("d", 1e-6))
    first, second, third, _ = plot.bars
    assert first.length == pytest.approx(plot.limit)
    assert first.length - second.length == pytest.approx(second.length - third.length)
    assert [tick.label for tick in plot.ticks] == ["0.001", "0.01", "0.1"]
    assert plot.limit < WIDTH


def test_a_column_over_its_limit_reaches_beyond_it_and_is_said_to_be_over() -> None:
    plot = plotted(row("a", 0.05), row("b", 1e-4))
    assert plot.bars[0].length > plot.limit > plot.bars[1].length
    assert [bar.over for bar in plot.bars] == [True, False]
    assert plot.bars[0].words == "50 times of the limit"
    assert plot.words == "closest to its limit is a, at 50 times of it"


def test_bars_stay_within_the_picture_whatever_the_errors() -> None:
    plot = plotted(row("zero", 0.0), row("tiny", 1e-30), row("huge", 1e30), {**row("endless", 1.0), "max_error": "inf"})
    assert all(0 < bar.length <= WIDTH for bar in plot.bars)
    assert all(bar.mean is None or 0 <= bar.mean <= WIDTH for bar in plot.bars)
    assert all(0 <= tick.at <= WIDTH for tick in plot.ticks)


def test_bars_stand_below_each_other_and_the_picture_holds_them() -> None:
    plot = plotted(*(row(str(number), 1e-4) for number in range(9)))
    tops = [bar.top for bar in plot.bars]
    assert all(after - before == 40 for before, after in pairwise(tops))
    assert tops[-1] + 40 < plot.height


def test_nothing_is_drawn_where_no_column_has_a_limit() -> None:
    assert plot_errors(errors({**row("a", 1.0), "limit": "inf"}, {**row("b", 1.0), "max_error": "nan"})) is None
    assert plot_errors(()) is None


@pytest.fixture
def versions(shelf: Shelf) -> list[Version]:
    for number in range(4):
        shelf.good(number=number, when=NOON + 86400 * number, size=1000 * (number + 1))
    shelf.failed(when=NOON + 86400 * 9)
    return read_versions(shelf.store, "m", "onnx")


def drawn(versions: list[Version], *values: float | None) -> Trend:
    trend = plot_trend("Latency", "ms", versions, values, versions[1])
    assert trend
    return trend


def test_a_line_leads_from_the_oldest_version_to_the_newest(versions: list[Version]) -> None:
    trend = drawn(versions, None, 4.0, 3.0, 2.0, 1.0)
    xs = [point.x for point in trend.points]
    assert xs == sorted(xs)
    heights = [point.y for point in trend.points[:4]]
    assert heights == sorted(heights, reverse=True)  # larger figures lie higher
    assert len(trend.line.split()) == 4
    assert trend.dates == ("2026-09-21", "2026-09-30")
    assert trend.words == "4 versions, from 1 ms to 4 ms; least 1, greatest 4"


def test_the_axis_begins_at_nothing_and_ends_at_a_round_number(versions: list[Version]) -> None:
    trend = drawn(versions, None, 3.7, 3.0, 2.0, 1.0)
    assert [tick.label for tick in trend.ticks] == ["0", "2", "4"]
    assert trend.ticks[0].at > trend.ticks[2].at
    assert drawn(versions, None, 0.0, 0.0, 0.0, 0.0).ticks[0].label == "0"


def test_a_version_without_a_figure_is_a_point_beside_the_line(versions: list[Version]) -> None:
    last = drawn(versions, None, 4.0, 3.0, 2.0, 1.0).points[-1]
    assert last.y is None
    assert last.words == f"2026-09-30, {versions[0].version}: failed"


def test_the_version_of_the_page_is_marked(versions: list[Version]) -> None:
    assert [point.current for point in drawn(versions, None, 4.0, 3.0, 2.0, 1.0).points] == [False] * 3 + [True, False]


def test_one_figure_is_no_line(versions: list[Version]) -> None:
    assert plot_trend("Latency", "ms", versions, [None, 1.0, None, None, None], versions[1]) is None
    assert plot_trend("Latency", "ms", versions[:1], [1.0], versions[0]) is None


@pytest.mark.parametrize(("most", "top"), [(1.0, "1"), (1.01, "2"), (4.5, "5"), (6.0, "10"), (0.031, "0.04")])
def test_axes_are_not_much_longer_than_they_must_be(versions: list[Version], most: float, top: str) -> None:
    assert drawn(versions, None, most, most / 2, most / 3, most / 4).ticks[-1].label == top
    assert math.isfinite(most)
