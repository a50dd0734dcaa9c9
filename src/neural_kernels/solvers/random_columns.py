"""Random columns beside the right-hand sides of block conjugate gradients.

Each column, of the targets or not, adds its Krylov space to the one over which the residuals of all targets are
minimised: Gaussian columns do what a low-rank preconditioner does, without one being built, and cost no more reading of
the matrix (Chen, Huber, Lin, Zaid 2025, *Preconditioning without a preconditioner*, arXiv 2501.18717).
"""

from __future__ import annotations

import numpy as np

# Rows that one stream of the generator fills: a process makes its own rows alone, whatever the number of processes.
STREAM_ROWS = 4096


def gaussian_columns(rows: tuple[int, int], count: int, seed: int) -> np.ndarray:
    """Rows ``rows[0]`` to ``rows[1]`` of ``count`` standard normal columns, (own rows, count) float64.

    Row i is the same on every process and with any other bounds; the columns follow from ``seed``.
    """
    first, last = rows
    columns = np.empty((last - first, count))
    for stream in range(first // STREAM_ROWS, -(-last // STREAM_ROWS)):
        begin, end = stream * STREAM_ROWS, (stream + 1) * STREAM_ROWS
        drawn = np.random.default_rng([seed, stream]).standard_normal((STREAM_ROWS, count))
        own = slice(max(begin, first), min(end, last))
        columns[own.start - first : own.stop - first] = drawn[own.start - begin : own.stop - begin]
    return columns
