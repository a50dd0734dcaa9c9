from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from solver_problems import digits_problem, stored

from neural_kernels import solvers
from neural_kernels.blocks import KernelStore
from neural_kernels.errors import UserError
from neural_kernels.solvers import Settings, Stopping, Validation, solve_system
from neural_kernels.solvers.settings import PreconditionerSettings

KERNEL, TARGETS = digits_problem(700)
WINDOW = (100, 500)


@pytest.fixture
def store(tmp_path: Path) -> KernelStore:
    return stored(tmp_path / "store", KERNEL, 128)


def settings(
    ridges: list[float],
    method: str = "conjugate_gradients",
    preconditioner: str = "random",
    rank: int = 60,
    **options: Any,
) -> Settings:
    options.setdefault("stopping", Stopping(tolerance=1e-9))
    return Settings(
        ridges,
        method=method,
        preconditioner=PreconditionerSettings(preconditioner, rank),
        threads=2,
        **options,
    )


def own(targets: np.ndarray = TARGETS) -> np.ndarray:
    return targets[slice(*WINDOW)]


@pytest.mark.parametrize("ridge", [1e-8, 1e-5, 1e-3, 1e-1])
@pytest.mark.parametrize("preconditioner", ["none", "greedy", "random"])
@pytest.mark.parametrize("block", [True, False])
def test_iterative_and_direct_agree(
    store: KernelStore, ridge: float, preconditioner: str, block: bool
) -> None:
    direct = solve_system(store, WINDOW, own(), settings([ridge], "cholesky"))
    iterative = solve_system(
        store, WINDOW, own(), settings([ridge], preconditioner=preconditioner, block=block)
    )
    assert iterative.record.converged
    assert iterative.record.residual <= 1e-9
    scale = np.abs(direct.coefficients).max()
    np.testing.assert_allclose(iterative.coefficients, direct.coefficients, atol=1e-6 * scale)
    assert iterative.record.shift == pytest.approx(direct.record.shift)
    assert iterative.record.details["preconditioner"] == preconditioner


def test_size_decides_the_method(store: KernelStore) -> None:
    assert solve_system(store, WINDOW, own(), Settings([0.1], direct_up_to=400)).record.solver == "cholesky"
    found = solve_system(store, WINDOW, own(), Settings([0.1], direct_up_to=399))
    assert found.record.solver == "block_conjugate_gradients"


@pytest.mark.parametrize("method", ["cholesky", "conjugate_gradients"])
def test_ridge_is_chosen_on_validation_data(store: KernelStore, method: str) -> None:
    cross = KERNEL[500:700, slice(*WINDOW)]
    validation = Validation(lambda x: cross @ x, TARGETS[500:700])
    ridges = [1e-3, 1.0, 30.0]
    solution = solve_system(store, WINDOW, own(), settings(ridges, method), validation)
    matrix = KERNEL[slice(*WINDOW), slice(*WINDOW)]
    losses = {}
    for ridge in ridges:
        x = np.linalg.solve(matrix + ridge * np.diag(matrix).mean() * np.eye(400), own())
        losses[ridge] = np.mean((cross @ x - TARGETS[500:700]) ** 2)
    assert solution.record.ridge == min(losses, key=lambda ridge: losses[ridge])
    assert solution.record.validation_loss == pytest.approx(min(losses.values()), rel=1e-5)


@pytest.mark.parametrize("preconditioner", ["none", "greedy", "random"])
def test_missing_labels_in_one_pass_for_all_tasks(store: KernelStore, preconditioner: str) -> None:
    targets = own().copy()
    rng = np.random.default_rng(0)
    targets[rng.random(targets.shape) < 0.5] = np.nan
    targets[:, 4] = np.nan
    targets[:, 6] = np.where(np.isnan(targets[:, 5]), np.nan, targets[:, 6])
    ridge = [1e-4]
    iterative = solve_system(store, WINDOW, targets, settings(ridge, preconditioner=preconditioner))
    direct = solve_system(store, WINDOW, targets, settings(ridge, "cholesky"))
    assert iterative.record.converged
    scale = np.abs(direct.coefficients).max()
    np.testing.assert_allclose(iterative.coefficients, direct.coefficients, atol=1e-6 * scale)
    assert not iterative.coefficients[np.isnan(targets)].any()
    assert not iterative.coefficients[:, 4].any()


def test_masked_preconditioner_saves_iterations(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((400, 5))
    kernel = np.exp(-0.05 * ((x[:, None] - x[None]) ** 2).sum(-1))
    store = stored(tmp_path / "smooth", kernel, 128)
    targets = np.where(np.random.default_rng(1).random((400, 3)) < 0.5, np.nan, x[:, :3])
    runs = {
        method: solve_system(
            store,
            (0, 400),
            targets,
            settings([1e-4], preconditioner=method, rank=150, stopping=Stopping(1e-6)),
        ).record
        for method in ("none", "random")
    }
    assert runs["random"].converged
    assert runs["random"].iterations < 0.2 * runs["none"].iterations


@pytest.mark.parametrize("method", ["cholesky", "conjugate_gradients"])
def test_indefinite_kernel_is_one_clear_sentence(tmp_path: Path, method: str) -> None:
    eigenvalues, vectors = np.linalg.eigh(KERNEL[:200, :200])
    eigenvalues[::2] *= -1
    indefinite = (vectors * eigenvalues) @ vectors.T + 50 * np.eye(200)
    store = stored(tmp_path / "indefinite", (indefinite + indefinite.T) / 2, 64)
    with pytest.raises(UserError, match=r"the matrix of 200 examples is no kernel: with ridge 0\.001 "):
        solve_system(store, (0, 200), TARGETS[:200], settings([1e-3], method, "none"))


def test_not_converged_says_so(store: KernelStore, caplog: pytest.LogCaptureFixture) -> None:
    stopping = Stopping(tolerance=1e-12, max_iterations=3)
    record = solve_system(store, WINDOW, own(), settings([1e-6], stopping=stopping)).record
    assert not record.converged
    assert record.stopped_by == "max_iterations"
    assert "not converged" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ridges": []}, "expected at least one"),
        ({"ridges": [-1.0]}, "not negative"),
        ({"ridges": [0.1, 1.0]}, "no validation data"),
        ({"memory_budget": 2**20, "method": "cholesky"}, "a direct solve of n = 400 takes"),
        ({"memory_budget": 2**17}, "the vectors and the preconditioner of n = 400 alone take"),
        ({"method": "cg"}, "method is 'cg'"),
        ({"preconditioner": PreconditionerSettings("lu", 3)}, "preconditioner is 'lu'"),
    ],
)
def test_mistakes_are_one_sentence(store: KernelStore, change: dict[str, Any], message: str) -> None:
    values = {"ridges": [0.1], "method": "conjugate_gradients"} | change
    with pytest.raises(UserError, match=message):
        solve_system(store, WINDOW, own(), Settings(**values))


def test_targets_are_checked(store: KernelStore) -> None:
    with pytest.raises(UserError, match=r"expected float64 of \(400, outputs\)"):
        solve_system(store, WINDOW, TARGETS, settings([0.1]))
    targets = own().copy()
    targets[3, 2] = np.inf
    with pytest.raises(UserError, match="1 targets are infinite"):
        solve_system(store, WINDOW, targets, settings([0.1]))


def test_everything_documented_is_exported() -> None:
    assert all(hasattr(solvers, name) for name in solvers.__all__)
