"""Nystroem approximation (Williams and Seeger 2001): the training kernel is replaced by one of low rank."""

from __future__ import annotations

from functools import partial

import numpy as np

from neural_kernels.solvers.approximations.low_rank_features import LowRankFeatures, low_rank_attempts
from neural_kernels.solvers.approximations.problem import Approximation


def nystrom(features: LowRankFeatures, targets: np.ndarray, ridge: float) -> np.ndarray:
    """Dual coefficients (K_nS (K_SS + jitter I)^-1 K_Sn + ridge I)^-1 Y, (n, C) float64.

    The kernel against test examples stays exact, so that errors of the approximation are amplified where
    the ridge is small: the paper found that the jitter has to be tuned (section 4).

    Args:
        features: of the subset S; all examples give the exact solution.
        targets: Y, (n, C) float64.
        ridge: relative to the mean diagonal of K.

    Raises:
        UserError: the ridge is not positive.
    """
    return features.system(ridge).apply(targets, np.arange(targets.shape[1]))


NYSTROM = Approximation("Nyström", partial(low_rank_attempts, nystrom), passes_over="jitters")
