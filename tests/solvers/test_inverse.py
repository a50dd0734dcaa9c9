"""The inverse times many vectors in batches, against dense NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from neural_kernels.solvers import PreconditionerSettings, Stopping
from neural_kernels.solvers.definiteness import NotAKernel
from neural_kernels.solvers.inverse import direct_inverses, iterative_inverse
from neural_kernels.solvers.operator import DenseOperator

RANDOM = np.random.default_rng(0)
FACTOR = RANDOM.normal(size=(40, 60))
KERNEL = FACTOR @ FACTOR.T / 60
RIGHT = RANDOM.normal(size=(40, 11))
STOPPING = Stopping(tolerance=1e-12)


def test_a_mask_keeps_its_rows_and_columns() -> None:
    masks = [np.ones(40, bool), np.arange(40) % 3 > 0]
    kernel = KERNEL.copy()
    inverses = direct_inverses(kernel, 0.1, 0.1, masks)
    for number in (0, 1, 0):
        known = masks[number]
        expected = np.linalg.solve(KERNEL[np.ix_(known, known)] + 0.1 * np.eye(known.sum()), RIGHT[known])
        np.testing.assert_allclose(inverses(number)(RIGHT[known]), expected, rtol=1e-9)
    np.testing.assert_array_equal(kernel, KERNEL)


def test_one_mask_of_everything_takes_no_copy() -> None:
    kernel = KERNEL.copy()
    inverse = direct_inverses(kernel, 0.1, 0.1, [np.ones(40, bool)])(0)
    np.testing.assert_allclose(inverse(RIGHT), np.linalg.solve(KERNEL + 0.1 * np.eye(40), RIGHT), rtol=1e-9)
    assert not np.array_equal(kernel, KERNEL)


@pytest.mark.parametrize("method", ["random", "greedy", "none"])
@pytest.mark.parametrize("batch", [1, 4, 20])
def test_conjugate_gradients_agree_whatever_the_batch(method: str, batch: int) -> None:
    settings = PreconditionerSettings(method, 8)
    solve = iterative_inverse(DenseOperator(KERNEL), 0.1, 0.1, settings, STOPPING, batch)
    found, residuals = solve(RIGHT)
    np.testing.assert_allclose(
        found, np.linalg.solve(KERNEL + 0.1 * np.eye(40), RIGHT), rtol=1e-8, atol=1e-10
    )
    assert residuals.shape == (11,)
    assert (residuals < 1e-12).all()


def test_an_indefinite_kernel_is_refused() -> None:
    indefinite = KERNEL - 2 * np.eye(40)
    with pytest.raises(NotAKernel):
        direct_inverses(indefinite.copy(), 0.1, 0.1, [np.ones(40, bool)])(0)
    solve = iterative_inverse(
        DenseOperator(indefinite), 0.1, 0.1, PreconditionerSettings("none"), STOPPING, 4
    )
    with pytest.raises(NotAKernel):
        solve(RIGHT)
