"""Direct solution by Cholesky factorisation, in the memory of the matrix itself.

The residual is that of a backward stable solve: rounding the solution to float64 alone costs as much where the matrix
is ill conditioned, so that steps of iterative refinement do not lower it, and none is taken.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

from neural_kernels.blocks import read_submatrix
from neural_kernels.errors import UserError
from neural_kernels.solvers.blocked_cholesky import (
    factorisation_bytes,
    factorise_in_place,
    inverse_bytes,
    inverse_diagonal_in_place,
)
from neural_kernels.solvers.criteria import VALIDATION, InverseFacts
from neural_kernels.solvers.definiteness import NotPositiveDefinite, explained_by_rounding, not_a_kernel
from neural_kernels.solvers.solution import TOLERANCE, Record, Solution
from neural_kernels.solvers.system import Opened, System
from neural_kernels.triangles import mirror_upper

log = logging.getLogger(__name__)

# Rows of the matrix that are summed or restored at a time.
PANEL = 256


def working_bytes(n: int, columns: int, labels_missing: bool = False, judged: bool = False) -> int:
    """Bytes that a solve and a sweep over ridges hold: the matrix, a copy for missing labels, vectors, and what the
    factorisation takes besides, and the inverse's diagonal where solutions are ``judged`` by it; reading the matrix
    takes two blocks, which are gone before it begins.
    """
    matrices = (16 if labels_missing else 8) * n * n
    besides = (
        max(factorisation_bytes(n), inverse_bytes(n) + 2 * 8 * n * columns)
        if judged
        else factorisation_bytes(n)
    )
    return matrices + besides + 8 * 8 * n * columns + 3 * 8 * PANEL * n


@dataclass(frozen=True)
class Cholesky:
    """The solver for ``registry``."""

    title = "Exact (Cholesky)"
    iterates = False
    thrift = "lower solver.direct_up_to"

    def working_bytes(self, n: int, columns: int, rank: int, masks: int, ridges: int) -> int:
        """See ``Solver.working_bytes``."""
        return working_bytes(n, columns, labels_missing=masks > 0)

    def open(self, system: System) -> Opened:
        """The matrix, read; see ``Solver.open``."""
        settings, judged = system.settings, _judged(system)
        kernel = read_matrix(system)

        def solve(ridge: float, start: np.ndarray | None) -> Solution:
            tolerance = settings.stopping.tolerance
            return solve_cholesky(
                kernel,
                system.targets,
                ridge,
                tolerance=tolerance,
                precision=system.store.dtype,
                judged=judged,
            )

        return Opened(solve)


def read_matrix(system: System) -> np.ndarray:
    """K, (n, n) float64.

    Raises:
        UserError: the memory budget is too small for a direct solve, or a block is damaged.
    """
    store, window, budget = system.store, system.window, system.settings.memory_budget
    reading = 8 * system.n**2 + 2 * store.largest_block_bytes
    needed = max(reading, working_bytes(system.n, system.columns, system.masks > 0, _judged(system)))
    if needed > budget:
        raise UserError(
            f"a direct solve of n = {system.n} takes {needed / 2**30:.2f} GiB, the memory budget leaves "
            f"{budget / 2**30:.2f} GiB: raise solver.memory_gib, or lower solver.direct_up_to to solve iteratively"
        )
    return read_submatrix(store, window, window, np.float64)


def _judged(system: System) -> bool:
    """Whether solutions are judged by their inverse's diagonal."""
    return system.settings.choose_by != VALIDATION and len(system.settings.ridges) > 1


def relative_residuals(residual: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """|r| / |b| of each column, (k,); 0 for a column of zeros that is solved by zeros."""
    size = np.linalg.norm(targets, axis=0)
    return np.linalg.norm(residual, axis=0) / np.where(size == 0, 1.0, size)


def solve_cholesky(
    kernel: np.ndarray,
    targets: np.ndarray,
    ridge: float,
    *,
    tolerance: float = TOLERANCE,
    precision: npt.DTypeLike = np.float64,
    judged: bool = False,
) -> Solution:
    """Solve (K + ridge mean(diag K) I) X = B, or M_t (K + ...) M_t x_t = b_t for tasks that lack labels.

    Args:
        kernel: (n, n) float64, C-contiguous and symmetric. It is the work space, and is restored.
        targets: (n, C) float64; NaN where a label is missing. Tasks with the same labels missing share a
            factorisation, which takes a copy of the rows and columns that are left.
        ridge: relative to the mean diagonal of all n examples, not negative.
        tolerance: of the true relative residual, above which the solution has not converged.
        precision: in which the kernel's entries were computed, before they were converted.
        judged: whether the solution is to have the ``InverseFacts``, which cost as much as the factorisation.

    Returns:
        The solution, with residuals recomputed from the matrix; zero where labels are missing.

    Raises:
        NotPositiveDefinite: a matrix is indefinite by no more than rounding, or its reciprocal condition number is
            below the rounding of float64.
        NotAKernel: a matrix is indefinite by more.
    """
    start = time.perf_counter()
    n, columns = targets.shape
    shift = ridge * float(np.diag(kernel).mean())
    coefficients, residuals = np.zeros(targets.shape), np.zeros(columns)
    condition = 1.0
    diagonal, log_determinant = np.full(targets.shape, np.nan), np.zeros(columns)
    groups = tasks_by_mask(~np.isnan(targets))
    for known, tasks in groups:
        part = kernel if known.all() else np.ascontiguousarray(kernel[np.ix_(known, known)])
        right = targets[np.ix_(known, tasks)]
        if not known.any():
            continue
        solved = _solve(part, right, shift, ridge, precision, judged)
        x, condition = solved.x, min(condition, solved.condition)
        if judged:
            diagonal[np.ix_(known, tasks)] = solved.inverse_diagonal[:, None]
            log_determinant[tasks] = solved.log_determinant
        coefficients[np.ix_(known, tasks)] = x
        residuals[tasks] = relative_residuals(right - part @ x - shift * x, right)
        del part  # before the next one is made
    record = Record(
        solver="cholesky",
        n=n,
        ridge=ridge,
        shift=shift,
        column_iterations=[0] * columns,
        column_residuals=residuals.tolist(),
        column_stops=["direct"] * columns,
        seconds=time.perf_counter() - start,
        tolerance=tolerance,
        details={"reciprocal_condition": condition, "factorisations": len(groups)},
    )
    if not record.converged:
        log.warning(
            "n = %d, ridge %g: solved directly but not to the tolerance, largest residual %.1e (reciprocal condition "
            "number %.1e): choose a larger ridge",
            n, ridge, record.residual, condition,
        )  # fmt: skip
    inverse = InverseFacts(diagonal, log_determinant) if judged else None
    return Solution(coefficients, record, inverse=inverse)


def tasks_by_mask(known: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each different column of a mask, (n, C) bool, with the columns that equal it."""
    tasks: dict[bytes, list[int]] = {}
    for task, column in enumerate(np.packbits(known, axis=0).T):
        tasks.setdefault(column.tobytes(), []).append(task)
    return [(known[:, equal[0]], np.array(equal)) for equal in tasks.values()]


def factorise(
    kernel: np.ndarray, shift: float, ridge: float, precision: npt.DTypeLike = np.float64
) -> tuple[np.ndarray, float]:
    """Lower Cholesky factor of K + shift I, for ``solve_factorised``, and its reciprocal condition number.

    Args:
        kernel: (n, n) float64, C-contiguous and symmetric. Its diagonal and all above it become the factor; after an
            error it is as it was.
        ridge: that gave the shift, for messages.
        precision: in which the kernel's entries were computed.

    Raises:
        NotPositiveDefinite, NotAKernel: as ``solve_cholesky``.
    """
    n, diagonal = len(kernel), np.diag(kernel).copy()
    found = _factorise(kernel, shift)
    if not isinstance(found, str):
        return found
    _restore(kernel, diagonal)
    explained = explained_by_rounding(diagonal, precision)
    if shift > explained:
        raise not_a_kernel(diagonal, precision, f"with ridge {ridge:g} {found}")
    if explained > 0 and shift < explained:
        # Rounding may be the cause here. With all that it explains on the diagonal it no longer is.
        beyond = _factorise(kernel, explained)
        _restore(kernel, diagonal)
        if isinstance(beyond, str):
            raise not_a_kernel(
                diagonal, precision, f"with ridge {explained / np.abs(diagonal).mean():.1e} {beyond}"
            )
    raise NotPositiveDefinite(
        f"the kernel of {n} examples with ridge {ridge:g} is not positive definite to working precision ({found}): "
        "choose a larger ridge, or look for duplicate examples"
    )


def _factorise(kernel: np.ndarray, shift: float) -> tuple[np.ndarray, float] | str:
    """As ``factorise``, or what says that there is no factor; then only what is below the diagonal is still whole."""
    one_norm = max(_column_sums(kernel) + shift, default=0.0)
    kernel.flat[:: len(kernel) + 1] += shift
    minor = factorise_in_place(kernel)
    if minor > 0:
        return f"its leading minor of order {minor} is not positive"
    # LAPACK takes columns: to it the upper triangle is a lower one, and the transpose needs no copy.
    factor = kernel.T
    condition, _ = lapack.dpocon(factor, one_norm, uplo="L")
    if not condition > np.finfo(np.float64).eps:
        return f"its reciprocal condition number is {condition:.1e}"
    return factor, float(condition)


def solve_factorised(factor: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(K + shift I)^-1 B, (n, k) float64, from the factor of ``factorise``."""
    solved, _ = lapack.dpotrs(factor, right, lower=1)
    return np.ascontiguousarray(solved)


class _Solved(NamedTuple):
    """(K + shift I)^-1 B, the reciprocal condition number, and, where asked for, facts of the inverse."""

    x: np.ndarray
    condition: float
    log_determinant: float
    inverse_diagonal: np.ndarray


def _solve(
    kernel: np.ndarray,
    targets: np.ndarray,
    shift: float,
    ridge: float,
    precision: npt.DTypeLike,
    judged: bool,
) -> _Solved:
    """``_Solved``, its last field empty unless ``judged``; K is restored."""
    diagonal = np.diag(kernel).copy()
    try:
        factor, condition = factorise(kernel, shift, ridge, precision)
        x = solve_factorised(factor, targets)
        log_determinant = 2 * float(np.log(np.diag(kernel)).sum())
        return _Solved(
            x, condition, log_determinant, inverse_diagonal_in_place(kernel) if judged else np.empty(0)
        )
    finally:
        _restore(kernel, diagonal)


def _column_sums(kernel: np.ndarray, panel: int = PANEL) -> np.ndarray:
    """Sum of the absolute values of each column, without a temporary of the matrix's size."""
    total = np.zeros(len(kernel))
    for row in range(0, len(kernel), panel):
        total += np.abs(kernel[row : row + panel]).sum(axis=0)
    return total


def _restore(kernel: np.ndarray, diagonal: np.ndarray, panel: int = PANEL) -> None:
    """Put K back: LAPACK wrote above the diagonal only, so that what is below it is still whole."""
    mirror_upper(kernel.T, panel)
    kernel.flat[:: len(kernel) + 1] = diagonal
