"""What chooses a ridge without a validation set, against what it stands for, computed the long way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from solver_problems import digits_problem, stored

from neural_kernels.errors import UserError
from neural_kernels.metrics.losses import mean_squared_error
from neural_kernels.solvers import Settings, criteria, solve_system
from neural_kernels.solvers.blocked_cholesky import factorise_in_place, inverse_diagonal_in_place
from neural_kernels.solvers.cholesky import solve_cholesky

N, RIDGE = 60, 1e-2
KERNEL, TARGETS = digits_problem(N)
SHIFT = RIDGE * np.diag(KERNEL).mean()


def with_gaps() -> np.ndarray:
    targets = TARGETS[:, :4].copy()
    targets[::3, 1] = np.nan
    targets[5:30, 2] = np.nan
    targets[:, 3] = np.nan
    return targets


def judged(targets: np.ndarray, ridge: float = RIDGE) -> tuple[np.ndarray, criteria.InverseFacts]:
    """Coefficients of a direct solve, and what it says of the inverse."""
    solution = solve_cholesky(KERNEL.copy(), targets, ridge, judged=True)
    assert isinstance(solution.inverse, criteria.InverseFacts)
    return solution.coefficients, solution.inverse


CASES = pytest.mark.parametrize("targets", [TARGETS, with_gaps()], ids=["whole", "gaps"])


@given(n=st.integers(1, 70), block=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_the_diagonal_of_the_inverse_is_that_of_any_block_size(n: int, block: int, seed: int) -> None:
    factor = np.random.default_rng(seed).standard_normal((n, n + 5))
    matrix = factor @ factor.T + 0.1 * np.eye(n)
    worked = matrix.copy()
    assert factorise_in_place(worked, block) == 0
    diagonal = inverse_diagonal_in_place(worked, block)
    np.testing.assert_allclose(diagonal, np.diag(np.linalg.inv(matrix)), rtol=1e-8)
    np.testing.assert_array_equal(np.tril(worked, -1), np.tril(matrix, -1))


@CASES
def test_leaving_one_out_is_solving_without_it(targets: np.ndarray) -> None:
    coefficients, inverse = judged(targets)
    found = criteria.leave_one_out_predictions(targets, coefficients, inverse.diagonal)
    for task in range(targets.shape[1]):
        for left_out in np.flatnonzero(~np.isnan(targets[:, task]))[::5]:
            rest = np.flatnonzero(~np.isnan(targets[:, task]) & (np.arange(N) != left_out))
            system = KERNEL[np.ix_(rest, rest)] + SHIFT * np.eye(len(rest))
            expected = KERNEL[left_out, rest] @ np.linalg.solve(system, targets[rest, task])
            assert found[left_out, task] == pytest.approx(expected, rel=1e-8, abs=1e-9)
    assert not found[np.isnan(targets)].any()


@CASES
def test_the_likelihood_is_that_of_a_gaussian_at_its_likeliest_amplitude(targets: np.ndarray) -> None:
    coefficients, inverse = judged(targets)
    found = criteria.judge("likelihood", targets, coefficients, inverse, mean_squared_error)
    total, count = 0.0, 0
    for column in targets.T:
        known = ~np.isnan(column)
        if not known.any():
            continue
        covariance = KERNEL[np.ix_(known, known)] + SHIFT * np.eye(known.sum())

        def log_likelihood(
            amplitude: float, covariance: np.ndarray = covariance, values: np.ndarray = column[known]
        ) -> float:
            return float(multivariate_normal(cov=amplitude * covariance).logpdf(values))

        amplitude = column[known] @ np.linalg.solve(covariance, column[known]) / known.sum()
        best = log_likelihood(amplitude)
        assert best >= max(log_likelihood(0.9 * amplitude), log_likelihood(1.1 * amplitude))
        total, count = total + best, count + int(known.sum())
    assert found == pytest.approx(-total / count, rel=1e-9)


@CASES
def test_generalised_cross_validation_is_leaving_one_out_with_one_mean_leverage(targets: np.ndarray) -> None:
    coefficients, inverse = judged(targets)
    found = criteria.generalised_cross_validation(coefficients, inverse.diagonal)
    squares, count = 0.0, 0
    for column in targets.T:
        known = ~np.isnan(column)
        if not known.any():
            continue
        part = KERNEL[np.ix_(known, known)]
        smoother = part @ np.linalg.inv(part + SHIFT * np.eye(len(part)))
        residual = column[known] - smoother @ column[known]
        squares += ((residual / (1 - np.trace(smoother) / len(part))) ** 2).sum()
        count += len(part)
    assert found == pytest.approx(squares / count, rel=1e-8)


def test_a_task_of_zeros_has_no_likelihood() -> None:
    targets = np.zeros((N, 1))
    coefficients, inverse = judged(targets)
    assert np.isnan(criteria.negative_log_likelihood(targets, coefficients, inverse.log_determinant))


@CASES
@pytest.mark.parametrize("criterion", ["loo", "gcv", "likelihood"])
def test_the_ridge_is_the_one_that_the_criterion_finds_best(
    tmp_path: Path, criterion: criteria.Criterion, targets: np.ndarray
) -> None:
    store = stored(tmp_path, KERNEL, 25)
    ridges = [1e-6, 1e-4, 1e-2, 1.0, 100.0]
    found = solve_system(store, (0, N), targets, Settings(ridges, choose_by=criterion))
    losses = {
        ridge: criteria.judge(criterion, targets, *judged(targets, ridge), mean_squared_error)
        for ridge in ridges
    }
    assert found.record.ridge == min(losses, key=lambda ridge: losses[ridge])
    choice = found.record.details["ridge_choice"]
    assert choice["by"] == criterion
    assert {entry["ridge"]: entry["loss"] for entry in choice["candidates"]} == pytest.approx(losses)
    assert found.record.validation_loss is None
    alone = solve_system(store, (0, N), targets, Settings([found.record.ridge]))
    np.testing.assert_array_equal(found.coefficients, alone.coefficients)


def test_a_criterion_that_takes_more_than_one_solve_gives_is_refused(tmp_path: Path) -> None:
    store = stored(tmp_path, KERNEL, 25)
    settings = Settings([1e-3, 1e-2], choose_by="loo", method="conjugate_gradients")
    for targets, each in ((TARGETS, replace(settings, block=False)), (with_gaps(), settings)):
        with pytest.raises(UserError, match="is to be chosen by loo, which takes a direct solve"):
            solve_system(store, (0, N), targets, each)
    unknown = Settings([1e-3, 1e-2], choose_by="guess")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="choose_by is 'guess', expected validation, loo, gcv or likelihood"):
        solve_system(store, (0, N), TARGETS, unknown)
