"""Direct solution by Cholesky factorisation, in the memory of the matrix itself."""

from __future__ import annotations

import time

import numpy as np
from scipy.linalg import lapack

from neural_kernels.errors import UserError
from neural_kernels.solvers.blocked_cholesky import factorise_in_place
from neural_kernels.solvers.solution import Record, Solution


class NotPositiveDefinite(UserError):
    """K + shift I has no Cholesky factorisation, or is singular to working precision."""


def working_bytes(n: int, columns: int, labels_missing: bool = False) -> int:
    """Bytes that a solve and a sweep over ridges hold: the matrix, a copy for missing labels, and vectors."""
    return (16 if labels_missing else 8) * n * n + 8 * 8 * n * columns


def relative_residuals(residual: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """|r| / |b| of each column, (k,); 0 for a column of zeros that is solved by zeros."""
    size = np.linalg.norm(targets, axis=0)
    return np.linalg.norm(residual, axis=0) / np.where(size == 0, 1.0, size)


def solve_cholesky(kernel: np.ndarray, targets: np.ndarray, ridge: float) -> Solution:
    """Solve (K + ridge mean(diag K) I) X = B, or M_t (K + ...) M_t x_t = b_t for tasks that lack labels.

    Args:
        kernel: (n, n) float64, C-contiguous and symmetric. It is the work space, and is restored.
        targets: (n, C) float64; NaN where a label is missing. Tasks with the same labels missing share a
            factorisation, which takes a copy of the rows and columns that are left.
        ridge: relative to the mean diagonal of all n examples, not negative.

    Returns:
        The solution, with residuals recomputed from the matrix; zero where labels are missing.

    Raises:
        NotPositiveDefinite: a matrix is indefinite, or its reciprocal condition number is below the
            rounding of float64.
    """
    start = time.perf_counter()
    n, columns = targets.shape
    shift = ridge * float(np.diag(kernel).mean())
    coefficients, residuals = np.zeros(targets.shape), np.zeros(columns)
    condition = 1.0
    groups = tasks_by_mask(~np.isnan(targets))
    for known, tasks in groups:
        part = kernel if known.all() else np.ascontiguousarray(kernel[np.ix_(known, known)])
        right = targets[np.ix_(known, tasks)]
        if not known.any():
            continue
        x, mask_condition = _solve(part, right, shift, ridge)
        condition = min(condition, mask_condition)
        coefficients[np.ix_(known, tasks)] = x
        residuals[tasks] = relative_residuals(right - part @ x - shift * x, right)
    record = Record(
        solver="cholesky",
        n=n,
        ridge=ridge,
        shift=shift,
        column_iterations=[0] * columns,
        column_residuals=residuals.tolist(),
        column_stops=["direct"] * columns,
        seconds=time.perf_counter() - start,
        details={"reciprocal_condition": condition, "factorisations": len(groups)},
    )
    return Solution(coefficients, record)


def tasks_by_mask(known: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each different column of a mask, (n, C) bool, with the columns that equal it."""
    tasks: dict[bytes, list[int]] = {}
    for task, column in enumerate(np.packbits(known, axis=0).T):
        tasks.setdefault(column.tobytes(), []).append(task)
    return [(known[:, equal[0]], np.array(equal)) for equal in tasks.values()]


def factorise(kernel: np.ndarray, shift: float, ridge: float) -> tuple[np.ndarray, float]:
    """Lower Cholesky factor of K + shift I, for ``solve_factorised``, and its reciprocal condition number.

    Args:
        kernel: (n, n) float64, C-contiguous and symmetric. Its diagonal and all above it become the factor.
        ridge: that gave the shift, for messages.

    Raises:
        NotPositiveDefinite: as ``solve_cholesky``.
    """
    n = len(kernel)
    one_norm = max(_column_sums(kernel) + shift, default=0.0)
    kernel.flat[:: n + 1] += shift
    minor = factorise_in_place(kernel)
    if minor > 0:
        raise NotPositiveDefinite(
            f"the kernel of {n} examples with ridge {ridge:g} is not positive definite (its leading minor of "
            f"order {minor} is not): choose a larger ridge, or look for duplicate or damaged examples"
        )
    # LAPACK takes columns: to it the upper triangle is a lower one, and the transpose needs no copy.
    factor = kernel.T
    condition, _ = lapack.dpocon(factor, one_norm, uplo="L")
    if not condition > np.finfo(np.float64).eps:
        raise NotPositiveDefinite(
            f"the kernel of {n} examples with ridge {ridge:g} is singular to working precision (reciprocal "
            f"condition number {condition:.1e}): choose a larger ridge, or look for duplicate examples"
        )
    return factor, float(condition)


def solve_factorised(factor: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(K + shift I)^-1 B, (n, k) float64, from the factor of ``factorise``."""
    solved, _ = lapack.dpotrs(factor, right, lower=1)
    return np.ascontiguousarray(solved)


def _solve(kernel: np.ndarray, targets: np.ndarray, shift: float, ridge: float) -> tuple[np.ndarray, float]:
    """(K + shift I)^-1 B and the reciprocal condition number; K is restored."""
    diagonal = np.diag(kernel).copy()
    try:
        factor, condition = factorise(kernel, shift, ridge)
        return solve_factorised(factor, targets), condition
    finally:
        _restore(kernel, diagonal)


def _column_sums(kernel: np.ndarray, panel: int = 256) -> np.ndarray:
    """Sum of the absolute values of each column, without a temporary of the matrix's size."""
    total = np.zeros(len(kernel))
    for row in range(0, len(kernel), panel):
        total += np.abs(kernel[row : row + panel]).sum(axis=0)
    return total


def _restore(kernel: np.ndarray, diagonal: np.ndarray, panel: int = 256) -> None:
    """Put K back: LAPACK wrote above the diagonal only, so that what is below it is still whole."""
    for row in range(0, len(kernel), panel):
        end = row + panel
        corner = np.tril(kernel[row:end, row:end], -1)
        kernel[row:end, row:end] = corner + corner.T
        kernel[row:end, end:] = kernel[end:, row:end].T
    kernel.flat[:: len(kernel) + 1] = diagonal
