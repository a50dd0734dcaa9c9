from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solver_problems import digits_problem, stored, true_residuals, with_spectrum

from neural_kernels.solvers import PreconditionerSettings, Settings, Solution, Stopping, solve_system
from neural_kernels.solvers.block_conjugate_gradients import block_conjugate_gradients
from neural_kernels.solvers.communicator import SerialCommunicator
from neural_kernels.solvers.conjugate_gradients import conjugate_gradients
from neural_kernels.solvers.operator import DenseOperator, RidgeSystem
from neural_kernels.solvers.pivoted_cholesky import greedy
from neural_kernels.solvers.preconditioners import Identity, low_rank_family

KERNEL, TARGETS = digits_problem(500)


def run(
    matrix: np.ndarray,
    targets: np.ndarray,
    shift: float = 0.0,
    preconditioner: Any = None,
    method: Callable[..., Any] = block_conjugate_gradients,
    **stopping: Any,
) -> Any:
    system = RidgeSystem(DenseOperator(matrix), shift)
    return method(system, targets, preconditioner or Identity(), Stopping(**stopping))


@pytest.mark.parametrize("ridge", [1e-8, 1e-4, 1e-1])
@pytest.mark.parametrize("rank", [0, 60])
def test_agrees_with_cholesky_in_fewer_passes_than_column_by_column(ridge: float, rank: int) -> None:
    shift = ridge * np.diag(KERNEL).mean()
    preconditioner = None
    if rank:
        factor = greedy(DenseOperator(KERNEL), rank).rows
        preconditioner = low_rank_family(factor, None, 10, SerialCommunicator()).at(shift)
    system = KERNEL + shift * np.eye(500)
    state = run(KERNEL, TARGETS, shift, preconditioner, tolerance=1e-10)
    assert set(state.stopped_by) == {"tolerance"}
    np.testing.assert_allclose(state.residuals, true_residuals(system, state.x, TARGETS), rtol=1e-3)
    assert (state.residuals <= 1e-10).all()
    exact = np.linalg.solve(system, TARGETS)
    np.testing.assert_allclose(state.x, exact, rtol=0, atol=1e-6 * np.abs(exact).max())
    alone = run(KERNEL, TARGETS, shift, preconditioner, conjugate_gradients, tolerance=1e-10)
    assert state.iteration < 0.8 * alone.iteration


def test_one_column_is_plain_conjugate_gradients() -> None:
    block = run(KERNEL, TARGETS[:, :1], 1.0, tolerance=1e-10)
    plain = run(KERNEL, TARGETS[:, :1], 1.0, method=conjugate_gradients, tolerance=1e-10)
    assert block.iteration == plain.iteration
    np.testing.assert_allclose(block.x, plain.x, rtol=1e-9, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(1, 50), st.floats(0, 6), st.integers(0, 2**31))
def test_any_definite_system_is_solved(n: int, columns: int, decades: float, seed: int) -> None:
    """Also with more columns than rows."""
    matrix = with_spectrum(np.logspace(0, decades, n), seed)
    targets = np.random.default_rng(seed).standard_normal((n, columns))
    state = run(matrix, targets, tolerance=1e-6, max_iterations=2000)
    assert set(state.stopped_by) == {"tolerance"}
    assert (true_residuals(matrix, state.x, targets) <= 1.01e-6).all()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1e-9, 1.0, 1e9]), min_size=10, max_size=10), st.permutations(range(10)))
def test_dependent_columns_of_any_scale(scales: list[float], order: list[int]) -> None:
    """Every column also stands there once more, in another order and scaled; zero columns stay zero."""
    targets = np.hstack([TARGETS, TARGETS[:, order] * np.array(scales)])
    shift = 1e-3 * np.diag(KERNEL).mean()
    state = run(KERNEL, targets, shift, tolerance=1e-9)
    assert set(state.stopped_by) == {"tolerance"}
    system = KERNEL + shift * np.eye(500)
    solved = np.linalg.solve(system, targets)
    size = np.abs(solved).max(axis=0)
    assert (np.abs(state.x - solved) <= 1e-5 * size).all()


def test_nearly_dependent_columns() -> None:
    noise = np.random.default_rng(0).standard_normal(TARGETS.shape)
    targets = np.hstack([TARGETS + scale * noise for scale in (0.0, 1e-14, 1e-10, 1e-6)])
    state = run(KERNEL, targets, 1e-3, tolerance=1e-8)
    assert set(state.stopped_by) == {"tolerance"}
    assert (true_residuals(KERNEL + 1e-3 * np.eye(500), state.x, targets) <= 1.01e-8).all()


def test_a_first_guess_is_where_it_starts() -> None:
    state = run(KERNEL, TARGETS, 1.0, tolerance=1e-6)
    system = RidgeSystem(DenseOperator(KERNEL), 1.0)
    again = block_conjugate_gradients(system, TARGETS, Identity(), Stopping(tolerance=1e-5), start=state.x)
    assert again.iteration == 0
    assert not again.iterations.any()
    finer = block_conjugate_gradients(system, TARGETS, Identity(), Stopping(tolerance=1e-9), start=state.x)
    from_zero = run(KERNEL, TARGETS, 1.0, tolerance=1e-9)
    assert 0 < finer.iteration < from_zero.iteration
    np.testing.assert_allclose(finer.x, from_zero.x, rtol=1e-5, atol=1e-9)


def test_indefinite_matrix_is_reported_without_nan() -> None:
    matrix = with_spectrum(np.linspace(-0.5, 3, 60))
    state = run(matrix, np.random.default_rng(0).standard_normal((60, 3)), tolerance=1e-10)
    assert "indefinite" in state.stopped_by
    assert np.isfinite(state.x).all()
    assert np.isfinite(state.residuals).all()


def test_indefinite_preconditioner_is_reported() -> None:
    class Negative:
        def apply(self, vectors: np.ndarray, columns: Any) -> np.ndarray:
            return -vectors

    state = run(KERNEL, TARGETS, 1.0, Negative())
    assert set(state.stopped_by) == {"indefinite"}
    assert not state.x.any()


def test_a_product_that_is_not_finite_is_reported() -> None:
    class Broken(DenseOperator):
        def matmul(self, vectors: np.ndarray) -> np.ndarray:
            return np.full_like(vectors, np.nan)

    state = block_conjugate_gradients(
        RidgeSystem(Broken(KERNEL), 1.0), TARGETS, Identity(), Stopping(tolerance=1e-6)
    )
    assert set(state.stopped_by) == {"indefinite"}


def test_one_hopeless_column_leaves_the_others() -> None:
    """Column 0 lives where rounding forbids the tolerance, the others where it does not."""
    spectrum = np.r_[np.logspace(-13, 0, 40), np.linspace(1, 2, 40)]
    matrix = np.zeros((80, 80))
    matrix[:40, :40], matrix[40:, 40:] = with_spectrum(spectrum[:40]), with_spectrum(spectrum[40:])
    targets = np.zeros((80, 3))
    targets[:40, 0] = np.random.default_rng(0).standard_normal(40)
    targets[40:, 1:] = np.random.default_rng(1).standard_normal((40, 2))
    state = run(matrix, targets, tolerance=1e-13, max_iterations=20_000, residual_every=10)
    assert state.stopped_by == ["stagnation", "tolerance", "tolerance"]


def test_tasks_with_the_same_labels_share_directions_and_others_do_not(tmp_path: Path) -> None:
    store = stored(tmp_path / "store", KERNEL, 128)
    options: dict[str, Any] = {
        "method": "conjugate_gradients",
        "stopping": Stopping(tolerance=1e-9),
        "preconditioner": PreconditionerSettings("random", 40),
    }

    def solve(targets: np.ndarray, method: str, **more: Any) -> Solution:
        return solve_system(store, (0, 500), targets, Settings([1e-2], **options | {"method": method} | more))

    for missing, columns, solver in (
        (slice(0, 500, 7), slice(None), "block_conjugate_gradients"),
        (slice(0, 500, 7), slice(2, 3), "conjugate_gradients"),
        (slice(0, 0), slice(None), "block_conjugate_gradients"),
    ):
        targets = TARGETS.copy()
        targets[missing, columns] = np.nan
        exact = solve(targets, "cholesky")
        found = solve(targets, "conjugate_gradients")
        assert found.record.solver == solver
        assert found.record.converged
        scale = np.abs(exact.coefficients).max()
        np.testing.assert_allclose(found.coefficients, exact.coefficients, rtol=0, atol=1e-6 * scale)
        assert not found.coefficients[missing, columns].any()
        assert solve(targets, "conjugate_gradients", block=False).record.solver == "conjugate_gradients"
