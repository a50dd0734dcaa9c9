"""Subset of regressors (Silverman 1985; Rasmussen and Williams 2006, section 8.3.1)."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from neural_kernels.solvers.approximations.low_rank_features import features, regularised
from neural_kernels.solvers.operator import Operator


def subset_of_regressors(
    operator: Operator, targets: np.ndarray, subset: np.ndarray, ridge: float, jitter: float = 0.0
) -> np.ndarray:
    """Dual coefficients, (n, C) float64, that are zero outside the subset and
    (K_Sn K_nS + ridge (K_SS + jitter I))^-1 K_Sn Y on it.

    Args:
        operator: K in one process.
        targets: Y, (n, C) float64.
        subset: (m,) indices S; all of them give the exact solution.
        ridge, jitter: relative to the mean diagonal of K.

    Raises:
        UserError: ridge or jitter out of range, or K_SS + jitter I not positive definite.
    """
    factor, triangle = features(operator, subset, jitter)
    system = regularised(operator, factor, targets.shape[1], ridge)
    weights, _ = system.least_squares(targets, np.arange(targets.shape[1]))
    coefficients = np.zeros(targets.shape)
    coefficients[subset] = solve_triangular(triangle, weights, lower=True, trans="T")
    return coefficients
