"""Every ridge from one space: what direct solves choose, in one set of passes, to the same bits after a kill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bit_flips import flip
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
    krylov_checkpoint,
    solve_system,
)
from neural_kernels.solvers.block_lanczos import KrylovSpace
from neural_kernels.solvers.definiteness import NotAKernel

N, VALIDATION = 500, 100
EVERYTHING, ALL_TARGETS = digits_problem(N + VALIDATION)
KERNEL, TARGETS = EVERYTHING[:N, :N], ALL_TARGETS[:N]
CROSS, VALIDATION_TARGETS = EVERYTHING[N:, :N], ALL_TARGETS[N:]
RIDGES = [1e-6, 1e-4, 1e-2, 1e-1, 1.0]
SETTINGS = Settings(RIDGES, method="conjugate_gradients", stopping=Stopping(1e-8), threads=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> KernelStore:
    return stored(tmp_path_factory.mktemp("store"), KERNEL, 128)


@pytest.fixture(scope="module")
def solve(store: KernelStore) -> Callable[..., Solution]:
    def run(
        directory: Path | None = None, targets: np.ndarray = TARGETS, seconds: float = 0, **changes: Any
    ) -> Solution:
        validation = Validation(lambda x: CROSS @ x, VALIDATION_TARGETS[:, : targets.shape[1]])
        saved = None if directory is None else CheckpointSettings(directory, seconds)
        return solve_system(
            store, (0, N), targets, replace(SETTINGS, **changes), validation, checkpoints=saved
        )

    return run


def tried(solution: Solution) -> dict[float, dict[str, Any]]:
    choice = solution.record.details["ridge_choice"]
    return {entry["ridge"]: entry for entry in choice["candidates"]}


@pytest.mark.parametrize("count", [0, 30, None])
def test_the_validation_set_chooses_what_it_chooses_of_direct_solves(
    solve: Callable[..., Solution], count: int | None
) -> None:
    direct, swept = solve(method="cholesky"), solve(random_columns=count)
    assert swept.record.solver == "block_lanczos"
    assert swept.record.converged
    assert swept.record.residual <= 1e-8
    assert swept.record.ridge == direct.record.ridge
    scale = np.abs(direct.coefficients).max()
    np.testing.assert_allclose(swept.coefficients, direct.coefficients, rtol=0, atol=1e-5 * scale)
    for ridge, entry in tried(swept).items():
        assert entry["loss"] == pytest.approx(tried(direct)[ridge]["loss"], rel=2e-3)
        assert entry["converged"]


def test_one_set_of_passes_serves_all(solve: Callable[..., Solution]) -> None:
    one_by_one = [
        solve(ridges=[ridge], preconditioner=PreconditionerSettings("none"), random_columns=0)
        for ridge in RIDGES
    ]
    swept = solve(random_columns=0)
    most = max(solution.record.iterations for solution in one_by_one)
    assert swept.record.details["passes"] <= most + 2 < sum(s.record.iterations for s in one_by_one)


@pytest.mark.parametrize("criterion", ["loo", "gcv", "likelihood"])
@pytest.mark.parametrize("known", [np.full(N, True), np.arange(N) % 5 > 0], ids=["whole", "gaps"])
def test_what_needs_no_validation_set_is_estimated_within_its_error(
    solve: Callable[..., Solution], criterion: str, known: np.ndarray
) -> None:
    targets = np.where(known[:, None], TARGETS, np.nan)
    direct, swept = (
        solve(targets=targets, choose_by=criterion, method=m) for m in ("cholesky", "conjugate_gradients")
    )
    assert swept.record.details["random_columns"] >= 40
    assert swept.record.converged
    for ridge, entry in tried(swept).items():
        assert abs(entry["loss"] - tried(direct)[ridge]["loss"]) <= entry["error"]
        assert tried(direct)[ridge]["error"] is None
    chosen = tried(direct)[swept.record.ridge]
    assert (
        chosen["loss"]
        <= tried(direct)[direct.record.ridge]["loss"] + tried(swept)[swept.record.ridge]["error"]
    )


@pytest.mark.parametrize("killed_at", [1, 4, 7])
@pytest.mark.parametrize("budget", [2**30, 2**20 + 6 * 2**19], ids=["memory", "disk"])
def test_a_killed_sweep_resumes_to_the_same_bits(
    solve: Callable[..., Solution],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed_at: int,
    budget: int,
) -> None:
    options: dict[str, Any] = {"choose_by": "loo", "random_columns": 40, "memory_budget": budget}
    undisturbed = solve(tmp_path / "undisturbed", **options)
    save, saved = krylov_checkpoint.KrylovCheckpoint.save, []

    def killed(self: krylov_checkpoint.KrylovCheckpoint, space: KrylovSpace, facts: dict[str, Any]) -> None:
        save(self, space, facts)
        saved.append(space.passes)
        if len(saved) == killed_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(krylov_checkpoint.KrylovCheckpoint, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            solve(tmp_path / "killed", **options)
    again = solve(tmp_path / "killed", **options)
    assert again.record.details["resumed_at_iteration"] == killed_at
    np.testing.assert_array_equal(again.coefficients, undisturbed.coefficients)
    assert [row[:4] for row in again.history] == [row[:4] for row in undisturbed.history]
    assert {r: e["loss"] for r, e in tried(again).items()} == {
        r: e["loss"] for r, e in tried(undisturbed).items()
    }


@pytest.mark.parametrize("which", ["krylov.json", "block2.0-1.npy", "projection*.npz"])
def test_a_damaged_checkpoint_is_set_aside_and_the_solve_starts_anew(
    solve: Callable[..., Solution], tmp_path: Path, which: str
) -> None:
    first = solve(tmp_path, random_columns=20)
    (path,) = tmp_path.glob(which)
    flip(path, 0.6, 2)
    again = solve(tmp_path, random_columns=20)
    np.testing.assert_array_equal(again.coefficients, first.coefficients)
    assert again.record.details["resumed_at_iteration"] is None
    assert list(tmp_path.glob(f"{which}.rejected"))


def test_a_matrix_that_is_no_kernel_ends_the_sweep(tmp_path: Path) -> None:
    values, vectors = np.linalg.eigh(KERNEL)
    values[-1] = -0.1 * values[-2]
    matrix = (vectors * values) @ vectors.T
    store = stored(tmp_path, (matrix + matrix.T) / 2, 128)
    validation = Validation(lambda x: CROSS @ x, VALIDATION_TARGETS)
    with pytest.raises(NotAKernel, match=r"with ridge 0\.0001 a Krylov space"):
        solve_system(store, (0, N), TARGETS, replace(SETTINGS, ridges=[1e-6, 1e-4]), validation)


def test_a_candidate_that_takes_far_longer_than_the_others_is_judged_as_it_stands(
    solve: Callable[..., Solution],
) -> None:
    ridges = [0.0, 10.0, 30.0, 100.0]
    swept = solve(ridges=ridges, random_columns=0, targets=TARGETS[:, :1], choose_by="validation")
    assert not tried(swept)[0.0]["converged"]
    assert tried(swept)[10.0]["converged"]
    assert swept.record.iterations < 60


def test_targets_of_zeros_are_solved_by_zeros(solve: Callable[..., Solution]) -> None:
    swept = solve(targets=np.zeros((N, 2)), random_columns=0)
    assert not swept.coefficients.any()
    assert swept.record.converged


def test_too_little_memory_is_one_sentence(solve: Callable[..., Solution]) -> None:
    with pytest.raises(UserError, match=r"raise solver\.memory_gib"):
        solve(memory_budget=2**17)
