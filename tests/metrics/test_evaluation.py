from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from neural_kernels.datasets.pools import Task
from neural_kernels.metrics.evaluation import LOSS, SCORE, evaluate, label_rankings, top_accuracy


def centred(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[labels] - 1 / classes


def test_perfect_predictions_have_no_loss_and_full_accuracy() -> None:
    labels = np.array([2, 0, 1, 2])
    targets = centred(labels, 3)
    assert evaluate(targets, targets, labels, "classification") == {"loss": 0.0, "accuracy": 1.0}


def test_loss_of_predicting_zero_is_the_variance_of_the_targets() -> None:
    labels = np.arange(10)
    metrics = evaluate(np.zeros((10, 10)), centred(labels, 10), labels, "classification")
    assert metrics["loss"] == pytest.approx(0.09, rel=1e-14)


def test_the_lowest_class_wins_a_tie() -> None:
    predictions = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.7, 0.7]])
    labels = np.array([0, 1, 1])
    assert top_accuracy(predictions, labels, 1) == pytest.approx(2 / 3)
    assert top_accuracy(np.zeros((4, 8)), np.array([3, 4, 5, 7]), 5) == pytest.approx(0.5)


@given(st.integers(0, 2**32 - 1), st.integers(11, 20))
def test_accuracies_are_those_of_sorting(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    predictions = rng.integers(0, 4, size=(20, classes)).astype(np.float64)
    labels = rng.integers(0, classes, size=20)
    order = np.argsort(-predictions, axis=1, kind="stable")
    metrics = evaluate(predictions, centred(labels, classes), labels, "classification")
    assert metrics["accuracy"] == np.mean(np.argmax(predictions, axis=1) == labels)
    assert metrics["top5_accuracy"] == np.mean(np.any(order[:, :5] == labels[:, None], axis=1))


@pytest.mark.parametrize(("classes", "expected"), [(5, False), (10, False), (11, True)])
def test_top5_needs_more_than_ten_classes(classes: int, expected: bool) -> None:
    labels = np.arange(classes)
    metrics = evaluate(np.zeros((classes, classes)), centred(labels, classes), labels, "classification")
    assert ("top5_accuracy" in metrics) == expected


def test_regression_averages_the_correlations_of_its_columns() -> None:
    rng = np.random.default_rng(0)
    targets = rng.standard_normal((50, 2))
    predictions = np.stack([targets[:, 0] ** 3, -targets[:, 1]], axis=1)
    metrics = evaluate(predictions, targets, None, "regression")
    assert set(metrics) == {"mse", "spearman", "pearson"}
    assert metrics["spearman"] == pytest.approx((1 - 1) / 2, abs=1e-12)
    first = np.corrcoef(targets[:, 0] ** 3, targets[:, 0])[0, 1]
    assert metrics["pearson"] == pytest.approx((first - 1) / 2)
    assert metrics["mse"] == pytest.approx(np.mean((predictions - targets) ** 2))


def test_spearman_averages_ranks_of_ties() -> None:
    predictions = np.array([[1.0], [2.0], [2.0], [3.0]])
    targets = np.array([[1.0], [3.0], [2.0], [4.0]])
    expected = spearmanr([1, 2.5, 2.5, 4], [1, 3, 2, 4]).statistic
    assert evaluate(predictions, targets, None, "regression")["spearman"] == pytest.approx(expected)


def test_a_correlation_with_a_constant_is_left_out() -> None:
    targets = np.arange(4.0)[:, None]
    assert evaluate(np.ones((4, 1)), targets, None, "regression") == {"mse": pytest.approx(1.5)}


def test_every_task_names_metrics_that_it_has() -> None:
    labels = np.array([0, 1])
    values: dict[Task, dict[str, float]] = {
        "classification": evaluate(np.eye(2), centred(labels, 2), labels, "classification"),
        "regression": evaluate(np.eye(2)[:, :1], np.eye(2)[:, :1], None, "regression"),
    }
    for task, metrics in values.items():
        assert LOSS[task] in metrics
        assert SCORE[task] in metrics


GOOD = (np.zeros((3, 2)), np.zeros((3, 2)), np.array([0, 1, 1]), "classification")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, np.zeros((3, 2), np.float32), "predictions are float32, expected float64"),
        (0, np.zeros((4, 2)), "predictions have shape"),
        (0, np.zeros(3), "expected \\(examples, outputs\\)"),
        (
            0,
            np.array([[0, 1], [0, np.nan], [0, 0]]),
            "predictions are not finite in 1 places, first at \\[1, 1\\]",
        ),
        (1, np.full((3, 2), np.inf), "targets are not finite"),
        (1, np.zeros((0, 2)), "targets have shape"),
        (2, None, "needs labels"),
        (2, np.array([0, 1]), "expected integers \\(3,\\)"),
        (2, np.array([0.0, 1.0, 1.0]), "expected integers"),
        (2, np.array([0, 1, 2]), "labels go from 0 to 2, expected 0 to 1"),
        (2, np.array([0, 1, -1]), "labels go from -1"),
        (3, "ranking", "task is 'ranking'"),
    ],
)
def test_wrong_input_is_refused(place: int, value: object, message: str) -> None:
    arguments: list[Any] = [*GOOD]
    arguments[place] = value
    with pytest.raises(ValueError, match=message):
        evaluate(*arguments)


def test_missing_values_count_for_nothing() -> None:
    predictions, targets = np.random.default_rng(0).normal(size=(2, 12, 2))
    targets[:5, 0] = np.nan
    metrics = evaluate(predictions, targets, None, "regression")
    assert metrics["mse"] == pytest.approx(np.nanmean((predictions - targets) ** 2))
    first = spearmanr(predictions[5:, 0], targets[5:, 0]).statistic
    second = spearmanr(predictions[:, 1], targets[:, 1]).statistic
    assert metrics["spearman"] == pytest.approx((first + second) / 2)


def test_labels_are_ranked_task_by_task_over_what_is_known() -> None:
    labels = np.array([[1, 0, 1], [0, 0, np.nan], [1, np.nan, 0], [0, 0, 0], [np.nan, 0, 1]])
    predictions = np.array([[3.0, 1, 1], [2, 2, 9], [1, 3, 2], [0, 4, 3], [9, 5, 4]])
    # Precision at the positives of the first task is 1/1 and 2/3, of the third 1/1 and 2/4; the second has
    # no positive.
    metrics = evaluate(predictions, labels, labels, "multilabel")
    assert metrics["average_precision"] == pytest.approx(((1 + 2 / 3) / 2 + (1 + 2 / 4) / 2) / 2)
    # Pairs in order: 3 of 4 and 2 of 4.
    assert metrics["roc_auc"] == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert np.isnan(label_rankings(predictions, labels)["roc_auc"][1])
    assert evaluate(predictions[:, 1:2], labels[:, 1:2], labels[:, 1:2], "multilabel").keys() == {"mse"}
