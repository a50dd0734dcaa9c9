"""Nearest neighbours, with how many of them chosen by leaving one example out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

COUNTS = (1, 3, 5, 10, 20)
"""How many neighbours may be asked."""
CHUNK = 1024
"""Examples whose distances are in memory at a time."""


class Neighbours:
    """The mean of the targets of the nearest training examples.

    Attributes:
        count: of neighbours that are asked, the one with the least leave-one-out error.
    """

    def __init__(self, x: np.ndarray, targets: np.ndarray, tanimoto: bool) -> None:
        """
        Args:
            x: (n, d) float64.
            targets: (n, C) float64, NaN where one is missing.
            tanimoto: whether examples are alike by Tanimoto's similarity of what is not zero in both, else by distance.
        """
        self._x, self._targets, self._tanimoto = (
            (x != 0).astype(np.float64) if tanimoto else x,
            targets,
            tanimoto,
        )
        self._counts = [count for count in COUNTS if count < len(x)] or [1]
        left_out = np.concatenate([found for _, found in self._asked(self._x, without=len(x) > 1)], axis=1)
        losses = [float(np.nanmean((found - targets) ** 2)) for found in left_out]
        self.count = self._counts[int(np.argmin(losses))]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(m, C) from (m, d)."""
        x = (x != 0).astype(np.float64) if self._tanimoto else x
        place = self._counts.index(self.count)
        return np.concatenate([found[place] for _, found in self._asked(x, without=False)])

    def _asked(self, x: np.ndarray, without: bool) -> Iterator[tuple[slice, np.ndarray]]:
        """Predictions with each of the counts, (counts, rows, C), some rows at a time."""
        for first in range(0, len(x), CHUNK):
            chunk = slice(first, min(first + CHUNK, len(x)))
            far = self._distances(x[chunk])
            if without:
                rows = np.arange(len(far))
                far[rows, rows + first] = np.inf
            yield chunk, self._means(np.argsort(far, axis=1, kind="stable"))

    def _means(self, order: np.ndarray) -> np.ndarray:
        found = np.empty((len(self._counts), len(order), self._targets.shape[1]))
        for task, values in enumerate(self._targets.T):
            known = ~np.isnan(values)
            sorted_values = np.where(known, values, 0.0)[order]
            rank = known[order].cumsum(axis=1)
            for place, count in enumerate(self._counts):
                asked = (rank <= count) & known[order]
                found[place, :, task] = (sorted_values * asked).sum(axis=1) / np.maximum(asked.sum(axis=1), 1)
        return found

    def _distances(self, x: np.ndarray) -> np.ndarray:
        shared = x @ self._x.T
        own, theirs = (np.einsum("ij,ij->i", rows, rows) for rows in (x, self._x))
        both = own[:, None] + theirs
        if not self._tanimoto:
            return both - 2 * shared
        return 1 - shared / np.maximum(both - shared, 1)
