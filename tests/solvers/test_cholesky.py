from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from solver_problems import digits_problem, with_spectrum

from neural_kernels.solvers.cholesky import solve_cholesky
from neural_kernels.solvers.definiteness import NotAKernel, NotPositiveDefinite

KERNEL, TARGETS = digits_problem(300)


@pytest.mark.parametrize("ridge", [1e-8, 1e-4, 1e-1])
def test_solves_and_restores_the_matrix(ridge: float) -> None:
    kernel = KERNEL.copy()
    solution = solve_cholesky(kernel, TARGETS, ridge)
    np.testing.assert_array_equal(kernel, KERNEL)
    system = KERNEL + ridge * np.diag(KERNEL).mean() * np.eye(300)
    np.testing.assert_allclose(solution.coefficients, np.linalg.solve(system, TARGETS), rtol=1e-9, atol=1e-12)
    residual = np.linalg.norm(TARGETS - system @ solution.coefficients, axis=0) / np.linalg.norm(
        TARGETS, axis=0
    )
    # Rounding decides the residual of a direct solve: only its size can agree.
    assert solution.record.residual < 1e-10
    assert residual.max() < 1e-10
    assert solution.record.stopped_by == "direct"
    assert solution.record.converged


def test_indefinite_matrix_names_the_minor() -> None:
    kernel = with_spectrum(np.linspace(-1, 3, 40))
    before = kernel.copy()
    with pytest.raises(
        NotAKernel, match=r"is no kernel: with ridge .* its leading minor of order \d+ is not positive"
    ):
        solve_cholesky(kernel, np.ones((40, 1)), 0.0)
    np.testing.assert_array_equal(kernel, before)


def test_singular_matrix_is_refused() -> None:
    x = np.random.default_rng(0).standard_normal((30, 4))
    with pytest.raises(NotPositiveDefinite, match=r"not positive definite|singular"):
        solve_cholesky(x @ x.T, np.ones((30, 2)), 0.0)


def test_duplicate_examples_without_a_ridge_are_refused() -> None:
    kernel = KERNEL[np.ix_([0, 1, 2, 1], [0, 1, 2, 1])].copy()
    with pytest.raises(NotPositiveDefinite):
        solve_cholesky(kernel, np.ones((4, 1)), 0.0)
    assert np.isfinite(solve_cholesky(kernel, np.ones((4, 1)), 1e-3).coefficients).all()


def test_missing_labels_leave_their_examples_out() -> None:
    targets = TARGETS[:, :4].copy()
    targets[::3, 0] = np.nan
    targets[::3, 1] = np.nan
    targets[5:200, 2] = np.nan
    targets[:, 3] = np.nan
    ridge = 1e-3
    solution = solve_cholesky(KERNEL.copy(), targets, ridge)
    shift = ridge * np.diag(KERNEL).mean()
    for task in range(4):
        known = ~np.isnan(targets[:, task])
        part = KERNEL[np.ix_(known, known)] + shift * np.eye(known.sum())
        np.testing.assert_allclose(
            solution.coefficients[known, task],
            np.linalg.solve(part, targets[known, task]),
            rtol=1e-9,
            atol=1e-12,
        )
        assert not solution.coefficients[~known, task].any()
    assert solution.record.residual < 1e-10
    assert solution.record.details["factorisations"] == 3


def ill_conditioned() -> tuple[np.ndarray, np.ndarray]:
    """A matrix of condition 1e14 and targets that its smallest eigenvectors matter for."""
    kernel = with_spectrum(np.logspace(0, -14, 120))
    return kernel, np.random.default_rng(0).standard_normal((120, 3))


def test_a_residual_above_the_tolerance_is_not_converged_and_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kernel, targets = ill_conditioned()
    record = solve_cholesky(kernel, targets, 0.0).record
    assert record.residual > 1e-5
    assert record.stopped_by == "direct"
    assert not record.converged
    assert "not to the tolerance, largest residual" in caplog.text
    assert solve_cholesky(kernel, targets, 0.0, tolerance=0.9).record.converged


def test_a_direct_solve_by_an_earlier_version_is_judged_as_well() -> None:
    kernel, targets = ill_conditioned()
    old = replace(solve_cholesky(kernel, targets, 0.0).record, tolerance=None)
    assert not old.converged
    assert replace(old, column_residuals=[1e-9] * 3).converged
