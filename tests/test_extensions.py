"""The recipes of CONTRIBUTING.md, followed at run time: a toy activation, data set, solver and preconditioner.

What is registered by a class of this file stays so, and hurts nobody; the rest is taken back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pytest
from pydantic import Field

from neural_kernels import architectures as arch
from neural_kernels import blocks, datasets, engines, solvers
from neural_kernels.blocks.computation import compute_block
from neural_kernels.datasets.options import DataOptions
from neural_kernels.datasets.pools import Dataset, in_memory
from neural_kernels.engines import jax_engine
from neural_kernels.errors import UserError
from neural_kernels.solvers import pivots, registry
from neural_kernels.solvers.approximations.registry import APPROXIMATIONS
from neural_kernels.solvers.pivoted_cholesky import greedy
from neural_kernels.solvers.settings import AUTO, NO_PRECONDITIONER
from neural_kernels.solvers.solution import Record, Solution
from neural_kernels.solvers.system import Opened, Solver, System
from neural_kernels.study import approximation_settings
from neural_kernels.study.sections import Sections
from neural_kernels.study.solver_settings import Preconditioner

ROOT = Path(__file__).parents[1]


class Options(DataOptions):
    """The keys of the toy data set: those that all have."""

    name: Literal["toy"] = Field("toy", description="The data set toy.")


OPTIONS = Options(validation_examples=20, train_examples=60)


# ------------------------------------------------------------------------------ an activation


@dataclass(frozen=True)
class Sine(arch.Activation):
    """sin(x): of Gaussians of covariance k and variances v, u, e^(-(v + u) / 2) sinh(k)."""


@pytest.fixture
def sine(monkeypatch: pytest.MonkeyPatch) -> arch.Architecture:
    if jax_engine.unavailable() is not None:
        pytest.skip(str(jax_engine.unavailable()))
    import jax.numpy as jnp

    from neural_kernels.engines import jax_layers

    @jax_layers.factors.register(Sine)
    def _(layer: Sine, v: Any) -> tuple[Any, ...]:
        return (jnp.exp(-v / 2),)

    @jax_layers.transform.register(Sine)
    def _(layer: Sine, state: Any, left: Any, right: Any) -> tuple[Any, Any]:
        K, T = state
        scale = left[0] * right[0]
        return scale * jnp.sinh(K), None if T is None else T * scale * jnp.cosh(K)

    monkeypatch.setitem(arch.ACTIVATIONS, "sine", Sine)
    monkeypatch.setattr(jax_engine, "LAYERS", (*jax_engine.LAYERS, Sine))
    return arch.build("FC", depth=1, activation="sine", W_std=1.5, b_std=0.2)


def by_hand(x: np.ndarray) -> np.ndarray:
    """The NTK of ``sine``'s network."""
    K = 1.5**2 * x @ x.T / x.shape[1] + 0.2**2
    scale = np.exp(-np.diag(K) / 2)
    scale = np.outer(scale, scale)
    slope = K * scale * np.cosh(K)
    K = 1.5**2 * scale * np.sinh(K) + 0.2**2
    return 1.5**2 * slope + K


def test_an_activation_is_computed_by_the_engine_that_lists_it(sine: arch.Architecture) -> None:
    x = np.random.default_rng(0).standard_normal((7, 5))
    found = engines.kernel_matrix(sine, x)
    np.testing.assert_allclose(found, by_hand(x), rtol=1e-12)
    assert arch.is_flip_symmetric(sine)
    with pytest.raises(UserError, match="layer Sine"):
        engines.kernel_matrix(sine, x, engine="native")


# ------------------------------------------------------------------------------ a data set


def open_dataset(options: Any) -> Dataset:
    """60 numbers and more, of which the target is a product."""
    x = np.random.default_rng(1).standard_normal((100, 5))
    y = x[:, :1] * x[:, 1:2]
    return Dataset(
        train=in_memory("toy", x[:80], y[:80]),
        tests={"toy": lambda: in_memory("toy", x[80:], y[80:])},
        task="regression",
        outputs=1,
    )


@pytest.fixture
def toy_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(datasets.DATASETS, "toy", datasets.Source(__name__, inputs=None))


def test_a_data_set_is_prepared_as_any_other(toy_data: None, tmp_path: Path) -> None:
    assert datasets.check_data(OPTIONS).parts == {"train": 60, "validation": 20, "toy": 20}
    datasets.prepare_data(OPTIONS, tmp_path, seed=0)
    assert np.load(tmp_path / "train_x.npy").shape == (60, 5)
    with pytest.raises(UserError, match="expected one that new examples can be read for"):
        datasets.read_inputs(OPTIONS, tmp_path / "new.npy", (5,), "f")


# ------------------------------------------------------------------------------ a solver, a preconditioner


class Eigenvalues:
    """Solves by the eigenvalues of K, once for all ridges."""

    title = "Exact (eigenvalues)"
    iterates = False
    thrift = "take fewer examples"

    def working_bytes(self, n: int, columns: int, rank: int, masks: int, ridges: int) -> int:
        return 3 * 8 * n * n

    def open(self, system: System) -> Opened:
        kernel = blocks.read_submatrix(system.store, system.window, system.window, np.float64)
        values, vectors = np.linalg.eigh(kernel)

        def solve(ridge: float, start: np.ndarray | None) -> Solution:
            shift, b = ridge * float(np.diag(kernel).mean()), system.targets
            x = vectors @ ((vectors.T @ b) / (values + shift)[:, None])
            residual = np.linalg.norm(b - kernel @ x - shift * x, axis=0) / np.linalg.norm(b, axis=0)
            k = system.columns
            return Solution(
                x,
                Record(
                    "eigenvalues", system.n, ridge, shift, [0] * k, residual.tolist(), ["direct"] * k, 0.0
                ),
            )

        return Opened(solve, lambda: {"largest_eigenvalue": float(values[-1])})


@pytest.fixture
def eigenvalues(monkeypatch: pytest.MonkeyPatch) -> None:
    solver: Solver = Eigenvalues()
    monkeypatch.setitem(registry.SOLVERS, "eigenvalues", solver)


def test_all_of_them_together_go_through_a_small_study(
    sine: arch.Architecture,
    toy_data: None,
    eigenvalues: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setitem(pivots.PIVOTS, "fetched singly", lambda K, rank, seed: greedy(K, rank, pool=1))
    datasets.prepare_data(OPTIONS, tmp_path / "data", seed=0)
    x, y = (np.load(tmp_path / "data" / f"train_{part}.npy") for part in "xy")

    store = blocks.declare_store(tmp_path / "kernel", blocks.Grid(60, 60, 25, symmetric=True), "float64", {})
    for i, j in store.grid.blocks():
        compute_block(store, i, j, sine, x, x, kind="ntk")
    np.testing.assert_allclose(
        blocks.read_submatrix(store, (0, 60), (0, 60), np.float64), by_hand(x), rtol=1e-12
    )

    def solve(method: str, preconditioner: str = "random") -> Solution:
        settings = solvers.Settings(
            [1e-3, 1e-2],
            method=method,
            stopping=solvers.Stopping(1e-12),
            preconditioner=solvers.PreconditionerSettings(preconditioner, 10),
        )
        held_out, labels = (np.load(tmp_path / "data" / f"validation_{part}.npy") for part in "xy")
        cross = engines.kernel_matrix(sine, held_out, x)
        return solvers.solve_system(
            store, (0, 60), y, settings, solvers.Validation(lambda c: cross @ c, labels)
        )

    found, exact = solve("eigenvalues"), solve("cholesky")
    np.testing.assert_allclose(found.coefficients, exact.coefficients, rtol=1e-6)
    assert found.record.converged
    assert found.record.details["largest_eigenvalue"] > 0
    assert "ridge_choice" in found.record.details
    iterated = solve("conjugate_gradients", "fetched singly")
    np.testing.assert_allclose(iterated.coefficients, exact.coefficients, rtol=1e-6)
    assert iterated.record.details["preconditioner"] == "fetched singly"


def test_a_name_that_is_not_registered_is_refused_with_those_that_are() -> None:
    store: blocks.KernelStore = None  # type: ignore[assignment]
    settings = solvers.Settings([1.0], method="eigenvalues")
    expected = "expected auto, cholesky, conjugate_gradients, block_conjugate_gradients, block_lanczos or "
    with pytest.raises(UserError, match=f"method is 'eigenvalues', {expected}"):
        solvers.solve_system(store, (0, 2), np.zeros((2, 1)), settings)
    settings = solvers.Settings([1.0], preconditioner=solvers.PreconditionerSettings("fetched singly"))
    with pytest.raises(
        UserError, match="preconditioner is 'fetched singly', expected auto, greedy, random or none"
    ):
        solvers.solve_system(store, (0, 2), np.zeros((2, 1)), settings)


# ------------------------------------------------------------------------------ the recipes themselves


def test_every_file_that_the_recipes_name_is_there() -> None:
    recipes = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:src|tests|docs|config|workflow)/[\w/.-]+)`", recipes)
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_titles_of_solvers_and_approximations_tell_them_apart() -> None:
    titles = [solver.title for solver in registry.SOLVERS.values()]
    titles += [approximation.title for approximation in APPROXIMATIONS.values()]
    assert len(set(titles)) == len(titles)


def test_a_config_can_name_all_that_is_registered() -> None:
    assert set(get_args(approximation_settings.Method)) == set(APPROXIMATIONS)
    named = get_args(Preconditioner.model_fields["method"].annotation)
    assert set(named) == {AUTO, *pivots.PIVOTS, NO_PRECONDITIONER}
    assert get_args(Sections.model_fields["engine"].annotation) == ("auto", *engines.ENGINES)
    for name in datasets.DATASETS:
        assert datasets.options_of(name).model_fields["name"].default == name
