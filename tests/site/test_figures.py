"""Figures: what smoke.json says, and what becomes of one that says something else."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from modelfarm.site.figures import Figures, read_figures
from tests.cases import case
from tests.report.test_smoke import document as real_document
from tests.site.shelf import row, smoke


def test_everything_is_read_of_a_whole_document() -> None:
    figures = read_figures(smoke())
    assert [gate.name for gate in figures.gates][:2] == ["complete", "signature"]
    assert figures.description == "a model to look at"
    assert figures.latency
    assert (figures.latency.median, figures.latency.p95, figures.latency.runs) == (10.0, 12.0, 50)
    assert figures.device == "cpu · CPUExecutionProvider · EPYC"
    assert figures.worst == {"px": 0.0005}
    assert [error.column for error in figures.errors] == ["box", "landmarks"]
    assert figures.timings == {"prepare": 0.25, "toolchain: convert": 2.5}
    assert figures.other == {}


def test_a_document_that_the_farm_wrote_has_nothing_that_the_report_does_not_know() -> None:
    figures = read_figures(json.loads(json.dumps(real_document(case()))))
    assert figures.other == {}
    assert len(figures.gates) == 7
    assert figures.errors and all(error.share is not None for error in figures.errors)
    assert figures.predictions


def test_figures_of_another_name_are_kept_as_they_are() -> None:
    assert read_figures(smoke(colour="blue")).other == {"colour": "blue"}


def test_an_empty_document_gives_empty_figures() -> None:
    assert read_figures({}) == Figures(materials=[])


_WRONG: list[Any] = [None, 3, "text", [], [3], ["text"], {}, {"a": 1}, [{}], [[1]], True, {"labels": 3}]


@pytest.mark.parametrize("value", _WRONG, ids=map(str, range(len(_WRONG))))
def test_no_value_of_the_wrong_kind_is_more_than_left_out(value: Any) -> None:
    for name in smoke():
        figures = read_figures(smoke(**{name: value}))
        assert len(figures.gates) == 7 or name == "gates"
    nested = smoke(predictions=[{"sample": value, "reference": value, "artifact": [value]}],
                   gates=[{"name": value, "reasons": value}], columns=[{"column": value, "max_error": value}],
                   latency={"median_ms": value}, device={"used": value})
    assert len(read_figures(nested).predictions) == 1


def test_an_error_uses_a_part_of_the_limit_that_bounds_it() -> None:
    in_pixels, relative, both, none = read_figures(smoke(columns=[
        row("box", 0.0005, 0.001),
        row("logits", 0.5, 1e-5, unit="relative", relative=2e-6),
        row("box", 0.0001, 0.001, relative=0.5, relative_limit=1.0),
        {**row("score", 0.5), "limit": "inf"}])).errors
    assert in_pixels.share == pytest.approx(0.5)
    assert in_pixels.mean_share == pytest.approx(0.05)
    assert relative.share == pytest.approx(0.2)
    assert relative.mean_share is None
    assert both.share == pytest.approx(0.5)
    assert none.share is None


def test_errors_that_are_no_numbers_have_no_bar_and_still_are_there() -> None:
    (error,) = read_figures(smoke(columns=[row("box", 1, passed=False, max_error="nan", relative="nan")])).errors
    assert error.share is None
    assert error.greatest is not None and math.isnan(error.greatest)
    assert not error.passed


def test_predictions_are_told_in_words() -> None:
    same, lost = read_figures(smoke()).predictions
    assert same.alike
    assert same.words == "source and artifact find cat 0.75, dog 0.25"
    assert not lost.alike
    assert lost.words == "the source finds 0.875 at 1.5 2.0 30.2 40.0 with 2 landmarks; the artifact nothing"


def test_predictions_of_an_unknown_kind_are_told_by_their_names() -> None:
    unknown = {"sample": "a", "reference": [{"area": 0.5}], "artifact": []}
    (seen,) = read_figures(smoke(predictions=[unknown])).predictions
    assert seen.reference == ("area 0.5",)
