"""What says which input to measure next, for those who look for large values."""

from __future__ import annotations

import numpy as np

BOUND = 2.0
"""Standard deviations of the function that the upper confidence bound is above the prediction."""

COLUMNS = ("expected_improvement", "upper_confidence_bound", "rank")


def columns(mean: np.ndarray, std: np.ndarray, best: float) -> dict[str, np.ndarray]:
    """``COLUMNS`` of one output: improvement over ``best``, the bound, and the rank, 1 of the largest prediction.

    Args:
        mean: (m,) predictions.
        std: (m,) of the function, without noise.
        best: the largest value that was measured; NaN where none was.

    Returns:
        By its name each column, (m,).
    """
    order = np.argsort(-mean, kind="stable")
    ranks = np.argsort(order, kind="stable") + 1
    values = (expected_improvement(mean, std, best), mean + BOUND * std, ranks)
    return dict(zip(COLUMNS, values, strict=True))


def expected_improvement(mean: np.ndarray, std: np.ndarray, best: float) -> np.ndarray:
    """E max(f - best, 0) of a normal f, (m,) (Jones, Schonlau, Welch 1998)."""
    from scipy.stats import norm

    std = np.maximum(std, 1e-300)
    with np.errstate(over="ignore"):  # where nothing is left unknown, z is huge
        z = (mean - best) / std
        return np.asarray((mean - best) * norm.cdf(z) + std * norm.pdf(z))
