"""A principal submatrix of a stored kernel as an operator: in RAM, streamed from disk, or part and part.

Of a float64 store it may also be the rounded matrix, entry by entry to float32, half of whose bytes are kept: another
operator, which is asked for by its own name, while the matrix itself is then streamed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import numpy as np

from neural_kernels.blocks import (
    KernelStore,
    content_fault,
    inspect_block,
    raise_faults,
    read_block,
    set_aside_faulty,
)
from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.machine.threads import blas_threads
from neural_kernels.solvers.acceleration import PassCost
from neural_kernels.solvers.communicator import Communicator, SerialCommunicator, row_range
from neural_kernels.solvers.panel_product import panel_product
from neural_kernels.solvers.panels import Panel, aligned_bytes, cut_into_panels, read_panel, round_in_place
from neural_kernels.triangles import mirror_upper

T = TypeVar("T")

# Threads that wait for the disk while others compute.
READERS = 2
# Of the product that is timed: about as many vectors as random columns, and rows of a panel.
MANY_VECTORS, TIMED_ROWS = 64, 256


class StoreOperator:
    """The rows and columns ``window`` of a symmetric store. Only blocks i <= j are there, each read once.

    As many panels stay in RAM as the memory budget allows; the others are read anew in every product, several
    threads ahead. The result does not depend on the placement or on the threads'
    timing: contributions are added in the order of the panels.

    Attributes:
        n: rows of the window.
        rows: own rows within the window, first and first after.
        passes: products and column reads so far, each of which reads the streamed panels once.
        rounded: whether the panels in RAM are rounded to float32, for ``matmul_rounded`` alone.
    """

    def __init__(
        self,
        store: KernelStore,
        window: tuple[int, int] | None = None,
        *,
        memory_budget: int | None = None,
        vectors: int = 1,
        threads: int = 1,
        communicator: Communicator | None = None,
    ) -> None:
        """Check every block that will be read, before any work.

        Args:
            window: first training example and the first after; the whole store where None.
            memory_budget: bytes for the matrix entries that this process keeps or has in flight, and for
                the products of panels that wait to be added; everything in RAM where None.
            vectors: the most that a product is asked for.
            threads: that compute; the disk has its own.
            communicator: of the processes that share the blocks out; this process alone where None.

        Raises:
            UserError: a store that is not symmetric, a window outside it, a block that is missing,
                truncated or foreign, or a budget below what is in flight.
        """
        grid = store.grid
        window = (0, grid.rows) if window is None else window
        if not grid.symmetric:
            raise UserError(
                f"{store.directory} holds a rectangular kernel, expected that of the training set"
            )
        if not 0 <= window[0] < window[1] <= grid.rows:
            raise UserError(
                f"examples {window[0]} to {window[1]} were asked of {store.directory}, which has {grid.rows}"
            )
        self.n = window[1] - window[0]
        self.communicator: Communicator = SerialCommunicator() if communicator is None else communicator
        self.rows = row_range(self.n, self.communicator.rank, self.communicator.size)
        self.passes = 0
        self.rounded = False
        self._store = store
        self._window = window
        self._threads = threads
        self._workers = threads + READERS
        # Starting threads anew would cost as much as a tenth of a product.
        self._pool = ThreadPoolExecutor(self._workers)
        self._panels = _own_panels(store, window, self.communicator)
        self._resident: dict[int, np.ndarray] = {}
        self._kept = self._place(memory_budget, vectors)
        self._local = threading.local()
        self._faulty, self._faults = threading.Lock(), dict[tuple[int, int], Exception]()
        self._computing = threading.Semaphore(threads)

    def place(self, memory_budget: int | None, vectors: int, rounded: bool = False) -> None:
        """Choose anew which panels stay in RAM; arguments and errors as of the constructor.

        Args:
            rounded: whether they stay as float32, of a float64 store.
        """
        if rounded != self.rounded:
            self._resident.clear()
        self.rounded = rounded
        self._kept = self._place(memory_budget, vectors)
        self._resident = {k: entries for k, entries in self._resident.items() if k in self._kept}

    def leading(self, count: int) -> np.ndarray:
        """The leading principal submatrix of at most ``count`` examples, float64: those of the first block alone.

        For the first process, which has that block.
        """
        of_first = [k for k, panel in enumerate(self._panels) if panel.block == self._panels[0].block]
        count = min(count, self._panels[0].columns[1])
        sample = np.zeros((count, count))

        def gather(panel: Panel, entries: np.ndarray) -> None:
            rows = slice(panel.rows[0], min(panel.rows[1], count))
            height, width = rows.stop - rows.start, count - panel.columns[0]
            sample[rows, panel.columns[0] :] = entries[:height, :width]

        for _ in self._in_order(gather, [k for k in of_first if self._panels[k].rows[0] < count]):
            pass
        mirror_upper(sample)
        return sample

    def measured_cost(self) -> PassCost:
        """What a pass costs this process, from a few of its panels: reading and checking them, then products alone."""
        streamed = [k for k in range(len(self._panels)) if k not in self._kept]
        few = streamed[:: max(1, len(streamed) // (2 * self._workers))][: 2 * self._workers]
        begun, used = time.perf_counter(), time.process_time()
        for _ in self._in_order(lambda panel, entries: None, few):
            pass
        # While it waits for the disk, a thread uses no processor.
        reading, busy = time.perf_counter() - begun, (time.process_time() - used) / self._threads
        read = sum(self._panels[k].stored_bytes for k in few)
        all_of_them = self.streamed_bytes / read if read else 0.0
        return PassCost(reading * all_of_them, self._seconds_a_vector(), min(busy, reading) * all_of_them)

    def _seconds_a_vector(self) -> float:
        """Of a product with as many as random columns are, entries in memory."""
        panel = max(self._panels, key=lambda panel: panel.height * panel.width)
        shape = min(panel.height, TIMED_ROWS), panel.width
        entries, across = np.ones(shape), np.ones((MANY_VECTORS, panel.width))
        down = np.ones((shape[0], MANY_VECTORS))

        def product(_: int) -> None:
            with self._computing:
                panel_product(entries, across, down)

        def once() -> float:
            begun = time.perf_counter()
            list(self._pool.map(product, range(self._threads)))
            return time.perf_counter() - begun

        with blas_threads(1):
            fastest = min(once() for _ in range(3))
        entries_of_all = sum(panel.height * panel.width for panel in self._panels)
        return fastest / MANY_VECTORS * entries_of_all / (self._threads * entries.size)

    @property
    def streamed_bytes(self) -> int:
        """Bytes that every product reads from disk on this process."""
        return sum(panel.stored_bytes for k, panel in enumerate(self._panels) if k not in self._kept)

    @property
    def resident_bytes(self) -> int:
        """Bytes of entries that stay in the memory of this process."""
        return sum(self._kept_bytes(self._panels[k]) for k in self._kept)

    def placement(self) -> dict[str, int]:
        """How much of the matrix all processes keep in memory, and how much they stream, for a record."""
        shares = self.communicator.gather((self.resident_bytes, self.streamed_bytes))
        return {
            "processes": len(shares),
            "resident_bytes": sum(resident for resident, _ in shares),
            "streamed_bytes": sum(streamed for _, streamed in shares),
        }

    def matmul(self, vectors: np.ndarray) -> np.ndarray:
        """Own rows of K V; see ``Operator``.

        Raises:
            UserError: a block has entries that are not finite, or became unreadable.
        """
        return self._matmul(vectors, self._stored_entries if self.rounded else self._entries)

    def matmul_rounded(self, vectors: np.ndarray) -> np.ndarray:
        """Own rows of fl32(K) V in float64 arithmetic, once panels are placed ``rounded``; else as ``matmul``.

        The bits are the same wherever a panel is: one that is streamed is rounded as those in RAM are.
        """
        return self._matmul(vectors, self._entries)

    def matmul_rounding(self, vectors: np.ndarray) -> np.ndarray:
        """Own rows of (K - fl32(K)) V, all panels from disk; else as ``matmul``."""
        return self._matmul(vectors, self._rounding_of)

    def _matmul(self, vectors: np.ndarray, entries_of: Callable[[int], np.ndarray]) -> np.ndarray:
        everything = np.ascontiguousarray(self.communicator.gather_rows(vectors, self.n), np.float64)
        transposed = self._transposed(everything)
        total, for_all_columns = np.zeros(everything.shape), np.zeros(transposed.shape)
        bounded = bool(np.isfinite(everything).all())

        def product(panel: Panel, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            across = transposed[:, slice(*panel.mirrored)]
            with self._computing:
                for_rows, for_columns = panel_product(
                    entries[:, panel.once :], across, everything[slice(*panel.rows)]
                )
                assert for_columns is not None
                if panel.once:
                    on_diagonal = transposed[:, slice(*panel.rows)]
                    for_rows += panel_product(entries[:, : panel.once], on_diagonal, None)[0]
            if bounded:
                # An entry that is not finite makes its whole row of the product so.
                self._check_finite(panel, for_rows)
            return for_rows, for_columns

        for panel, (for_rows, for_columns) in self._in_order(product, range(len(self._panels)), entries_of):
            total[slice(*panel.rows)] += for_rows
            for_all_columns[:, slice(*panel.mirrored)] += for_columns
        self.passes += 1
        total += for_all_columns.T
        return self.communicator.sum_rows(total)

    def diagonal(self) -> np.ndarray:
        """The whole diagonal, (n,) float64."""
        total = np.zeros(self.n)

        def part(panel: Panel, entries: np.ndarray) -> np.ndarray:
            values = entries.diagonal().astype(np.float64)
            self._check_finite(panel, values)
            return values

        on_diagonal = [k for k, panel in enumerate(self._panels) if panel.on_diagonal]
        stored = self._stored_entries if self.rounded else self._entries
        for panel, values in self._in_order(part, on_diagonal, stored):
            total[slice(*panel.rows)] = values
        return self.communicator.sum(total)

    def columns(self, indices: np.ndarray) -> np.ndarray:
        """Own rows of K[:, indices], (own rows, len(indices)) float64, in at most one pass over the store; of the
        rounded matrix where panels are placed so.

        Column s of K is column s of the panels above the diagonal and row s of those right of it.
        """
        total = np.zeros((self.n, len(indices)))

        def gather(panel: Panel, entries: np.ndarray) -> None:
            in_columns, in_rows = _touched(panel, indices)
            if len(in_columns):
                picked = entries[:, indices[in_columns] - panel.columns[0]]
                self._check_finite(panel, picked)
                total[slice(*panel.rows), in_columns] = picked
            if len(in_rows):
                picked = entries[indices[in_rows] - panel.rows[0], panel.once :]
                self._check_finite(panel, picked)
                total[slice(*panel.mirrored), in_rows] = picked.T

        touched = [k for k, panel in enumerate(self._panels) if any(map(len, _touched(panel, indices)))]
        for _ in self._in_order(gather, touched):
            pass
        self.passes += 1
        return self.communicator.sum_rows(total)

    def _place(self, memory_budget: int | None, vectors: int) -> set[int]:
        """Which panels stay in RAM."""
        total = sum(map(self._kept_bytes, self._panels))
        products = self.product_bytes(vectors)
        # Panels at the diagonal keep a part of what is read.
        cut = (panel.stored_bytes for panel in self._panels if self._kept_bytes(panel) < panel.stored_bytes)
        if memory_budget is None or total + products + self._workers * max(cut, default=0) <= memory_budget:
            return set(range(len(self._panels)))
        in_flight = self.streaming_bytes(vectors)
        if in_flight > memory_budget:
            raise UserError(
                f"the memory budget leaves {memory_budget / 2**20:.0f} MiB for kernel entries, but reading "
                f"{self._store.directory} with {self._workers} threads and multiplying {vectors} vectors takes "
                f"{in_flight / 2**20:.0f} MiB: raise solver.memory_gib or use fewer threads"
            )
        # Evenly among the others, so that the disk reads the streamed ones while these are multiplied.
        share, saved = (memory_budget - in_flight) / total, 0.0
        kept = set()
        for k, panel in enumerate(self._panels):
            saved += share * self._kept_bytes(panel)
            if saved >= self._kept_bytes(panel):
                kept.add(k)
                saved -= self._kept_bytes(panel)
        return kept

    def _kept_bytes(self, panel: Panel) -> int:
        """What a copy of a panel in memory takes."""
        return panel.kept_bytes // 2 if self.rounded else panel.kept_bytes

    def streaming_bytes(self, vectors: int) -> int:
        """Bytes that a product takes at least, whatever stays in RAM."""
        reading = self._workers * max((panel.stored_bytes for panel in self._panels), default=0)
        return reading + self.product_bytes(vectors)

    def product_bytes(self, vectors: int) -> int:
        """Bytes of the products of panels that are being made or wait for those before them."""
        sizes = [panel.height + panel.width for panel in self._panels]
        at_a_time = min(len(sizes), 2 * self._workers + 1) + self._threads
        return 8 * vectors * at_a_time * max(sizes, default=0)

    def _entries(self, k: int) -> np.ndarray:
        """Entries of panel ``k``, rounded where they are placed so; of a streamed one, until the same thread asks for
        another."""
        if k in self._resident:
            return self._resident[k]
        panel = self._panels[k]
        if k not in self._kept:
            entries = self._stored_entries(k)
            return round_in_place(entries) if self.rounded else entries
        if self._kept_bytes(panel) == panel.stored_bytes:
            self._resident[k] = self._read(panel, aligned_bytes(panel.stored_bytes))
        else:
            dtype = np.dtype(np.float32) if self.rounded else panel.dtype
            kept = aligned_bytes(self._kept_bytes(panel)).view(dtype).reshape(panel.height, panel.width)
            kept[:] = self._stored_entries(k)
            self._resident[k] = kept
        return self._resident[k]

    def _stored_entries(self, k: int) -> np.ndarray:
        """Entries of panel ``k`` read from disk, until the same thread asks for another."""
        return self._read(self._panels[k], self._buffer(self._panels[k].stored_bytes))

    def _rounding_of(self, k: int) -> np.ndarray:
        """What float32 leaves out of the entries of panel ``k``, until the same thread asks for another."""
        entries = self._stored_entries(k)
        for row in entries:
            row -= row.astype(np.float32)
        return entries

    def _transposed(self, vectors: np.ndarray) -> np.ndarray:
        """(k, n) with every block's first column on a cache line, where the block edge allows it."""
        n, k = vectors.shape
        lead = self._window[0] % 8
        length = -(-(lead + n) // 8) * 8
        padded = aligned_bytes(8 * k * length).view(np.float64).reshape(k, length)
        padded[:, lead : lead + n] = vectors.T
        return padded[:, lead : lead + n]

    def _buffer(self, size: int) -> np.ndarray:
        if not hasattr(self._local, "buffer") or len(self._local.buffer) < size:
            self._local.buffer = aligned_bytes(size)
        return self._local.buffer

    def _read(self, panel: Panel, buffer: np.ndarray) -> np.ndarray:
        try:
            return read_panel(panel, buffer)
        except (DamagedFile, OSError, EOFError) as error:
            raise self._fault(panel, error) from None

    def _fault(self, panel: Panel, error: Exception) -> Exception:
        """Set the block of a panel that could not be read aside; several threads may be at it, and all say the same."""
        with self._faulty:
            if panel.block not in self._faults:
                try:
                    if isinstance(error, DamagedFile):
                        raise_faults(self._store, [(*panel.block, str(error))])
                    # It was whole at the start: say what happened to it since.
                    set_aside_faulty(self._store, [panel.block])
                except UserError as said:
                    error = said
                self._faults[panel.block] = error
            return self._faults[panel.block]

    def _check_finite(self, panel: Panel, values: np.ndarray) -> None:
        if not np.isfinite(values).all():
            # Names the block and sets it aside, so that the next run computes it again.
            read_block(self._store, *panel.block)
            raise UserError(
                f"the product with {panel.path} overflows: its entries or the vectors are too large"
            )

    def _in_order(
        self,
        work: Callable[[Panel, np.ndarray], T],
        which: Iterable[int],
        entries_of: Callable[[int], np.ndarray] | None = None,
    ) -> Iterator[tuple[Panel, T]]:
        """``work`` on panels and their entries, in threads; the results in the order of the panels."""
        found = self._entries if entries_of is None else entries_of

        def task(k: int) -> T:
            return work(self._panels[k], found(k))

        with blas_threads(1):
            pending: deque[tuple[int, Future[T]]] = deque()
            try:
                for k in which:
                    pending.append((k, self._pool.submit(task, k)))
                    if len(pending) > 2 * self._workers:
                        done, result = pending.popleft()
                        yield self._panels[done], result.result()
                for done, result in pending:
                    yield self._panels[done], result.result()
            finally:
                wait([result for _, result in pending if not result.cancel()])


def _touched(panel: Panel, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the indices among a panel's columns and among its rows."""
    in_columns = np.flatnonzero((indices >= panel.columns[0]) & (indices < panel.columns[1]))
    return in_columns, np.flatnonzero((indices >= panel.rows[0]) & (indices < panel.rows[1]))


def _own_panels(store: KernelStore, window: tuple[int, int], communicator: Communicator) -> list[Panel]:
    """This process's share: each block belongs to one process, and each process has as many entries."""
    grid = store.grid
    first, last = window[0] // grid.edge, -(-window[1] // grid.edge)
    own: list[tuple[int, int]] = []
    loads = [0] * communicator.size
    for i, j in [(a, b) for a in range(first, last) for b in range(a, last)]:
        least = loads.index(min(loads))
        loads[least] += int(np.prod(store.grid.shape(i, j)))
        if least == communicator.rank:
            own.append((i, j))
    found = {block: inspect_block(store, *block) for block in own}
    faults = {block: fault for block, fault in found.items() if isinstance(fault, str)}
    # No single panel tells whether a diagonal block is symmetric.
    for i, j in own:
        if i == j and (i, j) not in faults and (fault := content_fault(store, i, j)) is not None:
            faults[i, j] = fault
    raise_faults(store, [(*block, f"{store.block_path(*block)} {fault}") for block, fault in faults.items()])
    return [
        panel
        for block, place in found.items()
        if not isinstance(place, str)
        for panel in cut_into_panels(store, window, block, place)
    ]
