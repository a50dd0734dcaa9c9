"""How the processes of one solve share vectors: the few collective operations that the solver needs.

Vectors of n rows are cut into contiguous ranges, one a process; everything with n rows that a process
holds has only its own rows. One process is the special case that owns them all.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Communicator(Protocol):
    """Collective operations over the processes of a solve; every process calls each of them."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Elementwise sum over the processes, the same bits on all of them."""

    def gather_rows(self, local: np.ndarray, n: int) -> np.ndarray:
        """All n rows, (n, k), from each process's own rows."""

    def sum_rows(self, partial: np.ndarray) -> np.ndarray:
        """Own rows of the sum over processes of ``partial``, (n, k)."""

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, in the order of ranks, on all of them."""


class SerialCommunicator:
    """One process."""

    rank = 0
    size = 1

    def sum(self, array: np.ndarray) -> np.ndarray:
        return array

    def gather_rows(self, local: np.ndarray, n: int) -> np.ndarray:
        return local

    def sum_rows(self, partial: np.ndarray) -> np.ndarray:
        return partial

    def gather(self, value: Any) -> list[Any]:
        return [value]


def row_range(n: int, rank: int, size: int) -> tuple[int, int]:
    """First row that process ``rank`` of ``size`` owns of n, and the first after it."""
    return rank * n // size, (rank + 1) * n // size
