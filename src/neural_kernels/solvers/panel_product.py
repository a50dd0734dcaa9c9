"""P V and P^T U for a panel P of the matrix, P read from memory once.

For a handful of vectors memory sets the pace, so each entry is used twice while it is in cache. The
compiled library does it tile by tile (``native/panel_product.cpp``); where there is none, NumPy does it in
products small enough for OpenBLAS not to rearrange P first. For many vectors, those of
random columns or of hundreds of classes, arithmetic sets the pace, and BLAS is the faster.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels.machine import native_library

log = logging.getLogger(__name__)

INTERFACE = 1

# OpenBLAS multiplies matrices of up to this many multiply-adds without copying them into packed form,
# which for a handful of vectors costs more than the product.
SMALL_PRODUCT = 10**6
TILE_ROWS = 64
MANY_VECTORS = 28
MANY_VECTORS_ROWS = 256


def panel_product(
    entries: np.ndarray, across: np.ndarray, down: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """P V and (P^T U)^T in one pass over P, in float64.

    Args:
        entries: P, (p, q), float64 or float32, rows contiguous.
        across: V transposed, (k, q) float64, rows contiguous.
        down: U, (p, k) float64, C-contiguous, or None where P^T U is not wanted.

    Returns:
        P V, (p, k), and P^T U transposed, (k, q), or None.
    """
    for_rows = np.zeros((len(entries), len(across)))
    for_columns = None if down is None else np.zeros((len(across), entries.shape[1]))
    _multiply(entries, across, down, for_rows, for_columns)
    return for_rows, for_columns


def transposed_product(entries: np.ndarray, down: np.ndarray) -> np.ndarray:
    """(P^T U)^T alone, (k, q), from P, (p, q), and U, (p, k) float64, C-contiguous."""
    for_columns = np.zeros((down.shape[1], entries.shape[1]))
    _multiply(entries, None, down, None, for_columns)
    return for_columns


def _multiply(
    entries: np.ndarray,
    across: np.ndarray | None,
    down: np.ndarray | None,
    for_rows: np.ndarray | None,
    for_columns: np.ndarray | None,
) -> None:
    if _vectors(across, down) >= MANY_VECTORS:
        _in_large_products(entries, across, down, for_rows, for_columns)
    elif library() is None:
        _in_small_products(entries, across, down, for_rows, for_columns)
    else:
        _compiled(entries, across, down, for_rows, for_columns)


@functools.cache
def library() -> Any:
    """The compiled library, or None where it was not built."""
    found = native_library.load(Path(__file__).parent, "panel_product_interface", INTERFACE)
    if isinstance(found, str):
        log.warning("products with the kernel run in NumPy, more slowly: %s", found)
        return None
    return found


def _compiled(
    entries: np.ndarray,
    across: np.ndarray | None,
    down: np.ndarray | None,
    for_rows: np.ndarray | None,
    for_columns: np.ndarray | None,
) -> None:
    size = entries.dtype.itemsize
    if entries.dtype not in (np.float64, np.float32) or entries.strides[1] != size:
        raise ValueError(f"entries are {entries.dtype}, expected float64 or float32 in contiguous rows")
    if across is not None and (across.dtype != np.float64 or across.strides[1] != 8):
        raise ValueError(f"vectors are {across.dtype}, expected float64 in contiguous rows")
    if down is not None and (down.dtype != np.float64 or not down.flags.c_contiguous):
        raise ValueError(f"vectors are {down.dtype}, expected C-contiguous float64")
    vectors = _vectors(across, down)
    integer = ctypes.c_int64
    library().panel_product(
        _address(entries),
        ctypes.c_int32(size == 4),
        integer(entries.strides[0] // size),
        integer(entries.shape[0]),
        integer(entries.shape[1]),
        integer(vectors),
        _address(across),
        integer(0 if across is None else across.strides[0] // 8),
        _address(down),
        integer(vectors),
        _address(for_rows),
        _address(for_columns),
    )


def _address(array: np.ndarray | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def _in_small_products(
    entries: np.ndarray,
    across: np.ndarray | None,
    down: np.ndarray | None,
    for_rows: np.ndarray | None,
    for_columns: np.ndarray | None,
) -> None:
    (height, width), k = entries.shape, _vectors(across, down)
    tile_columns = max(64, SMALL_PRODUCT // (TILE_ROWS * k))
    for row in range(0, height, TILE_ROWS):
        rows = slice(row, min(row + TILE_ROWS, height))
        for column in range(0, width, tile_columns):
            columns = slice(column, min(column + tile_columns, width))
            tile = entries[rows, columns].astype(np.float64, copy=False)
            if across is not None and for_rows is not None:
                for_rows[rows] += tile @ across[:, columns].T
            if down is not None and for_columns is not None:
                for_columns[:, columns] += (tile.T @ down[rows]).T


def _in_large_products(
    entries: np.ndarray,
    across: np.ndarray | None,
    down: np.ndarray | None,
    for_rows: np.ndarray | None,
    for_columns: np.ndarray | None,
) -> None:
    if entries.dtype == np.float64:
        if across is not None and for_rows is not None:
            np.matmul(entries, across.T, out=for_rows)
        if down is not None and for_columns is not None:
            np.matmul(down.T, entries, out=for_columns)
        return
    # A few rows at a time, so that what is converted is used in the cache.
    for row in range(0, len(entries), MANY_VECTORS_ROWS):
        rows = slice(row, row + MANY_VECTORS_ROWS)
        tile = entries[rows].astype(np.float64, copy=False)
        if across is not None and for_rows is not None:
            np.matmul(tile, across.T, out=for_rows[rows])
        if down is not None and for_columns is not None:
            for_columns += down[rows].T @ tile


def _vectors(across: np.ndarray | None, down: np.ndarray | None) -> int:
    if across is not None:
        return len(across)
    assert down is not None
    return down.shape[1]
