"""Test examples in chunks that are predicted together: their kernel with the training set, and among each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from neural_kernels.blocks import KernelStore, read_block, read_submatrix


@dataclass(frozen=True)
class Queries:
    """Examples to predict: the first ``size`` rows of a stored kernel against the training set.

    Only the Bayesian committee machines ask for what no store of the study holds.

    Attributes:
        variances: gives their prior variances, (size,) float64.
        among: from an edge to the symmetric store of the kernel among the queries in blocks of that edge, of which
            those on the diagonal are there.
    """

    store: KernelStore
    size: int
    variances: Callable[[], np.ndarray]
    among: Callable[[int], KernelStore]


def chunk_size(size: int, most: int) -> int:
    """Queries in a chunk, where ``size`` of them are in as few chunks of nearly equal size as ``most`` allows."""
    chunks = -(-size // most)
    return -(-size // chunks)


def reading_bytes(queries: Queries, rows: int, n: int) -> int:
    """Memory of so many rows of n entries, while they are read from their blocks and made float64."""
    store = queries.store
    entry = 8 if store.dtype == np.float64 else 8 + store.dtype.itemsize
    return entry * rows * n + store.dtype.itemsize * store.grid.edge**2


@dataclass(frozen=True)
class _Held:
    """Consecutive rows of a part, in memory."""

    part: str
    first: int
    rows: np.ndarray

    def has(self, part: str, first: int, end: int) -> bool:
        return part == self.part and self.first <= first and end <= self.first + len(self.rows)


class QueryChunks:
    """The queries of each part of the data, in consecutive chunks that are predicted together.

    Rows of the kernel with the training set are read for as many chunks at a time as fit in memory, and stay
    for the next pass over the same part.
    """

    def __init__(
        self, queries: Mapping[str, Queries], window: tuple[int, int], most: int, budget: int
    ) -> None:
        """``most`` queries in a chunk; ``budget`` bytes for rows, at least ``reading_bytes`` of a chunk.

        What is missing of the kernels among queries is computed.
        """
        self._queries, self._window, self._budget = queries, window, budget
        self._among = {part: q.among(chunk_size(q.size, most)) for part, q in queries.items()}
        self._held: _Held | None = None
        self.reading_seconds = 0.0

    @property
    def rounding(self) -> float:
        """Relative rounding of the coarsest of the kernels."""
        stores = [*self._among.values(), *(q.store for q in self._queries.values())]
        return max(float(np.finfo(store.dtype).eps) for store in stores)

    def count(self, part: str) -> int:
        return self._among[part].grid.block_rows

    def read(self, part: str, place: int) -> tuple[np.ndarray, np.ndarray]:
        """K(chunk, window), (m, n) float64, and K(chunk, chunk), (m, m) float64.

        To keep to the budget, drop what was read before.
        """
        begun = time.perf_counter()
        first, end = self._among[part].grid.row_range(place)
        rows = self._rows(part, first, end)
        among = read_block(self._among[part], place, place).astype(np.float64, copy=False)
        self.reading_seconds += time.perf_counter() - begun
        return rows, among

    def _rows(self, part: str, first: int, end: int) -> np.ndarray:
        if self._held is None or not self._held.has(part, first, end):
            self._held = None  # the memory of the ones before goes first
            self._held = self._read_rows(part, first)
        return self._held.rows[first - self._held.first : end - self._held.first]

    def _read_rows(self, part: str, first: int) -> _Held:
        """Rows of as many chunks as fit, from the one that begins at ``first``."""
        queries, edge = self._queries[part], self._among[part].grid.edge
        block = reading_bytes(queries, 0, 0)
        a_chunk = reading_bytes(queries, edge, self._window[1] - self._window[0]) - block
        together = max((self._budget - block) // a_chunk, 1)
        last = min(first + edge * together, queries.size)
        rows = read_submatrix(queries.store, (first, last), self._window)
        return _Held(part, first, rows.astype(np.float64, copy=False))
