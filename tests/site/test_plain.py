"""Plain values: whatever stands in a document, the page gets something to show."""

from __future__ import annotations

import math
from typing import Any

import pytest

from modelfarm.site.plain import at, columns, figure, in_line, items, mapping, number, text

ODD: list[Any] = [None, True, 0, 1.5, math.nan, "word", [], [1], {}, {"a": 1}]


@pytest.mark.parametrize("value", ODD)
def test_what_is_not_as_expected_reads_as_nothing(value: Any) -> None:
    assert text(value) == (value if isinstance(value, str) else "")
    assert list(items(value)) == (value if isinstance(value, list) else [])
    assert dict(mapping(value)) == (value if isinstance(value, dict) else {})
    assert at(value, "a", "b", "c") is None


def test_numbers_are_read_also_where_json_has_no_name_for_them() -> None:
    assert [number(value) for value in (3, 2.5, "inf", "-inf")] == [3.0, 2.5, math.inf, -math.inf]
    assert math.isnan(number("nan") or 0.0)
    assert [number(value) for value in (True, None, "3", "many", [], {})] == [None] * 6


def test_a_path_of_keys_leads_into_objects() -> None:
    assert at({"a": {"b": [1]}}, "a", "b") == [1]
    assert at({"a": {"b": [1]}}) == {"a": {"b": [1]}}


@pytest.mark.parametrize(("value", "shown"), [
    (0.00053412, "0.000534"), (2.0, "2"), (1234567, "1 234 567"), (12, "12"), (0, "0"), (-4, "-4"), (None, "–"),
    (True, "yes"), (False, "no"), (math.inf, "∞"), (-math.inf, "−∞"), (math.nan, "not a number"), ("inf", "inf"),
])
def test_figures_have_three_digits_unless_they_count(value: Any, shown: str) -> None:
    assert figure(value) == shown


@pytest.mark.parametrize(("value", "line"), [
    ("word", "word"), ("", "none"), (None, "none"), (0, "0"), (False, "no"), (2.5, "2.5"), ([], "none"), ({}, "none"),
    ([1, "b", True], "1, b, yes"), ([1, [2]], None), ({"a": 1}, None), (list(range(13)), None),
])
def test_what_fits_into_a_line_is_one(value: Any, line: str | None) -> None:
    assert in_line(value) == line


def test_lists_of_like_objects_are_tables() -> None:
    assert columns([{"tensor": "a", "scale": 0.5}, {"tensor": "b", "zero_point": 3}]) == ["tensor", "scale",
                                                                                         "zero_point"]
    assert columns([{"shape": [1, 2]}]) == ["shape"]
    for value in ([], {}, [1], [{}], [{"a": 1}, 2], [{"a": {"b": 1}}], "text", [{str(n): n for n in range(13)}]):
        assert columns(value) == []


@pytest.mark.parametrize(("value", "said"), [
    (0.0261234, "0.0261"), (65.84, "65.8"), (999.4, "999"), (999.6, "1000"), (2716.4, "2716"), (123456.7, "123457"),
    (-2716.4, "-2716"), (1.5e12, "1.5e+12"), (0.0, "0")])
def test_large_numbers_are_written_in_full(value: float, said: str) -> None:
    assert figure(value) == said
