"""Nystroem approximation (Williams and Seeger 2001): the training kernel is replaced by one of low rank."""

from __future__ import annotations

import numpy as np

from neural_kernels.solvers.approximations.low_rank_features import features, regularised
from neural_kernels.solvers.operator import Operator


def nystrom(
    operator: Operator, targets: np.ndarray, subset: np.ndarray, ridge: float, jitter: float = 0.0
) -> np.ndarray:
    """Dual coefficients (K_nS (K_SS + jitter I)^-1 K_Sn + ridge I)^-1 Y, (n, C) float64.

    The kernel against test examples stays exact, so that errors of the approximation are amplified where
    the ridge is small: the paper found that the jitter has to be tuned (section 4).

    Args:
        operator: K in one process.
        targets: Y, (n, C) float64.
        subset: (m,) indices S; all of them give the exact solution.
        ridge, jitter: relative to the mean diagonal of K.

    Raises:
        UserError: ridge or jitter out of range, or K_SS + jitter I not positive definite.
    """
    factor, _ = features(operator, subset, jitter)
    system = regularised(operator, factor, targets.shape[1], ridge)
    return system.apply(targets, np.arange(targets.shape[1]))
