"""Block diagonal approximation: the training kernel between different parts is set to zero (paper, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from neural_kernels.solvers.cholesky import solve_cholesky


def block_diagonal(
    kernel_among: Callable[[np.ndarray], np.ndarray],
    targets: np.ndarray,
    partition: Sequence[np.ndarray],
    ridge: float,
) -> np.ndarray:
    """Dual coefficients, (n, C) float64: those of each part (K_bb + ridge I)^-1 Y_b on their own.

    Args:
        kernel_among: K[b, b] of indices b, (size, size) float64, as ``principal_submatrix`` gives it.
        targets: Y, (n, C) float64.
        partition: the indices of each part; a single part gives the exact solution.
        ridge: relative to the mean diagonal of each part.

    Raises:
        NotPositiveDefinite: the kernel of a part is not, with this ridge.
    """
    coefficients = np.zeros(targets.shape)
    for part in partition:
        kernel = np.ascontiguousarray(kernel_among(part))
        coefficients[part] = solve_cholesky(kernel, targets[part], ridge).coefficients
    return coefficients
