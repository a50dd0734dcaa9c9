"""Products of a tall matrix, (n, r) with n far above r, with a few vectors: in threads, panel by panel."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from neural_kernels.machine.threads import blas_threads
from neural_kernels.solvers.panel_product import panel_product, transposed_product

# Of 1 MiB: small enough for a second use from cache and for even work, and hundreds of microseconds long.
PANEL_ENTRIES = 2**17


@dataclass(frozen=True)
class Tall:
    """A tall matrix, (n, r) float64 and C-contiguous, and the threads that multiply with it."""

    matrix: np.ndarray
    threads: int = 1

    def times(self, small: np.ndarray) -> np.ndarray:
        """L W, (n, k), from W, (r, k)."""
        out = np.empty((len(self.matrix), small.shape[1]))
        across = np.ascontiguousarray(small.T)

        def work(rows: slice) -> None:
            out[rows] = panel_product(self.matrix[rows], across, None)[0]

        self._each(work)
        return out

    def transposed_times(self, vectors: np.ndarray) -> np.ndarray:
        """L^T V, (r, k), from V, (n, k). Panels are added in their order: the same bits every time."""
        vectors = np.ascontiguousarray(vectors)
        total = np.zeros((vectors.shape[1], self.matrix.shape[1]))
        for part in self._each(lambda rows: transposed_product(self.matrix[rows], vectors[rows])):
            total += part
        return np.ascontiguousarray(total.T)

    def residual(
        self, vectors: np.ndarray, small: np.ndarray, known: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """R = V - M * (L W), (n, k), and L^T R, (r, k), in one pass over L.

        Args:
            known: the mask M, (n, k) bool, or None for one that is true everywhere.
        """
        out = np.empty((len(self.matrix), small.shape[1]))
        across = np.ascontiguousarray(small.T)
        total = np.zeros((small.shape[1], self.matrix.shape[1]))

        def work(rows: slice) -> np.ndarray:
            product = panel_product(self.matrix[rows], across, None)[0]
            if known is not None:
                product *= known[rows]
            np.subtract(vectors[rows], product, out=out[rows])
            return transposed_product(self.matrix[rows], out[rows])

        for part in self._each(work):
            total += part
        return out, np.ascontiguousarray(total.T)

    def _each(self, work: Callable[[slice], np.ndarray | None]) -> list[Any]:
        n, rank = self.matrix.shape
        if rank == 0:
            return []
        height = max(64, PANEL_ENTRIES // rank)
        panels = [slice(row, min(row + height, n)) for row in range(0, n, height)]
        with blas_threads(1):
            if len(panels) == 1 or self.threads == 1:
                return [work(panel) for panel in panels]
            return list(_pool(self.threads).map(work, panels))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    # Starting threads anew would take as long as a product.
    return ThreadPoolExecutor(threads)
