"""One triangle of a symmetric matrix from the other."""

from __future__ import annotations

import numpy as np

STRIP = 1024
"""Rows at a time: a matrix may be larger than memory."""


def mirror_upper(matrix: np.ndarray, strip: int = STRIP) -> None:
    """Copy what is above the diagonal of ``matrix``, (n, n), to below it; of its transpose, the other way round."""
    n = len(matrix)
    for first in range(0, n, strip):
        last = min(first + strip, n)
        matrix[last:, first:last] = matrix[first:last, last:].T
        corner = np.triu(matrix[first:last, first:last])
        matrix[first:last, first:last] = corner + np.triu(corner, 1).T
