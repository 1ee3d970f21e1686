from __future__ import annotations

import math

import numpy as np
import pytest

from modelfarm.decoders.activation import logistic, softmax


def test_the_logistic_function_is_what_its_formula_says_and_never_overflows(recwarn: pytest.WarningsRecorder) -> None:
    values = np.array([-1e9, -30.0, -1.0, 0.0, 2.5, 1e9], np.float32)
    expected = [0.0, *(1 / (1 + math.exp(-value)) for value in (-30.0, -1.0, 0.0, 2.5)), 1.0]
    assert logistic(values).tolist() == pytest.approx(expected, abs=1e-15)
    assert logistic(values).dtype == np.float64
    assert not recwarn.list


def test_the_softmax_is_over_the_last_axis_and_never_overflows(recwarn: pytest.WarningsRecorder) -> None:
    shares = softmax(np.array([[1.0, 2.0, 3.0], [1e4, 0.0, -1e4]], np.float32))
    powers = [math.exp(value) for value in (1, 2, 3)]
    assert shares[0].tolist() == pytest.approx([power / sum(powers) for power in powers])
    assert shares[1].tolist() == [1, 0, 0]
    assert not recwarn.list
