"""Mirroring the triangle of a symmetric matrix."""

from __future__ import annotations

import numpy as np
import pytest

from neural_kernels.triangles import mirror_upper


@pytest.mark.parametrize("strip", [1, 3, 7, 100])
@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_what_is_above_the_diagonal_is_copied_to_below_it_whatever_the_strip(n: int, strip: int) -> None:
    matrix = np.random.default_rng(n).standard_normal((n, n))
    above, below = matrix.copy(), matrix.copy()
    mirror_upper(above, strip)
    np.testing.assert_array_equal(above, np.triu(matrix) + np.triu(matrix, 1).T)
    mirror_upper(below.T, strip)
    np.testing.assert_array_equal(below, np.tril(matrix) + np.tril(matrix, -1).T)
