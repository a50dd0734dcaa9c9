"""Panels kept in float32: the answer is that of the float64 matrix, twice as much fits, what cannot be is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from file_faults import Killed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solver_problems import digits_problem, stored, true_residuals, with_spectrum

from neural_kernels.blocks import KernelStore
from neural_kernels.errors import UserError
from neural_kernels.solvers import (
    CheckpointSettings,
    PreconditionerSettings,
    Settings,
    Solution,
    Stopping,
    rounding,
    solve_system,
)
from neural_kernels.solvers import block_conjugate_gradients as steps
from neural_kernels.solvers.iterative import working_bytes
from neural_kernels.solvers.store_operator import StoreOperator

N = 600
KERNEL, TARGETS = digits_problem(N)
EDGE = 64
MEAN = float(np.diag(KERNEL).mean())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> KernelStore:
    return stored(tmp_path_factory.mktemp("store"), KERNEL, EDGE)


def budget(store: KernelStore, share: float, columns: int = 10, rank: int = 0, beside: int = 0) -> int:
    """Bytes that leave so much of the float64 matrix in memory."""
    n = store.grid.rows
    operator = StoreOperator(store, threads=1)
    in_flight = operator.streaming_bytes(2 * columns + beside)
    return working_bytes(n, columns, rank, beside=beside) + in_flight + int(share * operator.resident_bytes)


def solve(
    store: KernelStore,
    targets: np.ndarray = TARGETS,
    ridge: float = 1e-3,
    share: float = 0.4,
    panels: str = "auto",
    tolerance: float = 1e-8,
    rank: int = 0,
    beside: int = 0,
    checkpoints: Path | None = None,
    **changed: Any,
) -> Solution:
    asked = Settings(
        [ridge],
        method="conjugate_gradients",
        preconditioner=PreconditionerSettings("random" if rank else "none", rank),
        random_columns=beside,
        stopping=Stopping(tolerance, max_iterations=5000, residual_every=20),
        memory_budget=budget(store, share, targets.shape[1], rank, beside),
        panels=panels,
        threads=1,
    )
    return solve_system(
        store,
        (0, len(targets)),
        targets,
        replace(asked, **changed),
        checkpoints=None if checkpoints is None else CheckpointSettings(checkpoints, 0.0),
    )


def panels_of(solution: Solution) -> Any:
    return solution.record.details["panels"]


@pytest.mark.parametrize("rank", [0, 50])
@pytest.mark.parametrize("beside", [0, 16])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_the_answer_is_that_of_the_float64_matrix(
    store: KernelStore, share: float, rank: int, beside: int
) -> None:
    found = solve(store, share=share, panels="float32", rank=rank, beside=beside)
    shift = 1e-3 * MEAN
    system = KERNEL + shift * np.eye(N)
    assert panels_of(found)["precision"] == "float32"
    assert found.record.converged
    assert (true_residuals(system, found.coefficients, TARGETS) <= 1e-8).all()
    np.testing.assert_allclose(
        found.record.column_residuals, true_residuals(system, found.coefficients, TARGETS), rtol=1e-4
    )
    exact = np.linalg.solve(system, TARGETS)
    assert np.linalg.norm(found.coefficients - exact) <= 1e-8 * np.linalg.norm(TARGETS) / shift


def test_labels_that_are_missing_for_every_task_are_left_out(store: KernelStore) -> None:
    targets = TARGETS.copy()
    targets[::3] = np.nan
    known = ~np.isnan(targets[:, 0])
    found = solve(store, targets, panels="float32")
    exact = np.linalg.solve(KERNEL[np.ix_(known, known)] + 1e-3 * MEAN * np.eye(known.sum()), targets[known])
    np.testing.assert_allclose(found.coefficients[known], exact, rtol=0, atol=1e-6 * np.abs(exact).max())
    assert not found.coefficients[~known].any()


def test_one_right_hand_side_has_rounded_panels_too(store: KernelStore) -> None:
    found = solve(store, TARGETS[:, :1], panels="float32")
    assert found.record.solver == "block_conjugate_gradients"
    assert (
        true_residuals(KERNEL + 1e-3 * MEAN * np.eye(N), found.coefficients, TARGETS[:, :1]) <= 1e-8
    ).all()


def test_twice_as_many_panels_fit_and_the_record_says_why(store: KernelStore) -> None:
    rounded, exact = solve(store, tolerance=1e-6), solve(store, panels="float64", tolerance=1e-6)
    assert panels_of(rounded)["precision"] == "float32"
    assert panels_of(rounded)["reason"].startswith("float32 panels: the norm of float32's rounding is ")
    assert panels_of(exact)["reason"] == "float64 panels as the config has them"
    of_rounded, of_exact = (found.record.details for found in (rounded, exact))
    # Their bytes are as many, within a panel.
    assert of_rounded["resident_bytes"] == pytest.approx(of_exact["resident_bytes"], rel=0.05)
    total = of_exact["resident_bytes"] + of_exact["streamed_bytes"]
    left_out = {"rounded": of_rounded["streamed_bytes"], "exact": of_exact["streamed_bytes"]}
    assert total - left_out["rounded"] >= 1.9 * (total - left_out["exact"])
    assert 0.9 < rounded.record.iterations / exact.record.iterations < 1.2


def test_steps_read_nothing_once_all_is_in_memory(
    store: KernelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the float64 matrix's bytes hold all of it: only looks at true residuals read the store."""
    read: list[int] = []
    panel = StoreOperator._read

    def counted(operator: StoreOperator, *arguments: Any) -> np.ndarray:
        read.append(1)
        return panel(operator, *arguments)

    monkeypatch.setattr(StoreOperator, "_read", counted)
    found = solve(store, share=0.6)
    assert found.record.details["streamed_bytes"] == 0
    assert found.record.iterations > 20
    panels = len(StoreOperator(store, threads=1)._panels)
    # The rounding's norm, the diagonal, what stays, and the looks.
    looks = len({row[0] for row in found.history if row[3] and row[0] > 0})
    assert len(read) <= panels * (rounding.STEPS + 2 + looks + 1)


def test_bits_do_not_depend_on_what_is_in_memory(store: KernelStore) -> None:
    found = [solve(store, share=share, panels="float32") for share in (0.0, 0.3, 1.0)]
    for other in found[1:]:
        np.testing.assert_array_equal(other.coefficients, found[0].coefficients)
    operator = StoreOperator(store, threads=1)
    exact, rounding_ = operator.matmul(TARGETS), operator.matmul_rounding(TARGETS)
    operator.place(budget(store, 0.3), 20, rounded=True)
    np.testing.assert_array_equal(operator.matmul(TARGETS), exact)
    np.testing.assert_array_equal(operator.diagonal(), np.diag(KERNEL))
    np.testing.assert_allclose(
        operator.matmul_rounded(TARGETS), KERNEL.astype(np.float32).astype(float) @ TARGETS, rtol=1e-11
    )
    np.testing.assert_allclose(
        rounding_, (KERNEL - KERNEL.astype(np.float32)) @ TARGETS, rtol=1e-6, atol=1e-12
    )


def test_a_ridge_below_ten_times_the_rounding_is_refused_or_left_in_float64(store: KernelStore) -> None:
    norm = float(np.linalg.norm(KERNEL - KERNEL.astype(np.float32), 2)) / MEAN
    with pytest.raises(UserError, match=r"solver\.panels is float32, but the ridge is .*expected a ridge of"):
        solve(store, ridge=norm, panels="float32")
    found = solve(store, ridge=norm)
    assert panels_of(found)["precision"] == "float64"
    assert "more than a tenth of the ridge" in panels_of(found)["reason"]
    assert panels_of(solve(store, ridge=10 * norm))["precision"] == "float32"


def test_what_needs_no_rounding_has_none(store: KernelStore, tmp_path: Path) -> None:
    assert panels_of(solve(store, share=2.0))["reason"] == "float64 panels: all of them are in memory"
    assert (
        panels_of(solve(store, share=0.1))["reason"] == "float64 panels: memory has no room for 25% of them"
    )
    single = stored(tmp_path, KERNEL, EDGE, "float32")
    for panels in ("auto", "float32"):
        found = solve(single, panels=panels)
        assert panels_of(found) == {
            "precision": "float64",
            "rounding": None,
            "reason": "panels as they are stored, in float32",
        }
        np.testing.assert_array_equal(found.coefficients, solve(single, panels="float64").coefficients)


def test_directions_that_are_not_shared_have_no_rounded_panels(store: KernelStore) -> None:
    assert panels_of(solve(store, block=False))["precision"] == "float64"
    with pytest.raises(UserError, match=r"solver\.panels is float32, but right-hand sides"):
        solve(store, block=False, panels="float32")
    with pytest.raises(UserError, match=r"solver\.panels is float32, but one Krylov space"):
        solve(store, method="block_lanczos", panels="float32")


@pytest.mark.parametrize("survived", [1, 15, 25, 40])
def test_a_resume_gives_the_same_bits_whatever_memory_there_is(
    store: KernelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    whole, done, step = solve(store), 0, steps._step

    def dying(*arguments: Any) -> None:
        nonlocal done
        done += 1
        if done > survived:
            raise Killed
        step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(steps, "_step", dying)
        with pytest.raises(Killed):
            solve(store, checkpoints=tmp_path)
    # So much that nothing would be rounded now.
    again = solve(store, share=2.0, checkpoints=tmp_path)
    assert again.record.details["resumed_at_iteration"] == survived
    assert panels_of(again) == panels_of(whole)
    np.testing.assert_array_equal(again.coefficients, whole.coefficients)


def test_a_decision_that_cannot_be_read_is_made_again(store: KernelStore, tmp_path: Path) -> None:
    first = solve(store, checkpoints=tmp_path)
    (tmp_path / rounding.FILE).write_text("{")
    again = solve(store, checkpoints=tmp_path)
    assert again.record.details["resumed_at_iteration"] == first.record.iterations
    assert panels_of(again) == panels_of(first)
    np.testing.assert_array_equal(again.coefficients, first.coefficients)


@pytest.mark.parametrize("decades", [0.0, 2.0, 6.0])
def test_the_norm_of_the_rounding_is_measured(tmp_path: Path, decades: float) -> None:
    matrix = with_spectrum(np.logspace(0, decades, 300))
    norm = float(np.linalg.norm(matrix - matrix.astype(np.float32), 2))
    found = rounding.rounding_norm(StoreOperator(stored(tmp_path, matrix, 128), threads=1))
    assert 0.4 * norm <= found <= 1.001 * norm


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=st.integers(40, 120),
    columns=st.integers(1, 12),
    decades=st.floats(0, 4),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_any_kernel_is_solved_to_the_tolerance(
    tmp_path_factory: pytest.TempPathFactory, n: int, columns: int, decades: float, share: float, seed: int
) -> None:
    matrix = with_spectrum(np.logspace(-decades, 0, n), seed)
    targets = np.random.default_rng(seed).standard_normal((n, columns))
    store = stored(tmp_path_factory.mktemp("store"), matrix, 32)
    mean = float(np.diag(matrix).mean())
    norm = float(np.linalg.norm(matrix - matrix.astype(np.float32), 2))
    ridge = 10 * norm / mean
    found = solve(store, targets, ridge, share, "float32", 1e-9)
    residuals = true_residuals(matrix + ridge * mean * np.eye(n), found.coefficients, targets)
    assert found.record.converged
    assert (residuals <= 1.01e-9).all()
