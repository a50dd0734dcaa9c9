from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solver_problems import digits_problem, stored

from neural_kernels.errors import UserError
from neural_kernels.solvers.communicator import SerialCommunicator
from neural_kernels.solvers.operator import DenseOperator, Operator
from neural_kernels.solvers.pivoted_cholesky import greedy
from neural_kernels.solvers.preconditioners import low_rank_family
from neural_kernels.solvers.randomly_pivoted_cholesky import randomly_pivoted
from neural_kernels.solvers.store_operator import StoreOperator

KERNEL, TARGETS = digits_problem(300)


def textbook_greedy(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, list[int]]:
    """One pivot after the other (Harbrecht, Peters, Schneider 2012, algorithm 1)."""
    residual, columns, pivots = matrix.copy(), [], []
    for _ in range(rank):
        pivot = int(np.argmax(np.diag(residual)))
        column = residual[:, pivot] / np.sqrt(residual[pivot, pivot])
        residual = residual - np.outer(column, column)
        columns.append(column)
        pivots.append(pivot)
    return np.stack(columns, axis=1), pivots


@pytest.mark.parametrize("pool", [None, 1, 7, 300])
def test_greedy_is_the_textbook_one_whatever_the_pool(pool: int | None) -> None:
    factor = greedy(DenseOperator(KERNEL), 40, pool)
    expected, pivots = textbook_greedy(KERNEL, 40)
    assert factor.pivots.tolist() == pivots
    np.testing.assert_allclose(factor.rows, expected, rtol=1e-7, atol=1e-9)
    left = np.trace(KERNEL - expected @ expected.T) / np.trace(KERNEL)
    assert factor.residual == pytest.approx(left)


def factors(operator: Operator, rank: int) -> list[Any]:
    return [
        greedy(operator, rank),
        randomly_pivoted(operator, rank, 0),
        randomly_pivoted(operator, rank, 1, 10),
    ]


@pytest.mark.parametrize("rank", [1, 40, 300])
def test_factor_reproduces_the_pivots_columns(rank: int) -> None:
    for factor in factors(DenseOperator(KERNEL), rank):
        approximation = factor.rows @ factor.rows.T
        assert len(set(factor.pivots.tolist())) == len(factor.pivots) == rank
        np.testing.assert_allclose(
            approximation[:, factor.pivots], KERNEL[:, factor.pivots], rtol=1e-7, atol=1e-7
        )
        assert np.linalg.eigvalsh(KERNEL - approximation).min() > -1e-8 * np.trace(KERNEL)
        left = np.trace(KERNEL - approximation) / np.trace(KERNEL)
        assert factor.residual == pytest.approx(left, abs=1e-10)


def test_low_rank_matrix_ends_early() -> None:
    x = np.random.default_rng(0).standard_normal((80, 5))
    for factor in factors(DenseOperator(x @ x.T), 60):
        assert factor.rows.shape == (80, 5)
        np.testing.assert_allclose(factor.rows @ factor.rows.T, x @ x.T, atol=1e-6)


def test_store_and_array_agree_in_few_reads(tmp_path: Path) -> None:
    operator = StoreOperator(stored(tmp_path, KERNEL, 64), (10, 290), memory_budget=2**22, threads=2)
    dense = DenseOperator(KERNEL[10:290, 10:290])
    for on_store, on_array in zip(factors(operator, 100), factors(dense, 100), strict=True):
        np.testing.assert_array_equal(on_store.pivots, on_array.pivots)
        np.testing.assert_allclose(on_store.rows, on_array.rows, rtol=1e-10, atol=1e-10)
    assert randomly_pivoted(operator, 100, 0).reads <= 4


def test_random_pivots_have_the_distribution_of_one_after_the_other() -> None:
    # Three groups of equal examples: after a draw from one, its residual is nearly gone.
    group = np.repeat([0, 1, 2], [6, 3, 1])
    kernel = np.where(group[:, None] == group[None], 1.0, 0.0) + 1e-9 * np.eye(10)
    pairs = [
        tuple(group[randomly_pivoted(DenseOperator(kernel), 2, seed, 20).pivots]) for seed in range(2000)
    ]
    assert all(a != b for a, b in pairs)
    first = np.bincount([a for a, _ in pairs], minlength=3) / 2000
    np.testing.assert_allclose(first, [0.6, 0.3, 0.1], atol=0.04)
    # P(second is group 1 | first was group 0) = 3 / 4.
    after_zero = [b for a, b in pairs if a == 0]
    assert np.mean(np.array(after_zero) == 1) == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize("ridge", [1e-8, 1e-4, 1e-1])
def test_preconditioner_is_the_inverse(ridge: float) -> None:
    shift = ridge * np.diag(KERNEL).mean()
    factor = greedy(DenseOperator(KERNEL), 60).rows
    preconditioner = low_rank_family(factor, None, 10, SerialCommunicator()).at(shift)
    vectors = np.random.default_rng(0).standard_normal((300, 10))
    exact = np.linalg.solve(factor @ factor.T + shift * np.eye(300), vectors)
    found = preconditioner.apply(vectors, np.arange(10))
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5 * np.abs(exact).max())
    # In the directions of L, P^-1 L = L (L^T L + shift I)^-1: the part that a naive formula loses.
    found = preconditioner.apply(factor[:, :10], np.arange(10))
    small = factor.T @ factor + shift * np.eye(60)
    np.testing.assert_allclose(found, (factor @ np.linalg.inv(small))[:, :10], rtol=1e-4, atol=1e-7)


def test_masked_preconditioner_is_each_tasks_inverse() -> None:
    known = np.random.default_rng(0).random((300, 4)) < 0.6
    known[:, 2] = known[:, 0]
    shift = 0.05
    factor = greedy(DenseOperator(KERNEL), 30).rows
    family = low_rank_family(factor, known, 4, SerialCommunicator(), threads=2)
    assert len(family.bare_triangles) == 3
    vectors = np.random.default_rng(1).standard_normal((300, 4)) * known
    columns = np.array([3, 0, 2])
    found = family.at(shift).apply(vectors[:, columns], columns)
    for position, task in enumerate(columns):
        masked = factor * known[:, [task]]
        exact = np.linalg.solve(masked @ masked.T + shift * np.eye(300), vectors[:, task])
        np.testing.assert_allclose(found[:, position], exact, rtol=1e-8, atol=1e-9)
        assert not found[~known[:, task], position].any()


@settings(max_examples=30, deadline=None)
@given(
    labelled=st.integers(0, 40), rank=st.integers(0, 70), log_shift=st.floats(-8, 2), seed=st.integers(0, 9)
)
def test_triangles_of_any_rank_and_number_of_labels(
    labelled: int, rank: int, log_shift: float, seed: int
) -> None:
    factor = np.random.default_rng(seed).standard_normal((40, rank)) * np.logspace(0, -6, rank)
    known = np.arange(40)[:, None] < labelled
    system = low_rank_family(factor, known, 1, SerialCommunicator()).at(10.0**log_shift)
    (triangle,) = system.triangles
    masked = factor * known
    expected = masked.T @ masked + 10.0**log_shift * np.eye(rank)
    np.testing.assert_array_equal(triangle, np.triu(triangle))
    scale = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(triangle.T @ triangle, expected, rtol=1e-12, atol=1e-14 * scale)


def test_no_ridge_no_low_rank_preconditioner() -> None:
    family = low_rank_family(np.ones((5, 1)), None, 1, SerialCommunicator())
    with pytest.raises(UserError, match="needs a positive ridge"):
        family.at(0.0)
