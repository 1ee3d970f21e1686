"""The measure by which the ways to TFLite hold their results against ONNX Runtime."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from jobfolder import DOCKER

Difference = Callable[[Any, Any], float]


@pytest.fixture(scope="module")
def difference() -> Iterator[Difference]:
    """Return the toolchain's function; its folder leaves the import path again."""
    sys.path.insert(0, str(DOCKER / "tflite"))
    try:
        import closeness

        yield closeness.difference
    finally:
        sys.path.remove(str(DOCKER / "tflite"))
        sys.modules.pop("closeness", None)


def test_an_error_is_told_as_a_part_of_the_range(difference: Difference) -> None:
    wanted = np.array([[-2.0, 0.0, 6.0]], np.float32)
    assert difference(wanted, wanted) == 0
    assert difference(wanted + np.float32([0, 0.5, -1]), wanted) == pytest.approx(1 / 8)


def test_zero_belongs_to_the_range(difference: Difference) -> None:
    assert difference(np.array([101.0]), np.array([100.0])) == pytest.approx(0.01)
    assert difference(np.array([-101.0, -99.0]), np.array([-100.0, -99.0])) == pytest.approx(0.01)
    assert difference(np.array([1e-9]), np.array([0.0])) == pytest.approx(1e-3), "of nothing, by rounding"


def test_other_shapes_are_infinitely_far_and_nothing_is_near(difference: Difference) -> None:
    assert difference(np.zeros((1, 2)), np.zeros((2, 1))) == math.inf
    assert difference(np.zeros((0, 3)), np.zeros((0, 3))) == 0


def test_what_is_no_number_is_equal_to_itself_alone(difference: Difference) -> None:
    wanted = np.array([math.inf, 2.0, -math.inf])
    assert difference(wanted, wanted) == 0
    assert difference(np.array([math.inf, 3.0, -math.inf]), wanted) == pytest.approx(0.5)
    assert not difference(np.array([1.0, 2.0, -math.inf]), wanted) <= 1
    assert not difference(np.array([math.nan, 2.0]), np.array([1.0, 2.0])) <= 1
    assert not difference(np.array([1.0]), np.array([math.nan])) <= 1
    assert difference(np.array([True, False]), np.array([True, True])) == 1
