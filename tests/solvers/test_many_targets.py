"""Two hundred right-hand sides in one solve: the same answer, within the memory budget."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from solver_problems import digits_problem, stored

from neural_kernels.blocks import KernelStore
from neural_kernels.errors import UserError
from neural_kernels.solvers import (
    CheckpointSettings,
    PreconditionerSettings,
    Settings,
    Solution,
    Stopping,
    Validation,
    cholesky,
    iterative,
    krylov_sweep,
    solve_system,
)
from neural_kernels.storage import checksums

N, CLASSES = 1000, 200
KERNEL, _ = digits_problem(N + 100)
LABELS = np.random.default_rng(0).integers(0, CLASSES, N + 100)
TARGETS = np.eye(CLASSES)[LABELS] - 1 / CLASSES
RIDGES = [0.1, 1.0]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KernelStore:
    monkeypatch.setattr(checksums, "STRIP_BYTES", 2**17)
    return stored(tmp_path / "store", KERNEL[:N, :N], 128)


@pytest.fixture
def validation() -> Validation:
    cross = KERNEL[N:, :N].copy()
    return Validation(lambda coefficients: cross @ coefficients, TARGETS[N:])


def solve(
    store: KernelStore,
    validation: Validation,
    method: str,
    budget: int,
    rank: int = 0,
    iterations: int = 1000,
    targets: np.ndarray = TARGETS,
    directory: Path | None = None,
) -> tuple[Solution, int]:
    """The solution, and the most bytes of arrays and objects that were there at a time."""
    settings = Settings(
        RIDGES,
        method=method,
        stopping=Stopping(tolerance=1e-6, max_iterations=iterations, residual_every=4),
        preconditioner=PreconditionerSettings("greedy" if rank else "none", rank),
        memory_budget=int(budget),
        threads=2,
    )
    targets = targets[:N].copy()
    tracemalloc.start()
    try:
        saved = None if directory is None else CheckpointSettings(directory, 3600)
        solution = solve_system(store, (0, N), targets, settings, validation, checkpoints=saved)
        return solution, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_direct_and_iterative_agree(store: KernelStore, validation: Validation) -> None:
    direct, _ = solve(store, validation, "cholesky", 2**30)
    iterated, _ = solve(store, validation, "conjugate_gradients", 2**30, rank=100)
    assert iterated.record.converged
    assert iterated.record.ridge == direct.record.ridge
    assert len(iterated.record.column_residuals) == CLASSES
    scale = np.abs(direct.coefficients).max()
    np.testing.assert_allclose(iterated.coefficients, direct.coefficients, atol=1e-3 * scale)


@pytest.mark.parametrize("rank", [0, 100])
def test_the_iteration_keeps_to_its_budget(
    store: KernelStore, validation: Validation, rank: int, tmp_path: Path
) -> None:
    # Conjugate gradients multiply directions and solutions at a time, a space only the one.
    budget = (
        iterative.working_bytes(N, CLASSES, rank) + 11 * 2**20
        if rank
        else krylov_sweep.working_bytes(N, CLASSES, len(RIDGES), 0) + 7 * 2**20
    )
    solution, peak = solve(
        store, validation, "conjugate_gradients", budget, rank, iterations=9, directory=tmp_path
    )
    assert solution.record.solver == ("block_conjugate_gradients" if rank else "block_lanczos")
    # The budget is tight: the whole matrix, of 4.3 MiB, does not fit beside the products.
    assert solution.record.details["streamed_bytes"] > 0
    assert solution.record.details["resident_bytes"] > 0
    assert budget / 2 < peak <= budget


def test_a_direct_solve_keeps_to_its_budget(store: KernelStore, validation: Validation) -> None:
    budget = cholesky.working_bytes(N, CLASSES)
    _, peak = solve(store, validation, "cholesky", budget)
    assert budget / 2 < peak <= budget
    with pytest.raises(UserError, match=r"a direct solve of n = 1000 takes"):
        solve(store, validation, "cholesky", budget - 1)


def test_tasks_with_labels_missing_each_in_its_own_way(store: KernelStore, validation: Validation) -> None:
    """Of 128 tasks one has no label at all and one a single label; the others lack half, or nearly all."""
    random = np.random.default_rng(1)
    shares = np.where(np.arange(128) % 2, 0.5, 0.97)
    targets = np.where(random.random((N, 128)) < shares, np.nan, TARGETS[:N, :128])
    targets[:, 7] = np.nan
    targets[:, 8] = np.where(np.arange(N) == 3, 1.0, np.nan)
    few = Validation(validation.predict, TARGETS[N:, :128])
    budget = iterative.working_bytes(N, 128, 100, masks=128) + 11 * 2**20
    iterated, peak = solve(store, few, "conjugate_gradients", budget, rank=100, targets=targets)
    assert peak <= budget
    assert iterated.record.converged
    assert iterated.record.ridge in RIDGES
    scale = np.abs(iterated.coefficients).max()
    shift = iterated.record.shift
    for task in range(128):
        known = ~np.isnan(targets[:, task])
        expected = np.zeros(N)
        matrix = KERNEL[:N, :N][np.ix_(known, known)] + shift * np.eye(known.sum())
        expected[known] = np.linalg.solve(matrix, targets[known, task])
        np.testing.assert_allclose(iterated.coefficients[:, task], expected, atol=1e-4 * scale)
    assert not iterated.coefficients[:, 7].any()


def test_the_triangles_of_many_masks_are_part_of_the_budget(
    store: KernelStore, validation: Validation
) -> None:
    targets = np.where(np.random.default_rng(1).random((N, 128)) < 0.5, np.nan, TARGETS[:N, :128])
    few = Validation(validation.predict, TARGETS[N:, :128])
    with pytest.raises(UserError, match="the vectors and the preconditioner of n = 1000 alone take"):
        solve(store, few, "conjugate_gradients", iterative.working_bytes(N, 128, 300), 300, targets=targets)
