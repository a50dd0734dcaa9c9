"""Partial pivoted Cholesky, K ~ L L^T of rank r, with the greedy choice of pivots (Harbrecht et al. 2012)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from neural_kernels.machine.threads import blas_threads
from neural_kernels.solvers.operator import Operator

# Where the residual's trace is below this share of the kernel's, what is left is rounding.
EXHAUSTED = 1e-14


@dataclass(frozen=True)
class LowRankFactor:
    """L of K ~ L L^T.

    Attributes:
        rows: own rows of L, (own rows, r); r is below what was asked for where K has no more to give.
        pivots: (r,) indices of the chosen examples.
        residual: trace(K - L L^T) / trace(K).
        reads: passes over the store that it took.
    """

    rows: np.ndarray
    pivots: np.ndarray
    residual: float
    reads: int


def greedy(operator: Operator, rank: int, pool: int | None = None) -> LowRankFactor:
    """Each pivot is the example with the largest residual diagonal.

    Columns of K are fetched for a pool of examples at a time, those with the largest residual diagonals.
    Residuals only shrink, so that the choice within the pool is the choice among all until the largest
    one left in the pool falls below one outside; then the next pool is fetched.

    Args:
        operator: K; its diagonal must not be negative.
        rank: pivots to take, at most n.
        pool: columns fetched in one pass over the store; ``rank`` where None.
    """
    first, last = operator.rows
    residual = operator.diagonal()
    trace = float(residual.sum())
    rank = min(rank, operator.n)
    pool = min(rank if pool is None else pool, operator.n)
    factor = np.empty((last - first, rank), order="F")
    pivots: list[int] = []
    reads = 0
    while len(pivots) < rank and residual.sum() > EXHAUSTED * trace:
        done = len(pivots)
        candidates = np.argpartition(residual, -pool)[-pool:]
        candidates = candidates[np.argsort(-residual[candidates], kind="stable")]
        columns = operator.columns(candidates)
        reads += 1
        subtract_explained(columns, factor[:, :done], own_rows(factor[:, :done], candidates, operator))
        with blas_threads(1):
            residual = _take(
                operator, candidates, columns, residual, factor, pivots, EXHAUSTED * trace / operator.n
            )
        del columns
        if len(pivots) == done:
            break
    rows = np.ascontiguousarray(factor[:, : len(pivots)])
    return LowRankFactor(rows, np.array(pivots, np.intp), float(residual.sum()) / trace, reads)


def _take(
    operator: Operator,
    candidates: np.ndarray,
    columns: np.ndarray,
    residual: np.ndarray,
    factor: np.ndarray,
    pivots: list[int],
    smallest: float,
) -> np.ndarray:
    """Take pivots from the pool while it holds the largest residual; ``factor`` and ``pivots`` grow.

    Args:
        columns: own rows of the residual matrix's columns ``candidates``.
        residual: its diagonal, (n,).
        smallest: residuals below are rounding.

    Returns:
        The new residual diagonal.
    """
    done, rank = len(pivots), factor.shape[1]
    outside = np.ones(operator.n, bool)
    outside[candidates] = False
    left = np.ones(len(candidates), bool)
    while len(pivots) < rank:
        inside = np.where(left, residual[candidates], -np.inf)
        best = int(np.argmax(inside))
        if inside[best] <= smallest or inside[best] < residual[outside].max(initial=0.0):
            break
        new = slice(done, len(pivots))
        pivot = int(candidates[best])
        weights = own_rows(factor[:, new], candidates[best : best + 1], operator)[0]
        column = (columns[:, best] - factor[:, new] @ weights) / np.sqrt(residual[pivot])
        factor[:, len(pivots)] = column
        whole = operator.communicator.gather_rows(column[:, None], operator.n)[:, 0]
        residual = np.maximum(residual - whole**2, 0.0)
        residual[pivot], left[best] = 0.0, False
        pivots.append(pivot)
    return residual


def row_chunks(matrix: np.ndarray, height: int = 4096) -> Iterator[slice]:
    """Slices of a few rows: temporaries of a chunk's size instead of the matrix's."""
    return (slice(row, row + height) for row in range(0, len(matrix), height))


def subtract_explained(columns: np.ndarray, factor: np.ndarray, weights: np.ndarray) -> None:
    """columns -= factor weights^T, in place."""
    for rows in row_chunks(columns):
        columns[rows] -= factor[rows] @ weights.T


def own_rows(factor: np.ndarray, indices: np.ndarray, operator: Operator) -> np.ndarray:
    """Rows ``indices`` of a matrix that the processes share by rows, (len(indices), r), on all of them."""
    first, last = operator.rows
    picked = np.zeros((len(indices), factor.shape[1]))
    mine = (indices >= first) & (indices < last)
    picked[mine] = factor[indices[mine] - first]
    return operator.communicator.sum(picked)
