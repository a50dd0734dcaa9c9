"""Randomly pivoted Cholesky, K ~ L L^T (Chen, Epperly, Tropp, Webber 2022), accelerated by rejection.

Each pivot is drawn with a probability proportional to the residual diagonal. The accelerated form (Epperly,
Tropp, Webber 2024) draws many proposals from the diagonal of one moment, fetches their columns in one pass
over the store, and accepts each with the share of its residual that the ones accepted before it have left
over. The pivots have exactly the distribution that drawing them one after the other gives.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from neural_kernels.machine.threads import blas_threads
from neural_kernels.solvers.operator import Operator
from neural_kernels.solvers.pivoted_cholesky import (
    EXHAUSTED,
    LowRankFactor,
    own_rows,
    row_chunks,
    subtract_explained,
)


def randomly_pivoted(operator: Operator, rank: int, seed: int, pool: int | None = None) -> LowRankFactor:
    """K ~ L L^T with random pivots.

    Args:
        operator: K; its diagonal must not be negative.
        rank: pivots to take, at most n.
        seed: of the draws; the same on every process.
        pool: most proposals to a pass over the store; ``rank`` where None.
    """
    generator = np.random.default_rng(seed)
    first, last = operator.rows
    residual = operator.diagonal()
    trace = float(residual.sum())
    rank = min(rank, operator.n)
    pool = rank if pool is None else pool
    factor = np.empty((last - first, rank))
    pivots: list[int] = []
    reads = 0
    while len(pivots) < rank and residual.sum() > EXHAUSTED * trace:
        done = len(pivots)
        count = min(pool, 4 * (rank - done) + 16)
        drawn = generator.choice(operator.n, size=count, p=residual / residual.sum())
        proposals, which = np.unique(drawn, return_inverse=True)
        columns = operator.columns(proposals)
        reads += 1
        subtract_explained(columns, factor[:, :done], own_rows(factor[:, :done], proposals, operator))
        among = own_rows(columns, proposals, operator)
        with blas_threads(1):
            accepted, triangle = _accept(among, which, rank - done, EXHAUSTED * trace / operator.n, generator)
        if not len(accepted):
            break
        share = np.empty(last - first)
        for rows in row_chunks(factor):
            new = solve_triangular(triangle, columns[rows, accepted].T, lower=True).T
            factor[rows, done : done + len(accepted)] = new
            share[rows] = np.einsum("ir,ir->i", new, new)
        del columns
        residual = np.maximum(
            residual - operator.communicator.gather_rows(share[:, None], operator.n)[:, 0], 0.0
        )
        residual[proposals[accepted]] = 0.0
        pivots += proposals[accepted].tolist()
    found = np.ascontiguousarray(factor[:, : len(pivots)])
    return LowRankFactor(found, np.array(pivots, np.intp), float(residual.sum()) / trace, reads)


def _accept(
    among: np.ndarray, which: np.ndarray, wanted: int, smallest: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rejection sampling among proposals.

    Args:
        among: residual matrix between the different proposals, (b, b).
        which: the proposals in the order drawn, as rows of ``among``.
        wanted: stop after so many.
        smallest: residuals below are rounding.

    Returns:
        The accepted ones in order, and the Cholesky factor of the residual matrix among them.
    """
    start = np.diag(among).copy()
    left = start.copy()
    partial = np.zeros((len(among), min(wanted, len(among))))
    accepted: list[int] = []
    for candidate, uniform in zip(which.tolist(), generator.random(len(which)).tolist(), strict=True):
        if len(accepted) == wanted:
            break
        if left[candidate] <= smallest or uniform * start[candidate] >= left[candidate]:
            continue
        k = len(accepted)
        column = among[:, candidate] - partial[:, :k] @ partial[candidate, :k]
        partial[:, k] = column / np.sqrt(left[candidate])
        left = np.maximum(left - partial[:, k] ** 2, 0.0)
        left[candidate] = 0.0
        accepted.append(candidate)
    chosen = np.array(accepted, np.intp)
    return chosen, np.tril(partial[chosen, : len(chosen)])
