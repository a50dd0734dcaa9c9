"""What Nystroem and subset of regressors share: features L with L L^T = K_nS (K_SS + jitter I)^-1 K_Sn."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack, solve_triangular

from neural_kernels.errors import UserError
from neural_kernels.solvers.cholesky import NotPositiveDefinite
from neural_kernels.solvers.communicator import SerialCommunicator
from neural_kernels.solvers.operator import Operator
from neural_kernels.solvers.preconditioners import LowRank, low_rank_family


def features(operator: Operator, subset: np.ndarray, jitter: float) -> tuple[np.ndarray, np.ndarray]:
    """L, (n, m), and the lower triangular Cholesky factor of K_SS + jitter mean(diag K) I, (m, m).

    Args:
        operator: K, in one process; its columns S are read in one pass.
        subset: (m,) indices S.
        jitter: relative to the mean diagonal, not negative.

    Raises:
        NotPositiveDefinite: K_SS + jitter is not, to working precision.
        UserError: a jitter below zero, or several processes.
    """
    if operator.communicator.size != 1:
        raise UserError(f"approximations run in one process, found {operator.communicator.size}")
    if not jitter >= 0:
        raise UserError(f"jitter is {jitter}, expected zero or a positive number")
    columns = operator.columns(subset)
    among = columns[subset]
    among.flat[:: len(subset) + 1] += jitter * operator.diagonal().mean()
    triangle, minor = lapack.dpotrf(among, lower=1, clean=1)
    pivots = np.diag(triangle) ** 2
    if minor or pivots.min() <= len(subset) * np.finfo(np.float64).eps * pivots.max():
        raise NotPositiveDefinite(
            f"the kernel among the {len(subset)} chosen examples with jitter {jitter:g} is not positive definite "
            "to working precision: choose a larger jitter"
        )
    return solve_triangular(triangle, columns.T, lower=True).T, triangle


def regularised(operator: Operator, factor: np.ndarray, outputs: int, ridge: float) -> LowRank:
    """L L^T + ridge mean(diag K) I, factorised stably.

    Raises:
        UserError: the ridge is not positive.
    """
    shift = ridge * float(operator.diagonal().mean())
    if not shift > 0:
        raise UserError(f"ridge is {ridge}, expected a positive number: the approximate kernel is singular")
    return low_rank_family(np.ascontiguousarray(factor), None, outputs, SerialCommunicator()).at(shift)
