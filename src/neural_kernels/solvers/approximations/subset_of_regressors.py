"""Subset of regressors (Silverman 1985; Rasmussen and Williams 2006, section 8.3.1)."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.linalg import solve_triangular

from neural_kernels.solvers.approximations.low_rank_features import LowRankFeatures, low_rank_attempts
from neural_kernels.solvers.approximations.problem import Approximation


def subset_of_regressors(features: LowRankFeatures, targets: np.ndarray, ridge: float) -> np.ndarray:
    """Dual coefficients, (n, C) float64, that are zero outside the subset S and
    (K_Sn K_nS + ridge (K_SS + jitter I))^-1 K_Sn Y on it.

    Args and errors are those of ``nystrom``.
    """
    weights, _ = features.system(ridge).least_squares(targets, np.arange(targets.shape[1]))
    coefficients = np.zeros(targets.shape)
    coefficients[features.subset] = solve_triangular(features.triangle, weights, lower=True, trans="T")
    return coefficients


SUBSET_OF_REGRESSORS = Approximation(
    "Subset of regressors", partial(low_rank_attempts, subset_of_regressors), passes_over="jitters"
)
