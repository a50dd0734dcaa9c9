"""Blocks, and parts of the matrix that several of them hold, read after a look at what was read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neural_kernels.blocks.inspection import _content_fault, inspect_block, raise_faults
from neural_kernels.blocks.store import KernelStore


def read_block(store: KernelStore, i: int, j: int) -> np.ndarray:
    """Block (i, j), checked: place, shape, dtype, size, fingerprint, checksums, every entry finite, the diagonal's
    blocks symmetric.

    Raises:
        UserError: the block is missing, truncated, foreign or damaged; it is set aside, never used.
    """
    found, path = inspect_block(store, i, j), store.block_path(i, j)
    if isinstance(found, str):
        fault: str | None = found
    else:
        block = np.load(path, allow_pickle=False)
        fault = _content_fault(store, i, j, block, found.strips)
        if fault is None:
            return block
    raise_faults(store, [(i, j, f"{path} {fault}")])
    raise AssertionError


def read_submatrix(
    store: KernelStore,
    rows: tuple[int, int],
    columns: tuple[int, int],
    dtype: npt.DTypeLike | None = None,
) -> np.ndarray:
    """Entries K[rows[0]:rows[1], columns[0]:columns[1]] gathered from their blocks.

    A symmetric store serves both triangles. Returns a new array of ``dtype``, the store's where it is None; besides it
    two blocks are in memory.
    """
    grid = store.grid
    out = np.empty((rows[1] - rows[0], columns[1] - columns[0]), store.dtype if dtype is None else dtype)
    for i in range(rows[0] // grid.edge, -(-rows[1] // grid.edge)):
        for j in range(columns[0] // grid.edge, -(-columns[1] // grid.edge)):
            upper = i <= j or not grid.symmetric
            block = read_block(store, i, j) if upper else read_block(store, j, i).T
            (r0, r1), (c0, c1) = _overlap(i, grid.edge, rows), _overlap(j, grid.edge, columns)
            part = block[r0 - i * grid.edge : r1 - i * grid.edge, c0 - j * grid.edge : c1 - j * grid.edge]
            out[r0 - rows[0] : r1 - rows[0], c0 - columns[0] : c1 - columns[0]] = part
    return out


def stored_diagonal(store: KernelStore, count: int) -> np.ndarray | None:
    """K of each of the first ``count`` examples of a symmetric store with itself, (count,) float64.

    None where a block on the diagonal is missing or has a fault, which is left to who needs the block. Blocks are
    mapped, and checked strip by strip.
    """
    edge = store.grid.edge
    out = np.empty(count)
    for i in range(-(-count // edge)):
        found = inspect_block(store, i, i)
        if isinstance(found, str):
            return None
        entries = np.memmap(store.block_path(i, i), store.dtype, "r", found.offset, store.grid.shape(i, i))
        if found.strips.damaged(entries) is not None:
            return None
        first, end = i * edge, min((i + 1) * edge, count)
        out[first:end] = entries.diagonal()[: end - first]
    return out if np.isfinite(out).all() else None


def _overlap(index: int, edge: int, interval: tuple[int, int]) -> tuple[int, int]:
    return max(index * edge, interval[0]), min((index + 1) * edge, interval[1])
