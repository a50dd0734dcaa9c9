"""Cholesky factorisation in place, of matrices of any size.

OpenBLAS's own, with several threads, writes beyond its buffers on large matrices (n = 16,000 with two threads ends
the process), so that it factorises diagonal blocks here, and its matrix product does the rest.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas, lapack

# Up to this size OpenBLAS's factorisation is right and the fastest.
BLOCK = 4096
UPDATE_ROWS = 1024
INVERSE_BLOCK = 512


def factorisation_bytes(n: int, block: int = BLOCK) -> int:
    """Bytes that ``factorise_in_place`` takes besides the matrix."""
    if n <= block:
        return 0
    right = n - block
    # A diagonal block and its mask, what is right of it, and the product that is subtracted below.
    return 9 * block**2 + 8 * (block + UPDATE_ROWS) * right + 9 * UPDATE_ROWS**2


def factorise_in_place(matrix: np.ndarray, block: int = BLOCK) -> int:
    """Replace the diagonal and all above it by U, where the symmetric matrix is U^T U; leave the rest alone.

    Args:
        matrix: (n, n) float64, C-contiguous.
        block: rows that are factorised at a time.

    Returns:
        0, or the order of the first leading minor that is not positive definite; then what is above the diagonal
        is of no use.
    """
    n = len(matrix)
    if n <= block:
        # LAPACK takes columns: its lower triangle is the upper one of rows.
        return int(lapack.dpotrf(matrix.T, lower=1, overwrite_a=1, clean=0)[1])
    for start in range(0, n, block):
        end = min(start + block, n)
        diagonal = matrix[start:end, start:end].copy()
        minor = factorise_in_place(diagonal, block)
        if minor:
            return start + minor
        _put_upper(matrix[start:end, start:end], diagonal)
        if end < n:
            right = np.ascontiguousarray(matrix[start:end, end:])
            # X = U^-T A, as X^T U = A^T, whose columns are the rows of X.
            right = blas.dtrsm(1.0, diagonal.T, right.T, side=1, lower=1, trans_a=1, overwrite_b=1).T
            matrix[start:end, end:] = right
            _update(matrix[end:, end:], right)
    return 0


def inverse_bytes(n: int, block: int = INVERSE_BLOCK) -> int:
    """Bytes that ``inverse_diagonal_in_place`` takes besides the matrix: a block's copies and products."""
    return 8 * 8 * min(n, block) ** 2


def inverse_diagonal_in_place(matrix: np.ndarray, block: int = INVERSE_BLOCK) -> np.ndarray:
    """The diagonal of the inverse, (n,) float64, of the matrix that ``factorise_in_place`` has factorised.

    U becomes its inverse, whose rows' squared lengths are the diagonal; what is below the diagonal is left alone.

    Args:
        matrix: (n, n) float64, C-contiguous, with U on the diagonal and above it.
        block: rows that are inverted at a time.
    """
    n = len(matrix)
    starts = range(0, n, block)
    lengths = np.zeros(n)
    for start in starts:
        end = min(start + block, n)
        own = _inverted(matrix[start:end, start:end])
        _put_upper(matrix[start:end, start:end], own)
        lengths[start:end] += np.einsum("ij,ij->i", own, own)
        # From the top down: what a row needs of the rows below it is still U.
        for row in range(0, start, block):
            rows = slice(row, row + block)
            product = np.triu(matrix[rows, rows]) @ matrix[rows, start:end]
            if row + block < start:
                product += matrix[rows, row + block : start] @ matrix[row + block : start, start:end]
            product = -product @ own
            matrix[rows, start:end] = product
            lengths[rows] += np.einsum("ij,ij->i", product, product)
    return lengths


def _inverted(upper: np.ndarray) -> np.ndarray:
    """The inverse of what is on the diagonal and above it, zero below."""
    # LAPACK takes columns: its lower triangle is the upper one of rows.
    inverse, _ = lapack.dtrtri(np.triu(upper).T, lower=1, overwrite_c=1)
    return np.ascontiguousarray(inverse.T)


def _update(trailing: np.ndarray, right: np.ndarray) -> None:
    """Subtract X^T X from the diagonal and all above it."""
    n = len(trailing)
    for row in range(0, n, UPDATE_ROWS):
        end = min(row + UPDATE_ROWS, n)
        product = right[:, row:end].T @ right[:, row:]
        corner = trailing[row:end, row:end]
        _put_upper(corner, corner - product[:, : end - row])
        trailing[row:end, end:] -= product[:, end - row :]


def _put_upper(target: np.ndarray, values: np.ndarray) -> None:
    """Replace the diagonal of ``target`` and all above it by that of ``values``."""
    above = np.triu(np.ones(target.shape, bool))
    np.copyto(target, values, where=above)
