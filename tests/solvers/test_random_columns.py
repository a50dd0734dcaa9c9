"""Columns beside the right-hand sides: the same answer in fewer passes, to the same bits after a kill."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from solver_problems import digits_problem, stored

from neural_kernels.solvers import (
    CheckpointSettings,
    PreconditionerSettings,
    Settings,
    Solution,
    Stopping,
    checkpoint,
    solve_system,
)
from neural_kernels.solvers.block_conjugate_gradients import BlockState, block_conjugate_gradients
from neural_kernels.solvers.operator import DenseOperator, RidgeSystem
from neural_kernels.solvers.preconditioners import Identity
from neural_kernels.solvers.random_columns import STREAM_ROWS, gaussian_columns

N = 600
KERNEL, TARGETS = digits_problem(N)
RIDGE = 1e-4
SYSTEM = KERNEL + RIDGE * np.diag(KERNEL).mean() * np.eye(N)


@given(
    st.lists(st.integers(0, 3 * STREAM_ROWS), min_size=2, max_size=5), st.integers(0, 3), st.integers(0, 9)
)
def test_rows_are_the_same_however_they_are_shared_out(cuts: list[int], count: int, seed: int) -> None:
    first, *_, last = ordered = sorted(cuts)
    whole = gaussian_columns((0, 3 * STREAM_ROWS), count, seed)
    parts = [gaussian_columns(rows, count, seed) for rows in itertools.pairwise(ordered)]
    np.testing.assert_array_equal(np.vstack(parts), whole[first:last])


def solved_with(count: int, targets: np.ndarray = TARGETS, tolerance: float = 1e-9) -> BlockState:
    beside = (lambda: gaussian_columns((0, N), count, 0)) if count else None
    system = RidgeSystem(DenseOperator(KERNEL), RIDGE * np.diag(KERNEL).mean())
    return block_conjugate_gradients(system, targets, Identity(), Stopping(tolerance), beside=beside)


@pytest.mark.parametrize("targets", [TARGETS, TARGETS[:, :1]], ids=["ten", "one"])
def test_more_columns_take_fewer_passes_to_the_same_solution(targets: np.ndarray) -> None:
    exact = np.linalg.solve(SYSTEM, targets)
    iterations = []
    for count in (0, 10, 40, 160):
        state = solved_with(count, targets)
        assert set(state.stopped_by) == {"tolerance"}
        assert state.x.shape == targets.shape
        np.testing.assert_allclose(state.x, exact, rtol=0, atol=1e-6 * np.abs(exact).max())
        iterations.append(state.iteration)
    assert iterations == sorted(iterations, reverse=True)
    assert iterations[-1] < iterations[0] / 3


def test_more_columns_than_there_are_examples_end_at_once() -> None:
    state = solved_with(2 * N, tolerance=1e-6)
    assert set(state.stopped_by) == {"tolerance"}
    assert state.iteration <= 2


@pytest.fixture(scope="module")
def solve(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Solution]:
    store = stored(tmp_path_factory.mktemp("store"), KERNEL, 128)

    def run(count: int | None, directory: Path | None = None, targets: np.ndarray = TARGETS) -> Solution:
        settings = Settings(
            [RIDGE],
            method="conjugate_gradients",
            preconditioner=PreconditionerSettings("none"),
            random_columns=count,
            stopping=Stopping(1e-9),
            threads=1,
        )
        saved = None if directory is None else CheckpointSettings(directory, 0)
        return solve_system(store, (0, N), targets, settings, checkpoints=saved)

    return run


def test_labels_that_are_missing_for_all_stay_out(solve: Callable[..., Solution]) -> None:
    targets = TARGETS.copy()
    targets[::4] = np.nan
    known = np.arange(N) % 4 != 0
    found = solve(40, targets=targets)
    expected = np.linalg.solve(SYSTEM[np.ix_(known, known)], targets[known])
    np.testing.assert_allclose(
        found.coefficients[known], expected, rtol=0, atol=1e-6 * np.abs(expected).max()
    )
    assert not found.coefficients[~known].any()
    assert found.record.details["random_columns"] == 40


def test_labels_that_are_missing_here_and_there_have_no_shared_directions(
    solve: Callable[..., Solution],
) -> None:
    targets = TARGETS.copy()
    targets[::4, 0] = np.nan
    found = solve(40, targets=targets)
    assert found.record.solver == "conjugate_gradients"
    assert found.record.details["random_columns"] == 0


@pytest.mark.parametrize("killed_at", [1, 3, 6])
def test_a_killed_solve_resumes_to_the_same_bits(
    solve: Callable[..., Solution], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    undisturbed = solve(40)
    save, saved = checkpoint.Checkpoint.save, []

    def killed(self: checkpoint.Checkpoint, state: BlockState) -> None:
        save(self, state)
        saved.append(state.iteration)
        if len(saved) == killed_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.Checkpoint, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            solve(40, tmp_path)
    again = solve(40, tmp_path)
    assert again.record.details["resumed_at_iteration"] == killed_at
    np.testing.assert_array_equal(again.coefficients, undisturbed.coefficients)
