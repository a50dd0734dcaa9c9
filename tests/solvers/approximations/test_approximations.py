"""Against textbook formulas in NumPy, and against the exact answer where each approximation is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from solver_problems import digits_problem, stored

from neural_kernels.errors import UserError
from neural_kernels.solvers.approximations import (
    block_diagonal,
    draw_partition,
    draw_subset,
    low_rank_features,
    nystrom,
    principal_submatrix,
    subset_of_regressors,
)
from neural_kernels.solvers.approximations.low_rank_features import LowRankFeatures
from neural_kernels.solvers.operator import DenseOperator, Operator
from neural_kernels.solvers.store_operator import StoreOperator

EVERYTHING, TARGETS = digits_problem(260)
N = 200
KERNEL, CROSS, Y = EVERYTHING[:N, :N], EVERYTHING[N:, :N], TARGETS[:N]
MEAN = np.diag(KERNEL).mean()
RIDGES = [1e-6, 1e-2]


def exact(ridge: float) -> np.ndarray:
    return CROSS @ np.linalg.solve(KERNEL + ridge * MEAN * np.eye(N), Y)


def among(part: np.ndarray) -> np.ndarray:
    return KERNEL[np.ix_(part, part)]


def features(operator: Operator, subset: np.ndarray, jitter: float = 0.0) -> LowRankFeatures:
    return low_rank_features(operator, subset, jitter, Y.shape[1])


def agree(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("ridge", RIDGES)
@pytest.mark.parametrize("jitter", [0.0, 1e-3])
def test_nystrom(ridge: float, jitter: float) -> None:
    subset = draw_subset(N, 50, seed=1)
    columns = KERNEL[:, subset]
    middle = KERNEL[np.ix_(subset, subset)] + jitter * MEAN * np.eye(50)
    approximate = columns @ np.linalg.solve(middle, columns.T)
    expected = np.linalg.solve(approximate + ridge * MEAN * np.eye(N), Y)
    agree(nystrom(features(DenseOperator(KERNEL), subset, jitter), Y, ridge), expected)


@pytest.mark.parametrize("ridge", RIDGES)
@pytest.mark.parametrize("jitter", [0.0, 1e-3])
def test_subset_of_regressors(ridge: float, jitter: float) -> None:
    subset = draw_subset(N, 50, seed=1)
    columns = KERNEL[:, subset]
    middle = KERNEL[np.ix_(subset, subset)] + jitter * MEAN * np.eye(50)
    weights = np.linalg.solve(columns.T @ columns + ridge * MEAN * middle, columns.T @ Y)
    found = subset_of_regressors(features(DenseOperator(KERNEL), subset, jitter), Y, ridge)
    agree(found[subset], weights)
    assert not np.delete(found, subset, axis=0).any()


@pytest.mark.parametrize("approximation", [nystrom, subset_of_regressors])
@pytest.mark.parametrize("ridge", RIDGES)
def test_low_rank_with_all_points_is_exact(approximation: Callable[..., Any], ridge: float) -> None:
    agree(CROSS @ approximation(features(DenseOperator(KERNEL), np.arange(N)), Y, ridge), exact(ridge))


@pytest.mark.parametrize("ridge", RIDGES)
def test_block_diagonal(ridge: float) -> None:
    partition = draw_partition(N, 60, seed=2)
    expected = np.zeros((N, N))
    for part in partition:
        expected[np.ix_(part, part)] = among(part) + ridge * np.diag(among(part)).mean() * np.eye(len(part))
    agree(block_diagonal(among, Y, partition, ridge)[0], np.linalg.solve(expected, Y))


@pytest.mark.parametrize("ridge", RIDGES)
def test_block_diagonal_with_one_block_is_exact(ridge: float) -> None:
    agree(CROSS @ block_diagonal(among, Y, draw_partition(N, N, seed=0), ridge)[0], exact(ridge))


def test_on_a_store(tmp_path: Path) -> None:
    store, window = stored(tmp_path, EVERYTHING, 64), (30, 230)
    operator = StoreOperator(store, window)
    inside = EVERYTHING[30:230, 30:230]
    subset = draw_subset(200, 40, seed=3)
    for approximation in (nystrom, subset_of_regressors):
        expected = approximation(features(DenseOperator(inside), subset, 1e-6), Y, 1e-3)
        agree(approximation(features(operator, subset, 1e-6), Y, 1e-3), expected)
    for part in draw_partition(200, 70, seed=4):
        np.testing.assert_array_equal(principal_submatrix(store, window, part), inside[np.ix_(part, part)])


def test_subsets_are_seeded_and_cover() -> None:
    assert draw_subset(100, 10, 5).tolist() == draw_subset(100, 10, 5).tolist()
    assert draw_subset(100, 10, 5).tolist() != draw_subset(100, 10, 6).tolist()
    partition = draw_partition(100, 30, 5)
    assert [len(part) for part in partition] == [25, 25, 25, 25]
    assert sorted(np.concatenate(partition).tolist()) == list(range(100))


def test_mistakes_are_one_sentence() -> None:
    operator, subset = DenseOperator(KERNEL), np.arange(5)
    twice = np.array([0, 0])
    with pytest.raises(UserError, match="subset of 201 examples was asked of 200"):
        draw_subset(200, 201, 0)
    with pytest.raises(UserError, match="expected at least 1"):
        draw_partition(200, 0, 0)
    with pytest.raises(UserError, match="choose a larger jitter"):
        features(operator, twice)
    with pytest.raises(UserError, match="ridge is 0"):
        nystrom(features(operator, subset), Y, 0.0)
    with pytest.raises(UserError, match="jitter is -1"):
        features(operator, subset, -1.0)
