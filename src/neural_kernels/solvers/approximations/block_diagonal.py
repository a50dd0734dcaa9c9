"""Block diagonal approximation: the training kernel between different parts is set to zero (paper, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from neural_kernels.solvers.cholesky import solve_cholesky


def block_diagonal(
    kernel_among: Callable[[np.ndarray], np.ndarray],
    targets: np.ndarray,
    partition: Sequence[np.ndarray],
    ridge: float,
    precision: npt.DTypeLike = np.float64,
) -> tuple[np.ndarray, float]:
    """Dual coefficients, (n, C) float64: those of each part (K_bb + ridge I)^-1 Y_b on their own; and the largest true
    relative residual of any part.

    Args:
        kernel_among: K[b, b] of indices b, (size, size) float64, as ``principal_submatrix`` gives it.
        targets: Y, (n, C) float64.
        partition: the indices of each part; a single part gives the exact solution.
        ridge: relative to the mean diagonal of each part.
        precision: in which the kernel's entries were computed.

    Raises:
        NotPositiveDefinite, NotAKernel: as ``solve_cholesky``, of a part.
    """
    coefficients, residual = np.zeros(targets.shape), 0.0
    for part in partition:
        kernel = np.ascontiguousarray(kernel_among(part))
        solution = solve_cholesky(kernel, targets[part], ridge, precision=precision)
        coefficients[part] = solution.coefficients
        residual = max(residual, solution.record.residual)
    return coefficients, residual
