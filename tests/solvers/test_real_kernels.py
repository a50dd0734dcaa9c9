"""Every solver against dense Cholesky on kernels of the paper's architectures, computed by an engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from solver_problems import stored

from neural_kernels import architectures, engines
from neural_kernels.blocks import KernelStore
from neural_kernels.solvers import PreconditionerSettings, Settings, Stopping, solve_system

N = 160


@pytest.fixture(scope="module", params=["FC3", "CV8", "Myrtle5"])
def problem(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[KernelStore, np.ndarray]:
    pixels, labels = load_digits(return_X_y=True)
    x = pixels[:N].reshape(N, 8, 8, 1) / 8.0 - 1.0
    kernel = engines.kernel_matrix(architectures.build(request.param), x)
    return stored(tmp_path_factory.mktemp(request.param), kernel, 64), np.eye(10)[labels[:N]] - 0.1


@pytest.mark.parametrize("ridge", [1e-8, 1e-5, 1e-3, 1e-1])
@pytest.mark.parametrize(("method", "rank"), [("none", 0), ("greedy", 40), ("random", 40), ("random", N)])
@pytest.mark.parametrize("block", [True, False])
def test_iterative_agrees_with_cholesky(
    problem: tuple[KernelStore, np.ndarray], ridge: float, method: str, rank: int, block: bool
) -> None:
    store, targets = problem
    options: dict[str, Any] = {
        "stopping": Stopping(tolerance=1e-9, max_iterations=5000),
        "threads": 1,
        "block": block,
    }
    direct = solve_system(store, (0, N), targets, Settings([ridge], method="cholesky"))
    preconditioner = PreconditionerSettings(method, rank)
    found = solve_system(
        store,
        (0, N),
        targets,
        Settings([ridge], method="conjugate_gradients", preconditioner=preconditioner, **options),
    )
    assert direct.record.residual < 1e-10
    assert found.record.converged
    assert found.record.residual <= 1e-9
    scale = np.abs(direct.coefficients).max()
    np.testing.assert_allclose(found.coefficients, direct.coefficients, rtol=0, atol=1e-5 * scale)
