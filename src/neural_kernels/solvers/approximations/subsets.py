"""Uniformly random subsets of the training examples, and their part of the kernel."""

from __future__ import annotations

import numpy as np

from neural_kernels.blocks import KernelStore, read_block
from neural_kernels.errors import UserError


def draw_subset(n: int, size: int, seed: int) -> np.ndarray:
    """``size`` of n examples, ascending.

    Raises:
        UserError: more than there are, or none.
    """
    if not 1 <= size <= n:
        raise UserError(f"a subset of {size} examples was asked of {n}")
    return np.sort(np.random.default_rng(seed).choice(n, size, replace=False))


def draw_partition(n: int, size: int, seed: int) -> list[np.ndarray]:
    """All n examples in parts of nearly equal size, at most ``size``; each part ascending.

    Raises:
        UserError: a size below 1.
    """
    if size < 1:
        raise UserError(f"parts of {size} examples were asked for, expected at least 1")
    order = np.random.default_rng(seed).permutation(n)
    return [np.sort(part) for part in np.array_split(order, -(-n // size))]


def principal_submatrix(store: KernelStore, window: tuple[int, int], chosen: np.ndarray) -> np.ndarray:
    """K[chosen, chosen] of the examples ``window`` of a symmetric store, (b, b) float64.

    Args:
        chosen: (b,) indices within the window, ascending.

    Raises:
        UserError: a block is missing, truncated, foreign or not finite.
    """
    edge, rows = store.grid.edge, chosen + window[0]
    out = np.empty((len(rows), len(rows)))
    starts = {int(i): np.flatnonzero(rows // edge == i) for i in np.unique(rows // edge)}
    for i, of_rows in starts.items():
        for j, of_columns in starts.items():
            if i <= j:
                block = read_block(store, i, j)
                part = block[np.ix_(rows[of_rows] - i * edge, rows[of_columns] - j * edge)]
                out[np.ix_(of_rows, of_columns)] = part
                out[np.ix_(of_columns, of_rows)] = part.T
    return out
