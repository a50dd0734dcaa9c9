"""Predictions from dual coefficients: K(test, train) times coefficients, block by block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neural_kernels.blocks import KernelStore, read_block, set_aside_faulty


def predict(
    store: KernelStore, rows: int, windows: Sequence[tuple[int, int]], coefficients: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Predictions of the first ``rows`` test examples, one array for each training set.

    Each stored block is read once, for all training sets.

    Args:
        store: rectangular store, test examples against training examples.
        windows: first training example and end of each training set.
        coefficients: (n, C) float64 dual coefficients of each training set.

    Returns:
        For each training set (rows, C) float64.

    Raises:
        UserError: a block is missing, truncated, foreign or not finite.
    """
    edge = store.grid.edge
    needed = sorted({j for first, end in windows for j in range(first // edge, -(-end // edge))})
    block_rows = range(-(-rows // edge))
    set_aside_faulty(store, [(i, j) for i in block_rows for j in needed])
    predictions = [np.zeros((rows, alpha.shape[1])) for alpha in coefficients]
    for i in block_rows:
        r0, r1 = store.grid.row_range(i)
        r1 = min(r1, rows)
        for j in needed:
            c0, c1 = store.grid.column_range(j)
            block = read_block(store, i, j)[: r1 - r0]
            for (first, end), alpha, out in zip(windows, coefficients, predictions, strict=True):
                a, b = max(first, c0), min(end, c1)
                if a < b:
                    out[r0:r1] += block[:, a - c0 : b - c0] @ alpha[a - first : b - first]
    return predictions
