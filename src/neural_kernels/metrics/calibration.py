"""How far predictions with a spread can be believed: coverage, likelihood, reliability."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri

LEVELS = (0.5, 0.8, 0.95)
"""Of the intervals whose coverage is said."""


def coverage(scores: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The share of errors inside the central normal interval of each of ``levels``, (levels,).

    Args:
        scores: (n,) errors over their spread.
    """
    half = ndtri((1 + np.asarray(levels)) / 2)
    return np.asarray((np.abs(scores)[:, None] <= half).mean(axis=0))


def negative_log_density(errors: np.ndarray, spread: np.ndarray) -> float:
    """Mean over (n,) errors of minus the log of their normal density, in nats."""
    return float(np.mean(0.5 * np.log(2 * np.pi * spread**2) + errors**2 / (2 * spread**2)))


def reliability(
    probabilities: np.ndarray, right: np.ndarray, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean probability, share that is right, and count, of equally many predictions each.

    Args:
        probabilities: (n,) of the class that is predicted.
        right: (n,) bool.
    """
    order = np.argsort(probabilities, kind="stable")
    groups = [group for group in np.array_split(order, bins) if len(group)]
    return (
        np.array([probabilities[group].mean() for group in groups]),
        np.array([right[group].mean() for group in groups]),
        np.array([len(group) for group in groups]),
    )


def conformal_quantile(scores: np.ndarray, coverage: float) -> float:
    """The score that so large a share of (n,) ``scores`` and of a new one stay below; infinite where n is too small."""
    rank = math.ceil((len(scores) + 1) * coverage)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf
