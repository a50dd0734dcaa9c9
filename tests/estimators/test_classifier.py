"""The classifier, its probabilities, and the kernel by itself in other estimators."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, make_classification
from sklearn.decomposition import KernelPCA
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import WhiteKernel
from sklearn.metrics import log_loss
from sklearn.svm import SVC

from neural_kernels import NeuralKernel, NeuralKernelClassifier, NeuralKernelRegressor, kernel_matrix
from neural_kernels.architectures import build

FC = build("FC", depth=1)
DIGITS = load_digits()
TRAIN, LABELS = DIGITS.data[:300], DIGITS.target[:300]
NEW, TRUE = DIGITS.data[300:800], DIGITS.target[300:800]


def test_classes_are_those_of_regression_onto_centred_one_hot_targets() -> None:
    names = np.array([f"digit {label}" for label in LABELS])
    fitted = NeuralKernelClassifier(FC, ridge=1e-3).fit(TRAIN, names)
    targets = np.eye(10)[LABELS] - 0.1
    scale = TRAIN.std(axis=0)
    standard = [(x - TRAIN.mean(axis=0)) / np.where(scale == 0, 1, scale) for x in (TRAIN, NEW)]
    K = kernel_matrix(FC, standard[0])
    alpha = np.linalg.solve(K + 1e-3 * np.diag(K).mean() * np.eye(300), targets)
    scores = kernel_matrix(FC, standard[1], standard[0]) @ alpha + 0.1
    np.testing.assert_allclose(fitted.decision_function(NEW), scores, rtol=1e-6, atol=1e-9)
    assert fitted.predict(NEW).tolist() == [f"digit {label}" for label in scores.argmax(axis=1)]
    assert fitted.score(NEW, [f"digit {label}" for label in TRUE]) > 0.85


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_probabilities_are_calibrated_where_labels_are_noisy_and_where_not(noise: float) -> None:
    x, y = make_classification(1500, 10, n_informative=5, n_classes=3, flip_y=noise, random_state=1)
    fitted = NeuralKernelClassifier("FC3").fit(x[:500], y[:500])
    p = fitted.predict_proba(x[500:])
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert (p.argmax(axis=1) == fitted.predict(x[500:])).all()
    # The mean probability of the predicted class is its accuracy, where it is calibrated.
    assert p.max(axis=1).mean() == pytest.approx(fitted.score(x[500:], y[500:]), abs=0.04)
    raw = np.exp(fitted.decision_function(x[500:]))
    assert log_loss(y[500:], p) < log_loss(y[500:], raw / raw.sum(axis=1, keepdims=True))


def test_two_classes_have_one_score() -> None:
    x, y = make_classification(200, 6, random_state=0)
    fitted = NeuralKernelClassifier().fit(x, y == 1)
    score = fitted.decision_function(x)
    assert score.shape == (200,)
    assert ((score > 0) == fitted.predict(x)).all()
    assert fitted.classes_.tolist() == [False, True]
    with pytest.raises(ValueError, match="one class"):
        NeuralKernelClassifier().fit(x, np.ones(200))


def test_the_kernel_serves_other_estimators() -> None:
    kernel = NeuralKernel(FC)
    x, new = TRAIN[:100] / 16, NEW[:50] / 16
    matrix, cross = kernel_matrix(FC, x), kernel_matrix(FC, new, x)
    np.testing.assert_array_equal(kernel(x), matrix)
    np.testing.assert_array_equal(kernel(new, x), cross)
    np.testing.assert_allclose(kernel.diag(x), np.diag(matrix), rtol=1e-12)
    assert kernel(x[0], x[1]) == pytest.approx(matrix[0, 1])
    np.testing.assert_array_equal(kernel.fit(x).transform(new), cross)
    by_call = SVC(kernel=kernel).fit(x, LABELS[:100])
    given = SVC(kernel="precomputed").fit(matrix, LABELS[:100])
    assert (by_call.predict(new) == given.predict(cross)).all()
    projected = KernelPCA(3, kernel=kernel).fit_transform(x[:20])
    np.testing.assert_allclose(
        np.abs(projected),
        np.abs(KernelPCA(3, kernel="precomputed").fit_transform(matrix[:20, :20])),
        atol=1e-8,
    )


def test_a_gaussian_process_with_the_kernel_is_the_regressor() -> None:
    x, y = TRAIN[:60] / 16, LABELS[:60].astype(float)
    process = GaussianProcessRegressor(NeuralKernel(FC) + WhiteKernel(0.1), optimizer=None).fit(
        x, y - y.mean()
    )
    ridge = 0.1 / np.diag(kernel_matrix(FC, x)).mean()
    own = NeuralKernelRegressor(FC, preprocessing="none", ridge=ridge).fit(x, y)
    np.testing.assert_allclose(process.predict(NEW[:9] / 16) + y.mean(), own.predict(NEW[:9] / 16), rtol=1e-6)
    assert GaussianProcessRegressor(2.0 * NeuralKernel(FC), alpha=0.1).fit(x, y).predict(x).shape == (60,)


def test_the_kernel_of_strings_and_molecules() -> None:
    pytest.importorskip("rdkit")
    strings = ["ACDE", "ACD", "WYFA"]
    with pytest.raises(ValueError, match="from 3 to 4 letters: set sequence_length"):
        NeuralKernel()(strings)
    kernel = NeuralKernel(sequence_length=6)
    whole = kernel(strings)
    np.testing.assert_allclose(kernel(strings[:1], strings), whole[:1], rtol=1e-12)
    table = pd.DataFrame({"a column of a long name": strings})
    np.testing.assert_allclose(kernel(table, table[:2].copy()), whole[:, :2], rtol=1e-12)
    fitted = NeuralKernel().fit(["CCO", "C=C", "c1ccccc1"])
    assert fitted.transform(["CCN(C)C"]).shape == (1, 3)
