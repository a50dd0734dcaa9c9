"""The factorisation by blocks against LAPACK's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_kernels.solvers import blocked_cholesky
from neural_kernels.solvers.blocked_cholesky import factorise_in_place


def positive_definite(n: int, seed: int = 0) -> np.ndarray:
    root = np.random.default_rng(seed).standard_normal((n, n + 3))
    return root @ root.T


@settings(max_examples=40)
@given(n=st.integers(1, 60), block=st.integers(1, 70), rows=st.integers(1, 40), seed=st.integers(0, 9))
def test_any_block_size_gives_the_factor_and_leaves_the_rest(
    n: int, block: int, rows: int, seed: int
) -> None:
    matrix = positive_definite(n, seed)
    work = matrix.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocked_cholesky, "UPDATE_ROWS", rows)
        assert factorise_in_place(work, block) == 0
    np.testing.assert_allclose(np.triu(work), np.linalg.cholesky(matrix).T, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(np.tril(work, -1), np.tril(matrix, -1))


@pytest.mark.parametrize("block", [3, 7, 50])
def test_the_first_minor_that_is_not_positive_is_named(block: int) -> None:
    matrix = positive_definite(20)
    matrix[12, 12] = -1.0
    assert factorise_in_place(matrix, block) == 13
