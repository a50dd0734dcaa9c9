"""k^T A^-1 k from a Krylov space: what it has and leaves is exact, and the interval holds as often as it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solver_problems import digits_problem

from neural_kernels.solvers import block_lanczos, quadratic_forms
from neural_kernels.solvers.communicator import SerialCommunicator
from neural_kernels.solvers.krylov_basis import KrylovBasis
from neural_kernels.solvers.operator import DenseOperator, RidgeSystem
from neural_kernels.solvers.quadratic_forms import KNOWN

HERE = SerialCommunicator()
N, NEW = 500, 240
WHOLE, _ = digits_problem(N + NEW)


def system(seed: int, ridge: float) -> tuple[np.ndarray, float, np.ndarray, np.ndarray, np.ndarray]:
    """K, the shift, kernel rows of new inputs, their own variances, and k^T A^-1 k by Cholesky."""
    order = np.random.default_rng(seed).permutation(N + NEW)
    kernel = WHOLE[np.ix_(order, order)]
    train, rows, prior = kernel[:N, :N], kernel[:N, N:], np.diag(kernel)[N:]
    shift = ridge * np.trace(train) / N
    exact = np.einsum("ij,ij->j", rows, np.linalg.solve(train + shift * np.eye(N), rows))
    return train, shift, rows, prior, exact


def space(kernel: np.ndarray, columns: int, seed: int = 0) -> block_lanczos.KrylovSpace:
    start = np.random.default_rng([seed, 1]).standard_normal((len(kernel), columns))
    return block_lanczos.begin(start, KrylovBasis(2**30, None, HERE), HERE)


@given(st.integers(1, 6), st.integers(1, 30), st.sampled_from([1e-6, 1e-3, 1e-1]), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_what_the_space_has_and_what_it_leaves(passes: int, columns: int, ridge: float, seed: int) -> None:
    kernel, shift, rows, _, exact = system(seed, ridge)
    grown = space(kernel, columns, seed)
    for _ in range(passes):
        block_lanczos.extend(grown, RidgeSystem(DenseOperator(kernel), 0.0), HERE)
    within, beyond = quadratic_forms.split(grown, shift, rows)
    basis = np.hstack([grown.basis.block(j) for j in range(passes)])
    system_matrix = kernel + shift * np.eye(N)
    solved = basis @ np.linalg.solve(basis.T @ system_matrix @ basis, basis.T @ rows)
    left = rows - system_matrix @ solved
    np.testing.assert_allclose(within, np.einsum("ij,ij->j", rows, solved), rtol=1e-8)
    np.testing.assert_allclose(beyond, np.einsum("ij,ij->j", left, left), rtol=1e-5)
    assert (within <= exact * (1 + 1e-9)).all()
    assert (exact <= (within + beyond / shift) * (1 + 1e-9)).all()


@pytest.mark.parametrize("ridge", [1e-4, 1e-2])
def test_the_interval_holds_for_95_percent(ridge: float) -> None:
    held, errors = [], []
    for seed in range(20):
        kernel, shift, rows, prior, exact = system(seed, ridge)
        few = rows[:, :KNOWN], exact[:KNOWN]
        learned = quadratic_forms.from_space(
            DenseOperator(kernel), shift, space(kernel, 20, seed), few, (prior - exact)[:KNOWN]
        )
        assert learned.space.passes < quadratic_forms.MOST_PASSES
        found = learned.of(rows[:, KNOWN:])
        assert ((found.least <= found.value) & (found.value <= found.most)).all()
        others = exact[KNOWN:]
        held.append(np.mean((found.least <= others) & (others <= found.most)))
        errors.append(np.abs(found.value - others) / (prior - exact)[KNOWN:])
    # Of 4,020 inputs of 20 draws; each draw's own share varies by some 3.5 %.
    assert 0.93 <= np.mean(held) <= 0.985
    assert np.median(errors) < quadratic_forms.CLOSE


def test_a_space_that_has_all_of_k_is_exact() -> None:
    kernel, shift, rows, prior, exact = system(0, 1e-3)
    learned = quadratic_forms.from_space(
        DenseOperator(kernel),
        shift,
        space(kernel, N),
        (rows[:, :KNOWN], exact[:KNOWN]),
        (prior - exact)[:KNOWN],
    )
    found = learned.of(rows)
    for values in found:
        np.testing.assert_allclose(values, exact, rtol=1e-9)
