from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solver_problems import digits_problem, true_residuals, with_spectrum

from neural_kernels.solvers.block_conjugate_gradients import block_conjugate_gradients
from neural_kernels.solvers.communicator import SerialCommunicator
from neural_kernels.solvers.conjugate_gradients import conjugate_gradients
from neural_kernels.solvers.iteration import Stopping
from neural_kernels.solvers.operator import DenseOperator, RidgeSystem
from neural_kernels.solvers.pivoted_cholesky import greedy
from neural_kernels.solvers.preconditioners import Identity, low_rank_family

KERNEL, TARGETS = digits_problem(500)


either = pytest.mark.parametrize("method", [conjugate_gradients, block_conjugate_gradients])


def run(
    matrix: np.ndarray,
    targets: np.ndarray,
    shift: float = 0.0,
    preconditioner: Any = None,
    method: Callable[..., Any] = conjugate_gradients,
    **stopping: Any,
) -> Any:
    system = RidgeSystem(DenseOperator(matrix), shift)
    return method(system, targets, preconditioner or Identity(), Stopping(**stopping))


def test_reports_true_residuals_column_by_column() -> None:
    shift = 1e-2 * np.diag(KERNEL).mean()
    state = run(KERNEL, TARGETS, shift, tolerance=1e-7)
    system = KERNEL + shift * np.eye(500)
    np.testing.assert_allclose(state.residuals, true_residuals(system, state.x, TARGETS), rtol=1e-6)
    assert (state.residuals <= 1e-7).all()
    assert set(state.stopped_by) == {"tolerance"}
    assert len(set(state.iterations.tolist())) > 1, "columns stop each at its own time"
    np.testing.assert_allclose(state.x, np.linalg.solve(system, TARGETS), rtol=1e-4, atol=1e-6)


def test_columns_do_not_influence_each_other() -> None:
    shift = 1e-3 * np.diag(KERNEL).mean()
    together = run(KERNEL, TARGETS, shift, tolerance=1e-8, residual_every=10**6)
    for column in (0, 7):
        alone = run(KERNEL, TARGETS[:, [column]], shift, tolerance=1e-8, residual_every=10**6)
        assert abs(int(alone.iterations[0]) - int(together.iterations[column])) <= 1
        np.testing.assert_allclose(alone.x[:, 0], together.x[:, column], rtol=1e-5, atol=1e-8)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 40), st.integers(1, 4), st.floats(0, 6), st.integers(0, 2**31))
def test_any_definite_system_is_solved(n: int, columns: int, decades: float, seed: int) -> None:
    matrix = with_spectrum(np.logspace(0, decades, n), seed)
    targets = np.random.default_rng(seed).standard_normal((n, columns))
    state = run(matrix, targets, tolerance=1e-6, max_iterations=2000)
    assert set(state.stopped_by) == {"tolerance"}
    assert (true_residuals(matrix, state.x, targets) <= 1.01e-6).all()


def test_zero_and_solved_columns_need_no_iterations() -> None:
    targets = TARGETS.copy()
    targets[:, 3] = 0.0
    state = run(KERNEL, targets, 1.0, tolerance=1e-6)
    assert state.iterations[3] == 0
    assert not state.x[:, 3].any()
    assert state.stopped_by[3] == "tolerance"
    again = conjugate_gradients(
        RidgeSystem(DenseOperator(KERNEL), 1.0), targets, Identity(), Stopping(tolerance=1e-5), start=state.x
    )
    assert not again.iterations.any()


def test_indefinite_matrix_is_reported_without_nan() -> None:
    matrix = with_spectrum(np.linspace(-0.5, 3, 60))
    state = run(matrix, np.random.default_rng(0).standard_normal((60, 3)), tolerance=1e-10)
    assert set(state.stopped_by) == {"indefinite"}
    assert np.isfinite(state.x).all()
    assert np.isfinite(state.residuals).all()


def test_one_indefinite_column_leaves_the_others() -> None:
    # Column 0 lives where the matrix is positive definite, column 1 where it is not.
    matrix = np.diag(np.r_[np.linspace(1, 2, 10), -np.ones(10)])
    targets = np.zeros((20, 2))
    targets[:10, 0], targets[10:, 1] = 1.0, 1.0
    state = run(matrix, targets, tolerance=1e-10)
    assert state.stopped_by == ["tolerance", "indefinite"]
    np.testing.assert_allclose(state.x[:10, 0], 1 / np.linspace(1, 2, 10))


@either
def test_out_of_iterations_is_reported(method: Callable[..., Any]) -> None:
    state = run(KERNEL, TARGETS, 1e-6, method=method, tolerance=1e-12, max_iterations=5)
    assert set(state.stopped_by) == {"max_iterations"}
    assert (state.iterations == 5).all()
    system = KERNEL + 1e-6 * np.eye(500)
    np.testing.assert_allclose(state.residuals, true_residuals(system, state.x, TARGETS), rtol=1e-8)


@either
@pytest.mark.parametrize("decades", [8, 13])
def test_stagnation_is_detected_where_rounding_forbids_the_tolerance(
    decades: int, method: Callable[..., Any]
) -> None:
    matrix = with_spectrum(np.logspace(-decades, 0, 80))
    targets = np.random.default_rng(1).standard_normal((80, 2))
    state = run(matrix, targets, method=method, tolerance=1e-13, max_iterations=20_000, residual_every=10)
    assert set(state.stopped_by) == {"stagnation"}
    assert state.iteration < 20_000
    np.testing.assert_allclose(state.residuals, true_residuals(matrix, state.x, targets), rtol=0.5)


@pytest.mark.parametrize("ridge", [1e-8, 1e-4, 1e-1])
def test_preconditioner_saves_iterations(ridge: float) -> None:
    # Images that repeat almost: a spectrum that falls steeply, as with augmented data.
    x = np.random.default_rng(0).standard_normal((500, 6))
    kernel = np.exp(-0.05 * ((x[:, None] - x[None]) ** 2).sum(-1))
    shift = ridge * np.diag(kernel).mean()
    communicator = SerialCommunicator()
    factor = greedy(DenseOperator(kernel), 300).rows
    preconditioner = low_rank_family(factor, None, 10, communicator).at(shift)
    plain = run(kernel, TARGETS, shift, tolerance=1e-4, max_iterations=1000)
    state = run(kernel, TARGETS, shift, preconditioner, tolerance=1e-4, max_iterations=1000)
    assert set(state.stopped_by) == {"tolerance"}
    assert state.iteration < 0.5 * plain.iteration


@either
def test_history_has_every_iteration_of_every_column(method: Callable[..., Any]) -> None:
    state = run(KERNEL, TARGETS, 1e-3, method=method, tolerance=1e-8, residual_every=10)
    for column in range(10):
        rows = [row for row in state.history if row[1] == column]
        steps = [iteration for iteration, _, _, recomputed, _ in rows if not recomputed]
        assert steps == list(range(1, int(state.iterations[column]) + 1))
        looks = [iteration for iteration, _, _, recomputed, _ in rows if recomputed]
        periodic = list(range(0, int(state.iterations[column]) + 1, 10))
        assert set(periodic) <= set(looks)
        assert looks[-1] == state.iterations[column]
        assert rows[-1][2] == state.residuals[column]


@either
def test_looking_at_true_residuals_costs_no_pass(method: Callable[..., Any]) -> None:
    class Counting(DenseOperator):
        passes = 0

        def matmul(self, vectors: np.ndarray) -> np.ndarray:
            Counting.passes += 1
            return super().matmul(vectors)

    system = RidgeSystem(Counting(KERNEL), 1.0)
    state = method(system, TARGETS, Identity(), Stopping(tolerance=1e-6, residual_every=5))
    assert set(state.stopped_by) == {"tolerance"}
    assert Counting.passes == state.iteration + 1
