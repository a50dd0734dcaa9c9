"""The kernel among the examples of each part of a partition."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from neural_kernels.blocks import KernelStore, read_block
from neural_kernels.errors import UserError
from neural_kernels.machine.memory import gibibytes


class PartKernels:
    """K[b, b] of each part b of a partition: as many parts at a time as fit in memory, one pass over the blocks.

    Parts are asked for in the order of the partition.
    """

    def __init__(
        self, store: KernelStore, window: tuple[int, int], partition: Sequence[np.ndarray], budget: int
    ) -> None:
        """``budget`` bytes for the matrices.

        Raises:
            UserError: a single part needs more.
        """
        largest = max(len(part) for part in partition)
        self._together = budget // (8 * largest**2)
        if self._together < 1:
            raise UserError(
                f"the kernel among the {largest} examples of a part takes {gibibytes(8 * largest**2)}, which "
                f"exceeds the {gibibytes(max(budget, 0))} that are left: raise solver.memory_gib or lower the size"
            )
        self._store, self._window, self._partition = store, window, partition
        self._position = {int(part[0]): place for place, part in enumerate(partition)}
        self._held: dict[int, np.ndarray] = {}
        self.reading_seconds = 0.0

    def __call__(self, part: np.ndarray) -> np.ndarray:
        """K[part, part], (b, b) float64."""
        place = self._position[int(part[0])]
        if place not in self._held:
            begun = time.perf_counter()
            self._held = {}  # the memory of the ones before goes first
            last = min(place + self._together, len(self._partition))
            self._held = self._read(range(place, last))
            self.reading_seconds += time.perf_counter() - begun
        return self._held[place]

    def _read(self, places: range) -> dict[int, np.ndarray]:
        edge, first = self._store.grid.edge, self._window[0]
        rows = {place: self._partition[place] + first for place in places}
        kernels = {place: np.empty((len(part), len(part))) for place, part in rows.items()}
        for i, j in self._store.grid.window_blocks(*self._window):
            block = read_block(self._store, i, j)
            for place, part in rows.items():
                down, across = part // edge == i, part // edge == j
                entries = block[np.ix_(part[down] - i * edge, part[across] - j * edge)]
                kernels[place][np.ix_(down, across)] = entries
                if i != j:
                    kernels[place][np.ix_(across, down)] = entries.T
        return kernels
