"""Sums of kernels: what they are, on columns of their own, and how their weights are chosen."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import cross_val_score

from neural_kernels import NeuralKernel, NeuralKernelClassifier, NeuralKernelRegressor, kernel_matrix
from neural_kernels.architectures import Composite, build
from neural_kernels.blocks import Grid, declare_store, write_block
from neural_kernels.errors import UserError
from neural_kernels.estimators import training, weights
from neural_kernels.metrics.losses import mean_squared_error
from neural_kernels.solvers import criteria

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(50, 5))
Y = X[:, 0] + np.abs(X[:, 1]) + 0.3 * RANDOM.normal(size=50)
SHALLOW, DEEP = build("FC", depth=1), build("FC", depth=4)
SEQUENCES = ["".join(RANDOM.choice(list("ACDE"), 6)) for _ in range(50)]
TABLE = pd.DataFrame({"sequence": SEQUENCES, "a": X[:, 0], "b": X[:, 1]})
ON_COLUMNS = 0.7 * build("Conv1D").on("sequence") + SHALLOW.on(["a", "b"], preprocessing="none")


def test_the_kernel_of_a_sum_is_the_sum_of_kernels() -> None:
    both = 0.7 * SHALLOW + 0.3 * DEEP
    assert isinstance(both, Composite)
    K = 0.7 * kernel_matrix(SHALLOW, X) + 0.3 * kernel_matrix(DEEP, X)
    np.testing.assert_allclose(NeuralKernel(both)(X), K, rtol=1e-12)
    np.testing.assert_allclose(
        NeuralKernel(SHALLOW + 2 * both)(X), kernel_matrix(SHALLOW, X) + 2 * K, rtol=1e-12
    )
    fitted = NeuralKernelRegressor(
        0.7 * SHALLOW.on(preprocessing="none") + 0.3 * DEEP.on(preprocessing="none"), ridge=1e-2
    ).fit(X[:40], Y[:40])
    given = NeuralKernelRegressor(kernel="precomputed", ridge=1e-2).fit(K[:40, :40], Y[:40])
    np.testing.assert_allclose(fitted.predict(X[40:]), given.predict(K[40:, :40]), rtol=1e-9)
    assert fitted.weights_ == (0.7, 0.3)
    mean, std = fitted.predict(X[40:], return_std=True)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(X[40:], return_std=True), (mean, std))
    assert fitted.sample_y(X[40:], 3).shape == (10, 3)


def test_kernels_of_a_sum_see_columns_of_their_own() -> None:
    fitted = NeuralKernelRegressor(ON_COLUMNS, ridge=1e-2).fit(TABLE[:40], Y[:40])
    own = NeuralKernelRegressor("Conv1D", ridge=1e-2).fit(SEQUENCES[:40], Y[:40])
    one = own.features_.kernel(own.features_.of(SEQUENCES), own.X_fit_)
    K = 0.7 * one + kernel_matrix(SHALLOW, X[:, :2], X[:40, :2])
    given = NeuralKernelRegressor(kernel="precomputed", ridge=1e-2).fit(K[:40], Y[:40])
    np.testing.assert_allclose(fitted.predict(TABLE[40:]), given.predict(K[40:]), rtol=1e-8)
    assert np.isfinite(cross_val_score(NeuralKernelRegressor(ON_COLUMNS, ridge=1e-2), TABLE, Y, cv=3)).all()
    with pytest.raises(ValueError, match="X has no column 'b', expected one of sequence, a"):
        fitted.predict(TABLE[["sequence", "a"]])
    with pytest.raises(ValueError, match="expected a DataFrame with the columns sequence"):
        NeuralKernelRegressor(ON_COLUMNS).fit(X, Y)
    labels = NeuralKernelClassifier(ON_COLUMNS).fit(TABLE, Y > 0.5).predict(TABLE)
    assert (labels == (Y > 0.5)).mean() > 0.8


@pytest.mark.parametrize("by", ["loo", "likelihood"])
@pytest.mark.parametrize("gaps", [False, True])
def test_weights_are_the_best_of_all_shares(by: Any, gaps: bool) -> None:
    targets = np.stack([Y - Y.mean(), np.roll(Y, 1) - Y.mean()], axis=1)
    if gaps:
        targets[::4, 1] = np.nan
    kernels = [kernel_matrix(SHALLOW, X), kernel_matrix(DEEP, X)]
    ridges = (1e-3, 1e-1, 1.0)
    found = weights.chosen(kernels, targets, ridges, by)
    values = {}
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        K = (
            part * kernels[0] / np.diag(kernels[0]).mean()
            + (1 - part) * kernels[1] / np.diag(kernels[1]).mean()
        )
        # The regressor's own criterion, from factorisations.
        for ridge in ridges:
            solved = training.solve_matrix(
                K, training.System(targets, training.Choice((ridge,), by), 2**30), "float64"
            )
            facts = solved.facts()
            assert facts is not None
            alpha = solved.solution.coefficients
            values[part, ridge] = criteria.judge(by, targets, alpha, facts, mean_squared_error)
    best = min(values, key=values.__getitem__)[0]
    scales = [np.diag(kernel).mean() for kernel in kernels]
    np.testing.assert_allclose(found, [best / scales[0], (1 - best) / scales[1]])


def test_shares_are_all_there_are() -> None:
    for count in (1, 2, 3, 4):
        listed = list(weights.shares(count))
        grid = itertools.product(range(weights.STEPS + 1), repeat=count)
        assert sorted(listed) == sorted(
            tuple(part / weights.STEPS for part in parts) for parts in grid if sum(parts) == weights.STEPS
        )


def test_molecules_without_an_architecture_are_compared_in_three_ways(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    smiles = ["C" * k + end for k in range(1, 9) for end in ("", "O", "N", "Cl", "c1ccccc1")]
    mass = np.array([len(text) + 3.0 * text.count("l") for text in smiles]) + RANDOM.normal(size=40)
    fitted = NeuralKernelRegressor().fit(smiles[:30], mass[:30])
    assert len(fitted.weights_) == 3
    assert fitted.score(smiles[30:], mass[30:]) > 0
    stored = NeuralKernelRegressor(store=tmp_path / "s").fit(smiles[:30], mass[:30])
    np.testing.assert_allclose(stored.predict(smiles[30:]), fitted.predict(smiles[30:]), rtol=1e-8)
    named = NeuralKernelRegressor("SimpleGNN").fit(smiles[:30], mass[:30])
    assert named.weights_ == (1.0,)


def test_a_sum_in_a_store_is_that_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "EDGE", 16)
    both = 0.7 * SHALLOW + 0.3 * DEEP
    inside = NeuralKernelRegressor(both, ridge=1e-2).fit(X[:40], Y[:40])
    for direct in (8192, 10):
        monkeypatch.setattr(training, "DIRECT_UP_TO", direct)
        outside = NeuralKernelRegressor(both, ridge=1e-2, store=tmp_path / "s").fit(X[:40], Y[:40])
        np.testing.assert_allclose(outside.predict(X[40:]), inside.predict(X[40:]), rtol=1e-4)
    assert len(list((tmp_path / "s").glob("sum-*"))) == 1


def test_a_mean_that_is_linear_in_a_column_is_a_term() -> None:
    """The best linear unbiased prediction with a flat prior on the mean's coefficients (universal kriging)."""
    score = X[:, :1]
    y = 5 + 3 * score[:, 0] + np.sin(2 * X[:, 1])
    table = pd.DataFrame({"zero_shot": score[:, 0], "a": X[:, 1], "b": X[:, 2]})
    rest = SHALLOW.on(["a", "b"], preprocessing="none")
    linear = 1e6 * build("Linear", b_std=1.0).on(["zero_shot"])
    K = kernel_matrix(SHALLOW, X[:, 1:3], X[:, 1:3])
    ridge = 1e-2 * np.diag(K)[:40].mean()
    A = np.linalg.inv(K[:40, :40] + ridge * np.eye(40))
    H = np.column_stack([np.ones(50), score])
    beta = np.linalg.solve(H[:40].T @ A @ H[:40], H[:40].T @ A @ y[:40])
    expected = H[40:] @ beta + K[40:, :40] @ A @ (y[:40] - H[:40] @ beta)
    scale = NeuralKernelRegressor(linear + rest, ridge=1.0).fit(table[:40], y[:40])
    mean_diagonal = scale.solve_.shift  # at a ridge of one
    fitted = NeuralKernelRegressor(linear + rest, ridge=ridge / mean_diagonal).fit(table[:40], y[:40])
    np.testing.assert_allclose(fitted.predict(table[40:]), expected, rtol=1e-3)


def test_weights_are_chosen_on_examples_at_random_in_a_store_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first rows of a sorted table say nothing."""
    monkeypatch.setattr(weights, "MOST_EXAMPLES", 30)
    monkeypatch.setattr(training, "EDGE", 16)
    order = np.argsort(X[:, 0])
    x, y = X[order], (X[order, 0] > 0) * 2.0 - 1
    columns = pd.DataFrame(x, columns=list("abcde"))
    both = build("FC3").on(["a"]) + build("FC3").on(["b"])
    found = NeuralKernelRegressor(both, weights="loo", store=tmp_path / "s").fit(columns, y)
    assert found.weights_[0] > 0
    assert found.weights_[1] == 0


def test_places_of_a_store_are_those_of_its_matrix(tmp_path: Path) -> None:
    K = kernel_matrix(SHALLOW, X)
    store = declare_store(tmp_path, Grid(50, 50, 16, symmetric=True), "float64", {"of": "X"})
    for i, j in store.grid.blocks():
        rows, columns = store.grid.row_range(i), store.grid.column_range(j)
        write_block(store, i, j, K[slice(*rows), slice(*columns)], {})
    places = np.array([0, 3, 15, 16, 40, 49])
    np.testing.assert_array_equal(training._read_places(store, places), K[np.ix_(places, places)])


def test_a_weight_is_positive() -> None:
    with pytest.raises(UserError, match="expected a positive number"):
        -1.0 * SHALLOW
    with pytest.raises(ValueError, match="weights is 'cv'"):
        NeuralKernelRegressor(SHALLOW + DEEP, weights="cv").fit(X, Y)
