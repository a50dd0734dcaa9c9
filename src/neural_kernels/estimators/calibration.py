"""Probabilities from scores: a softmax whose temperature makes what was left out likeliest (Guo et al. 2017)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

LOG10_SHARPNESS = (-2.0, 4.0)
"""Between which the logarithm of one over the temperature is looked for."""


def sharpness(scores: np.ndarray, labels: np.ndarray) -> float:
    """One over the temperature at which scores that labels had no part in are likeliest.

    Args:
        scores: (n, C) float64, each of an example that its row was not fitted on.
        labels: (n,) integers below C.
    """
    rows = np.arange(len(labels))

    def surprise(exponent: float) -> float:
        return -float(log_softmax(10.0**exponent * scores, axis=1)[rows, labels].mean())

    found = minimize_scalar(surprise, bounds=LOG10_SHARPNESS, method="bounded", options={"xatol": 1e-4})
    return float(10.0**found.x)


def probabilities(scores: np.ndarray, sharp: float) -> np.ndarray:
    """(m, C) from scores (m, C): rows that sum to one."""
    return np.asarray(softmax(sharp * scores, axis=1))
