"""Activations that decoders compute themselves, where a network ends before them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def logistic(values: NDArray[Any]) -> Floats:
    """Return 1 / (1 + exp(-x)), by tanh, which does not overflow."""
    result: Floats = 0.5 * (1 + np.tanh(0.5 * np.asarray(values, np.float64)))
    return result


def softmax(logits: NDArray[Any]) -> Floats:
    """Return the softmax over the last axis; the greatest logit is subtracted, so that none overflows."""
    values = np.asarray(logits, np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares
