"""Block diagonal approximation: the training kernel between different parts is set to zero (paper, section 4)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from neural_kernels.solvers import cholesky
from neural_kernels.solvers.approximations.part_kernels import PartKernels
from neural_kernels.solvers.approximations.problem import (
    Approximation,
    Asked,
    Attempt,
    Problem,
    descending,
    from_coefficients,
)
from neural_kernels.solvers.approximations.subsets import draw_partition
from neural_kernels.solvers.cholesky import solve_cholesky
from neural_kernels.solvers.definiteness import NotPositiveDefinite

log = logging.getLogger(__name__)


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


def _block_diagonal(problem: Problem, asked: Asked, passed_over: list[float]) -> Iterator[Attempt]:
    settings, partition = asked.settings, draw_partition(problem.n, asked.size, asked.seed)
    # What is picked of a block, and what a factorisation takes besides the kernel of a part.
    largest, outputs = max(len(part) for part in partition), problem.targets.shape[1]
    working = cholesky.working_bytes(largest, outputs) - 8 * largest**2 + 8 * problem.n * outputs
    budget = settings.memory_budget - working - problem.train.largest_block_bytes
    kernels = PartKernels(problem.train, problem.window, partition, budget)
    for ridge in descending(settings.ridges):
        begun, reading = time.perf_counter(), kernels.reading_seconds
        try:
            coefficients, residual = block_diagonal(
                kernels, problem.targets, partition, ridge, problem.train.dtype
            )
        except NotPositiveDefinite as error:
            log.warning("ridge %g is passed over: %s", ridge, error)
            passed_over.append(ridge)
            continue
        seconds = time.perf_counter() - begun - (kernels.reading_seconds - reading)
        predict = from_coefficients(problem, coefficients)
        converged = residual <= settings.stopping.tolerance
        yield Attempt(ridge, None, predict, seconds, "direct", converged, {"residual": residual})


BLOCK_DIAGONAL = Approximation("Block diagonal", _block_diagonal)
