"""The regressor against the textbook's formulas in dense NumPy, and what it takes as inputs."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neural_kernels import Graphs, NeuralKernelRegressor, architectures, kernel_matrix
from neural_kernels.estimators import training
from neural_kernels.estimators.defaults import RIDGES
from neural_kernels.graphs import made_up

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(2, 3, (60, 4))
Y = 50 + 10 * np.sin(X / 4).sum(axis=1) + 5 * RANDOM.normal(size=60)
TRAIN, NEW = X[:45], X[45:]
FC = architectures.build("FC", depth=1, b_std=0.2)


def standardized(new: np.ndarray) -> np.ndarray:
    return (new - TRAIN.mean(axis=0)) / TRAIN.std(axis=0)


def by_hand(y: np.ndarray, ridge: float, known: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """K, A^-1, standardised targets and K(new, train) of the labelled examples."""
    known = np.ones(len(TRAIN), bool) if known is None else known
    K = kernel_matrix(FC, standardized(TRAIN))
    A = K + ridge * np.diag(K).mean() * np.eye(len(K))
    t = (y[known] - y[known].mean()) / y[known].std()
    cross = kernel_matrix(FC, standardized(NEW), standardized(TRAIN))[:, known]
    return K, np.linalg.inv(A[np.ix_(known, known)]), t, cross


def model(**parameters: Any) -> NeuralKernelRegressor:
    defaults: dict[str, Any] = {"architecture": FC, "ridge": 1e-2}
    return NeuralKernelRegressor(**defaults | parameters)


def test_mean_and_spread_are_those_of_the_gaussian_process() -> None:
    y = Y[:45]
    fitted = model().fit(TRAIN, y)
    K, inverse, t, cross = by_hand(y, 1e-2)
    alpha, diagonal = inverse @ t, np.diag(inverse)
    amplitude = np.mean(alpha**2 / diagonal)
    shift = 1e-2 * np.diag(K).mean()
    prior = np.diag(kernel_matrix(FC, standardized(NEW)))
    variance = amplitude * (prior - np.einsum("ij,jk,ik->i", cross, inverse, cross))
    mean, std = fitted.predict(NEW, return_std=True)
    np.testing.assert_allclose(mean, y.mean() + y.std() * cross @ alpha, rtol=1e-9)
    np.testing.assert_allclose(std, y.std() * np.sqrt(variance + amplitude * shift), rtol=1e-7)
    np.testing.assert_allclose(
        fitted.predict(NEW, return_std=True, noise=False)[1], y.std() * np.sqrt(variance), rtol=1e-7
    )
    np.testing.assert_allclose(fitted.dual_coef_[:, 0], alpha, rtol=1e-8)
    assert fitted.ridge_ == 1e-2
    assert fitted.solve_.converged
    assert fitted.n_features_in_ == 4


def test_left_out_predictions_are_those_of_refits() -> None:
    y = Y[:45]
    fitted = model().fit(TRAIN, y)
    K, _, t, _ = by_hand(y, 1e-2)
    A = K + 1e-2 * np.diag(K).mean() * np.eye(45)
    for i in range(0, 45, 9):
        others = np.arange(45) != i
        left_out = K[i, others] @ np.linalg.solve(A[np.ix_(others, others)], t[others])
        assert fitted.loo_predictions_[i] == pytest.approx(y.mean() + y.std() * left_out, rel=1e-9)


def test_likelihood_is_that_of_the_likeliest_amplitude() -> None:
    y = Y[:45]
    fitted = model(ridge="likelihood", ridges=[1e-3, 1e-2, 1e-1]).fit(TRAIN, y)
    values = {}
    for ridge in (1e-3, 1e-2, 1e-1):
        K, inverse, t, _ = by_hand(y, ridge)
        A = K + ridge * np.diag(K).mean() * np.eye(45)
        values[ridge] = max(
            multivariate_normal.logpdf(t, np.zeros(45), s * A)
            for s in (t @ inverse @ t / 45) * np.array([0.9, 1.0, 1.1])
        )
    assert fitted.ridge_ == max(values, key=values.__getitem__)
    assert fitted.log_marginal_likelihood_value_ == pytest.approx(values[fitted.ridge_], rel=1e-8)
    _, inverse, t, _ = by_hand(y, fitted.ridge_)
    assert fitted.amplitude_[0] == pytest.approx(t @ inverse @ t / 45)


@pytest.mark.parametrize("ridge", ["loo", "gcv", "likelihood", "validation"])
def test_every_way_to_choose_the_ridge_ends_with_a_fit_to_everything(ridge: str) -> None:
    fitted = model(ridge=ridge, random_state=3).fit(X, Y)
    assert fitted.ridge_ in RIDGES
    assert fitted.score(X, Y) > 0.5
    assert fitted.solve_.details["ridge_choice"]["by"] == ridge
    assert fitted.dual_coef_.shape == (60, 1)
    # In the order of X, whatever was held out.
    known = fitted.loo_predictions_
    assert np.corrcoef(known, Y)[0, 1] > 0.3
    K = kernel_matrix(FC, (X - X.mean(axis=0)) / X.std(axis=0))
    alpha = np.linalg.solve(K + fitted.ridge_ * np.diag(K).mean() * np.eye(60), (Y - Y.mean()) / Y.std())
    np.testing.assert_allclose(fitted.dual_coef_[:, 0], alpha, rtol=1e-6)


def test_several_columns_with_gaps_are_each_solved_on_what_they_have() -> None:
    y = np.stack([Y[:45], -(Y[:45] ** 2)], axis=1)
    y[::3, 1] = np.nan
    fitted = model().fit(TRAIN, y)
    mean, std = fitted.predict(NEW, return_std=True)
    assert mean.shape == std.shape == (15, 2)
    for column in range(2):
        known = ~np.isnan(y[:, column])
        _, inverse, t, cross = by_hand(y[:, column], 1e-2, known)
        there = y[known, column]
        np.testing.assert_allclose(
            mean[:, column], there.mean() + there.std() * cross @ inverse @ t, rtol=1e-8
        )
    assert np.isnan(fitted.loo_predictions_).tolist() == np.isnan(y).tolist()
    assert fitted.sample_y(NEW, 2).shape == (15, 2, 2)


def test_samples_have_the_posterior_as_their_distribution() -> None:
    fitted = model().fit(TRAIN, Y[:45])
    mean, std = fitted.predict(NEW, return_std=True, noise=False)
    drawn = fitted.sample_y(NEW, 4000, random_state=1)
    assert drawn.shape == (15, 4000)
    np.testing.assert_allclose(drawn.mean(axis=1), mean, atol=5 * std.max() / np.sqrt(4000))
    np.testing.assert_allclose(drawn.std(axis=1), std, rtol=0.08)
    np.testing.assert_array_equal(drawn, fitted.sample_y(NEW, 4000, random_state=1))


def test_a_precomputed_kernel_gives_the_same() -> None:
    K, _, _, cross = by_hand(Y[:45], 1e-2)
    own = model().fit(TRAIN, Y[:45])
    given = NeuralKernelRegressor(kernel="precomputed", ridge=1e-2).fit(K, Y[:45])
    np.testing.assert_allclose(given.predict(cross), own.predict(NEW), rtol=1e-9)
    np.testing.assert_allclose(given.loo_predictions_, own.loo_predictions_, rtol=1e-9)
    with pytest.raises(ValueError, match="square"):
        NeuralKernelRegressor(kernel="precomputed").fit(TRAIN, Y[:45])
    with pytest.raises(ValueError, match="not symmetric"):
        NeuralKernelRegressor(kernel="precomputed").fit(K + np.triu(np.ones_like(K)), Y[:45])


def test_columns_that_do_not_vary_have_no_part_in_the_likelihood_and_no_spread() -> None:
    both = model(ridge="likelihood").fit(TRAIN, np.column_stack([Y[:45], np.full(45, 2.0)]))
    alone = model(ridge="likelihood").fit(TRAIN, Y[:45])
    assert both.log_marginal_likelihood_value_ == pytest.approx(alone.log_marginal_likelihood_value_)
    low, high = both.predict_interval(NEW)
    np.testing.assert_allclose(low[:, 1], 2.0)
    np.testing.assert_allclose(high[:, 1], 2.0)


def test_training_features_are_in_the_order_of_their_coefficients() -> None:
    fitted = model(ridge="validation", random_state=3).fit(X, Y)
    cross = fitted.features_.kernel(fitted.features_.of(NEW), fitted.X_fit_)
    mean = Y.mean() + Y.std() * (cross @ fitted.dual_coef_)[:, 0]
    np.testing.assert_allclose(fitted.predict(NEW), mean, rtol=1e-9)


def test_inputs_that_were_read_serve_every_method() -> None:
    fitted = model().fit(TRAIN, Y[:45])
    inputs = fitted.read(NEW)
    np.testing.assert_array_equal(
        fitted.predict(inputs, return_std=True), fitted.predict(NEW, return_std=True)
    )
    np.testing.assert_array_equal(fitted.nearest(inputs), fitted.nearest(NEW))
    np.testing.assert_array_equal(fitted.sample_y(inputs, 2), fitted.sample_y(NEW, 2))


def test_a_score_passes_over_values_that_are_missing() -> None:
    y = np.column_stack([Y, -Y])
    y[::5, 1] = np.nan
    assert np.isfinite(cross_val_score(model(), X, y, cv=3)).all()


# ----------------------------------------------------------------------------- inputs

SEQUENCES = ["".join(RANDOM.choice(list("ACDEFGHIKLMNPQRSTVWY"), 9)) for _ in range(24)]
SMILES = [
    "CCO",
    "c1ccccc1",
    "CC(=O)O",
    "CCN",
    "C1CCCCC1",
    "CCCl",
    "OCCO",
    "c1ccncc1",
    "CC#N",
    "C=CC",
    "CCCC",
    "CO",
]
SMALL = Y[:12]


@pytest.mark.parametrize(
    "wrapped", [list, tuple, np.array, pd.Series, lambda s: pd.DataFrame({"sequence": s})]
)
def test_sequences_of_letters(wrapped: Any) -> None:
    fitted = NeuralKernelRegressor().fit(wrapped(SEQUENCES[:20]), Y[:20])
    assert fitted.architecture_ == architectures.build("Conv1D")
    mean = fitted.predict(wrapped(SEQUENCES[20:]))
    assert mean.shape == (4,)
    np.testing.assert_array_equal(
        mean, NeuralKernelRegressor().fit(SEQUENCES[:20], Y[:20]).predict(SEQUENCES[20:])
    )


def test_strings_longer_or_other_than_those_fitted_on_are_refused() -> None:
    fitted = NeuralKernelRegressor().fit(SEQUENCES, Y[:24])
    with pytest.raises(ValueError, match=r"X\[1\] has 10 letters, expected at most 9.*sequence_length"):
        fitted.predict(["ACD", SEQUENCES[0] + "A"])
    with pytest.raises(ValueError, match=r"X\[0\] has 'B' at position 2"):
        fitted.predict(["AB"])
    with pytest.raises(ValueError, match=r"X\[1\] is 3, expected a string"):
        fitted.predict(["A", 3])
    longer = NeuralKernelRegressor(sequence_length=12).fit(SEQUENCES, Y[:24])
    assert longer.predict([SEQUENCES[0] + "AAA"]).shape == (1,)
    for ambiguous in (["CCN", "NCC"], ["C", "CC"]):
        with pytest.raises(ValueError, match="may be sequences or SMILES"):
            NeuralKernelRegressor().fit(ambiguous, [0.0, 1.0])
    with pytest.raises(ValueError, match="may be sequences or SMILES"):
        NeuralKernelRegressor().fit(["CCN", "NCC"], [0.0, 1.0])


def test_molecules_as_smiles_and_as_rdkit_has_them() -> None:
    Chem = pytest.importorskip("rdkit.Chem")
    fitted = NeuralKernelRegressor(ridge="loo").fit(SMILES, SMALL)
    assert len(fitted.weights_) == 3
    mean, std = fitted.predict(["CCCO", "c1ccccc1C"], return_std=True)
    assert np.isfinite(mean).all()
    assert (std > 0).all()
    read = [Chem.MolFromSmiles(smiles) for smiles in SMILES]
    same = NeuralKernelRegressor(ridge="loo").fit(read, SMALL)
    np.testing.assert_allclose(same.predict(read), fitted.predict(SMILES), rtol=1e-9)
    assert np.isfinite(fitted.predict(["[H][H]", "[H+]"])).all()
    with pytest.raises(ValueError, match=r"X\[1\], 'C\(', is no molecule"):
        fitted.predict(["C", "C("])


def test_graphs_as_a_value_and_as_pairs() -> None:
    graphs = made_up(12, 3, np.random.default_rng(1), mean_nodes=5)
    fitted = NeuralKernelRegressor().fit(graphs, SMALL)
    pairs = [(graphs[i : i + 1].nodes, graphs[i : i + 1].edges) for i in range(12)]
    same = NeuralKernelRegressor().fit(pairs, SMALL)
    np.testing.assert_array_equal(fitted.predict(graphs), same.predict(pairs))
    scores = cross_val_score(NeuralKernelRegressor(ridge=1e-2), graphs, SMALL, cv=3, scoring="r2")
    assert np.isfinite(scores).all()
    assert isinstance(graphs, Graphs)


def test_images_and_sequences_of_vectors() -> None:
    images = RANDOM.normal(size=(20, 6, 6, 2))
    fitted = NeuralKernelRegressor(architectures.build("CNNVec", depth=2)).fit(images, Y[:20])
    assert fitted.predict(images[:3]).shape == (3,)
    assert fitted.n_features_in_ == 72
    with pytest.raises(ValueError, match="expected \\(6, 6, 2\\) as fitted"):
        fitted.predict(images[:, :4])
    vectors = RANDOM.normal(size=(20, 5, 3))
    assert NeuralKernelRegressor().fit(vectors, Y[:20]).architecture_.name == "Conv1D"


def test_preprocessing_and_layers_are_parameters() -> None:
    layers = [architectures.Flatten(), architectures.Dense(), architectures.Relu(), architectures.Dense()]
    images = RANDOM.normal(size=(30, 4, 4, 1))
    given = {"method": "zca", "regularization": 0.01, "per_image_normalization": False}
    fitted = NeuralKernelRegressor(layers, preprocessing=given, ridge=1e-2).fit(images, Y[:30])
    assert fitted.preprocessing_[0].method == "zca"
    assert fitted.predict(images).shape == (30,)
    with pytest.raises(ValueError, match="preprocessing"):
        NeuralKernelRegressor(preprocessing="whiten").fit(X, Y)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"architecture": "FC9"}, "architecture is 'FC9', expected one of"),
        ({"architecture": 3}, "architecture is 3, expected a name"),
        ({"kind": "ntks"}, "kind is 'ntks', expected 'ntk' or 'nngp'"),
        ({"precision": "float16"}, "precision is 'float16'"),
        ({"kernel": "linear"}, "kernel is 'linear', expected 'neural' or 'precomputed'"),
        ({"ridge": "cv"}, "ridge is 'cv', expected a number, 'loo'"),
        ({"ridge": -1.0}, "ridge is -1.0"),
        ({"ridge": None}, "ridge is None"),
        ({"sequence_length": 2.5}, "sequence_length is 2.5"),
        ({"ridge": "validation", "validation_fraction": "a"}, "validation_fraction is 'a'"),
        ({"ridge": "loo", "ridges": []}, "ridges is"),
        ({"inputs": "text"}, "inputs is 'text'"),
        ({"memory": 0}, "memory is 0"),
        ({"memory": 1e-6}, "give a folder as store"),
        ({"ridge": "validation", "validation_fraction": 1.5}, "validation_fraction is 1.5"),
        ({"architecture": "Conv1D"}, "needs positions"),
        ({"engine": "cuda9"}, "engine is 'cuda9'"),
    ],
)
def test_mistakes_are_sentences(parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        model(**parameters).fit(X, Y)


# ----------------------------------------------------------------------------- scikit-learn's tools


def test_searches_pipelines_and_pickles() -> None:
    search = GridSearchCV(model(ridge="loo"), {"architecture": ["FC3", FC], "kind": ["ntk", "nngp"]}, cv=3)
    search.fit(X, Y)
    assert search.best_score_ > 0
    scores = cross_val_score(make_pipeline(StandardScaler(), model()), X, Y, cv=KFold(3))
    assert len(scores) == 3
    assert cross_val_score(
        NeuralKernelRegressor(ridge=1e-2), SEQUENCES, Y[:24], cv=3, scoring="r2"
    ).shape == (3,)
    fitted = model().fit(TRAIN, Y[:45])
    again = pickle.loads(pickle.dumps(fitted))
    assert len(pickle.dumps(fitted)) < 8 * 45 * 45 + 20_000
    for one, other in zip(
        again.predict(NEW, return_std=True), fitted.predict(NEW, return_std=True), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert clone(fitted).get_params() == fitted.get_params()


# ----------------------------------------------------------------------------- a store


def test_a_store_gives_the_same_and_is_not_computed_twice(tmp_path: Path) -> None:
    fitted = model(store=tmp_path / "store").fit(TRAIN, Y[:45])
    np.testing.assert_allclose(fitted.predict(NEW), model().fit(TRAIN, Y[:45]).predict(NEW), rtol=1e-12)
    (block,) = (tmp_path / "store" / "kernel" / "blocks").glob("*.npy")
    before = block.stat().st_mtime_ns
    model(store=tmp_path / "store", ridge=1e-1).fit(TRAIN, Y[:45])
    assert block.stat().st_mtime_ns == before
    # Whatever the ridge is chosen by.
    model(store=tmp_path / "store", ridge="validation").fit(TRAIN, Y[:45])
    assert block.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="holds blocks of another kernel"):
        model(store=tmp_path / "store").fit(NEW, Y[45:])


@pytest.mark.parametrize("ridge", [1e-2, "validation"])
def test_a_kernel_larger_than_memory_is_solved_from_its_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ridge: Any
) -> None:
    parameters = {"ridge": ridge, "ridges": [1e-3, 1e-2], "random_state": 0}
    inside = model(**parameters).fit(TRAIN, Y[:45])
    monkeypatch.setattr(training, "DIRECT_UP_TO", 10)
    monkeypatch.setattr(training, "EDGE", 16)
    outside = model(**parameters, store=tmp_path / "store").fit(TRAIN, Y[:45])
    assert outside.ridge_ == inside.ridge_
    assert "gradients" in outside.solve_.solver
    np.testing.assert_allclose(outside.predict(NEW), inside.predict(NEW), rtol=1e-4)
    assert outside.loo_predictions_ is None
    likeliest = model(ridge="likelihood", ridges=[inside.ridge_]).fit(TRAIN, Y[:45])
    np.testing.assert_allclose(
        outside.predict(NEW, return_std=True)[1], likeliest.predict(NEW, return_std=True)[1], rtol=1e-3
    )
    again = pickle.loads(pickle.dumps(outside))
    np.testing.assert_array_equal(again.predict(NEW), outside.predict(NEW))


def test_spreads_of_many_inputs_come_from_one_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = RANDOM.normal(size=(300, X.shape[1]))
    inside = model(ridge="likelihood", ridges=[1e-2]).fit(TRAIN, Y[:45])
    monkeypatch.setattr(training, "DIRECT_UP_TO", 10)
    monkeypatch.setattr(training, "EDGE", 16)
    monkeypatch.setattr("neural_kernels.solvers.inverse.SPACE_COLUMNS", 4)
    outside = model(ridge=1e-2, store=tmp_path / "store").fit(TRAIN, Y[:45])
    expected, found = inside.predict(many, return_std=True)[1], outside.predict(many, return_std=True)[1]
    np.testing.assert_allclose(found, expected, rtol=0.05)
    assert np.median(np.abs(found / expected - 1)) < 0.005
