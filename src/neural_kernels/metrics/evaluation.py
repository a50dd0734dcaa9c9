"""How good predictions are: loss and accuracy in a classification, error and correlation in a regression,
error and ranking of each label in a multilabel task."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import get_args

import numpy as np

from neural_kernels.datasets.pools import Task

# The metric whose power law is fitted and which chooses the ridge, and the one that people compare by.
LOSS: dict[Task, str] = {"classification": "loss", "regression": "mse", "multilabel": "mse"}
SCORE: dict[Task, str] = {
    "classification": "accuracy",
    "regression": "spearman",
    "multilabel": "average_precision",
}
# scikit-learn's names of them without their ending: it and SciPy's statistics take seconds to import, which a solve
# does not wait for.
RANKINGS = ("average_precision", "roc_auc")
# A second score, with more classes than these: with ten, half of all guesses are right.
TOP5 = "top5_accuracy"
TOP5_ABOVE = 10


def evaluate(
    predictions: np.ndarray, targets: np.ndarray, labels: np.ndarray | None, task: Task
) -> dict[str, float]:
    """Metrics of ``predictions`` on one test set.

    Args:
        predictions: (n, C) float64.
        targets: (n, C) float64; centred one-hot, one_hot - 1/C, in a classification; in any other task NaN
            where the value or label is missing.
        labels: (n,) integers in [0, C) in a classification; (n, C) of 0, 1 and NaN in a multilabel task; unused
            in a regression.

    Returns:
        In a classification ``loss``, the mean over examples and classes of the squared error (paper,
        section 3), ``accuracy`` of the largest output (the lowest class among equals) and, with more than
        ``TOP5_ABOVE`` classes, ``top5_accuracy``; accuracies in [0, 1].
        In a regression ``mse`` over all known values, and ``spearman`` and ``pearson``, means over the C
        columns. A correlation with something constant does not exist: where a column of the predictions or
        targets is constant, both are left out.
        In a multilabel task ``mse`` over all known labels, and ``average_precision`` and ``roc_auc``, means over
        the columns in which both labels occur, as OGB's evaluator has them; left out where there is none.

    Raises:
        ValueError: a task, shape, label or value other than described here.
    """
    if task not in LOSS:
        raise ValueError(f"task is {task!r}, expected one of {', '.join(get_args(Task))}")
    predictions, targets = np.asarray(predictions), np.asarray(targets)
    _check("predictions", predictions)
    _check("targets", targets, missing=task != "classification")
    if predictions.shape != targets.shape:
        raise ValueError(
            f"predictions have shape {predictions.shape} and targets {targets.shape}, expected one"
        )
    squared_error = float(np.nanmean((predictions - targets) ** 2))
    if task == "regression":
        return {"mse": squared_error, **_correlations(predictions, targets)}
    if task == "multilabel":
        if labels is None:
            raise ValueError("a multilabel task needs labels")
        return {"mse": squared_error, **_mean_rankings(predictions, np.asarray(labels))}
    labels = _checked_labels(labels, predictions.shape)
    metrics = {"loss": squared_error, "accuracy": top_accuracy(predictions, labels, 1)}
    if predictions.shape[1] > TOP5_ABOVE:
        metrics[TOP5] = top_accuracy(predictions, labels, 5)
    return metrics


def top_accuracy(predictions: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of the examples whose label is among the ``k`` largest outputs; lower classes win ties.

    Args:
        predictions: (n, C) float64.
        labels: (n,) integers in [0, C).
    """
    own = np.take_along_axis(predictions, labels[:, None], axis=1)
    lower = np.arange(predictions.shape[1]) < labels[:, None]
    ahead = np.sum((predictions > own) | ((predictions == own) & lower), axis=1)
    return float(np.mean(ahead < k))


def label_rankings(
    predictions: np.ndarray, labels: np.ndarray, names: Sequence[str] = RANKINGS
) -> dict[str, np.ndarray]:
    """Those ``RANKINGS`` of each column over its known labels, (C,) float64; NaN where not both labels occur.

    Args:
        predictions: (n, C) float64.
        labels: (n, C) of 0, 1 and NaN.
    """
    from sklearn import metrics

    score = {name: getattr(metrics, f"{name}_score") for name in names}
    rankings = {name: np.full(labels.shape[1], np.nan) for name in names}
    for column, (scores, own) in enumerate(zip(predictions.T, labels.T, strict=True)):
        known = ~np.isnan(own)
        if 0 < own[known].sum() < known.sum():
            for name in names:
                rankings[name][column] = score[name](own[known], scores[known])
    return rankings


def mean_average_precision(predictions: np.ndarray, targets: np.ndarray) -> float:
    """Mean over the columns in which both labels occur; NaN where there is none.

    Args:
        predictions: (n, C) float64.
        targets: (n, C) float64, labels standardised in any way, so that of the two values of a column the larger
            one is the label 1; NaN where a label is missing.
    """
    with warnings.catch_warnings():
        # A column without any label: it has no mean either.
        warnings.simplefilter("ignore", RuntimeWarning)
        labels = np.where(np.isnan(targets), np.nan, targets == np.nanmax(targets, axis=0))
        return float(
            np.nanmean(label_rankings(predictions, labels, ("average_precision",))["average_precision"])
        )


def _mean_rankings(predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    if labels.shape != predictions.shape:
        raise ValueError(
            f"predictions have shape {predictions.shape} and labels {labels.shape}, expected one"
        )
    rankings = label_rankings(predictions, labels)
    return {
        name: float(np.nanmean(values)) for name, values in rankings.items() if not np.isnan(values).all()
    }


def _correlations(predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    from scipy import stats

    known = ~np.isnan(targets)
    pairs = [(predictions[rows, c], targets[rows, c]) for c, rows in enumerate(known.T)]
    if any(len(theirs) < 2 or np.ptp(ours) == 0 or np.ptp(theirs) == 0 for ours, theirs in pairs):
        return {}
    with warnings.catch_warnings():
        # Columns that differ by rounding only: the value is as good as the predictions are.
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        pearson = [stats.pearsonr(ours, theirs).statistic for ours, theirs in pairs]
    spearman = [stats.spearmanr(ours, theirs).statistic for ours, theirs in pairs]
    return {"spearman": float(np.mean(spearman)), "pearson": float(np.mean(pearson))}


def _check(name: str, values: np.ndarray, missing: bool = False) -> None:
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"{name} have shape {values.shape}, expected (examples, outputs), none of them 0")
    if values.dtype != np.float64:
        raise ValueError(f"{name} are {values.dtype}, expected float64")
    bad = np.argwhere(np.isinf(values) if missing else ~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise ValueError(f"{name} are not finite in {len(bad)} places, first at [{row}, {column}]")


def _checked_labels(labels: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    if labels is None:
        raise ValueError("a classification needs labels")
    labels = np.asarray(labels)
    if labels.shape != shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are {labels.dtype} {labels.shape}, expected integers {shape[:1]}")
    if labels.min() < 0 or labels.max() >= shape[1]:
        raise ValueError(f"labels go from {labels.min()} to {labels.max()}, expected 0 to {shape[1] - 1}")
    return labels
