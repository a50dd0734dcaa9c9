"""Estimated criteria against their exact values: within the error that they state, for nearly all seeds."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
from scipy.linalg import cho_factor, cho_solve
from solver_problems import digits_problem

from neural_kernels.metrics.losses import mean_squared_error
from neural_kernels.solvers import criteria
from neural_kernels.solvers.cholesky import solve_cholesky
from neural_kernels.solvers.estimates import (
    LEAST_COLUMNS,
    InverseSums,
    group_means,
    group_sums,
    grouped,
    jackknife,
    judge_estimated,
)

N = 1797
"""Every digit that ships with scikit-learn."""

SEEDS = 60


@functools.cache
def problem() -> tuple[np.ndarray, np.ndarray]:
    return digits_problem(N)


@functools.cache
def solved_random_columns(ridge: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random columns of all seeds, A^-1 times them, and w^T log(A) w of each; (n, m), (n, m), (m,)."""
    kernel, _ = problem()
    system = kernel + ridge * np.diag(kernel).mean() * np.eye(N)
    random = np.random.default_rng(0).standard_normal((N, SEEDS * LEAST_COLUMNS))
    values, vectors = np.linalg.eigh(system)
    shares = (vectors.T @ random) ** 2
    return random, cho_solve(cho_factor(system), random), N * (np.log(values) @ shares) / shares.sum(axis=0)


def sums(ridge: float, seed: int) -> InverseSums:
    kernel, targets = problem()
    own = slice(seed * LEAST_COLUMNS, (seed + 1) * LEAST_COLUMNS)
    random, solved, logarithms = solved_random_columns(ridge)
    diagonal = np.diag(kernel) + ridge * np.diag(kernel).mean()
    return InverseSums(
        *group_sums(random[:, own], solved[:, own]),
        log_determinants=group_means(logarithms[own]),
        least=1 / diagonal,
        outputs=targets.shape[1],
    )


@pytest.mark.parametrize("ridge", [1e-4, 1e-1])
@pytest.mark.parametrize("criterion", ["loo", "gcv", "likelihood"])
def test_a_criterion_is_within_its_stated_error(criterion: criteria.Criterion, ridge: float) -> None:
    kernel, targets = problem()
    solution = solve_cholesky(kernel.copy(), targets, ridge, judged=True)
    assert isinstance(solution.inverse, criteria.InverseFacts)
    exact = criteria.judge(criterion, targets, solution.coefficients, solution.inverse, mean_squared_error)
    estimates = [
        judge_estimated(criterion, targets, solution.coefficients, sums(ridge, seed), mean_squared_error)
        for seed in range(SEEDS)
    ]
    within = [abs(estimate.value - exact) <= estimate.error for estimate in estimates]
    assert np.mean(within) >= 0.95
    assert np.mean([estimate.error for estimate in estimates]) < 0.2 * abs(exact)


def left_out(
    statistic: Callable[[criteria.InverseFacts], float], found: InverseSums, group: int | None
) -> float:
    return float(statistic(found.facts(group)))


@pytest.mark.parametrize("ridge", [1e-4, 1e-1])
def test_trace_diagonal_and_determinant_are_within_their_stated_errors(ridge: float) -> None:
    kernel, targets = problem()
    solution = solve_cholesky(kernel.copy(), targets, ridge, judged=True)
    assert isinstance(solution.inverse, criteria.InverseFacts)
    diagonal, determinant = solution.inverse.diagonal[:, 0], solution.inverse.log_determinant[0]
    exact = {"trace": diagonal.sum(), "determinant": determinant, "one entry": diagonal[7]}
    statistics: dict[str, Callable[[criteria.InverseFacts], float]] = {
        "trace": lambda facts: facts.diagonal[:, 0].sum(),
        "determinant": lambda facts: facts.log_determinant[0],
        "one entry": lambda facts: facts.diagonal[7, 0],
    }
    within: dict[str, list[bool]] = {name: [] for name in exact}
    for seed in range(SEEDS):
        found = sums(ridge, seed)
        for name, statistic in statistics.items():
            estimate = jackknife(functools.partial(left_out, statistic, found), found.products.shape[1])
            within[name].append(bool(abs(estimate.value - exact[name]) <= estimate.error))
    assert {name: np.mean(hits) >= 0.95 for name, hits in within.items()} == dict.fromkeys(within, True)


def test_the_jackknife_takes_the_bias_of_first_order_away() -> None:
    values = np.random.default_rng(0).standard_normal((4000, 10)) + 3.0
    plain = [each.mean() ** 2 for each in values]

    def mean_without(each: np.ndarray, group: int | None) -> float:
        return float((each if group is None else np.delete(each, group)).mean() ** 2)

    corrected = [jackknife(functools.partial(mean_without, each), 10).value for each in values]
    assert abs(np.mean(corrected) - 9.0) < abs(np.mean(plain) - 9.0)
    assert np.mean(corrected) == pytest.approx(9.0, abs=4 * np.std(corrected) / np.sqrt(len(corrected)))


@pytest.mark.parametrize("columns", [1, 7, 10, 64])
def test_groups_share_the_columns_out(columns: int) -> None:
    groups = grouped(columns)
    assert [c for group in groups for c in range(columns)[group]] == list(range(columns))
    assert all(group.stop > group.start for group in groups)
