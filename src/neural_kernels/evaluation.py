"""How good predictions are: loss and accuracy in a classification, error and correlation in a regression."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
from scipy import stats

Task = Literal["classification", "regression"]

# The metric whose power law is fitted and which chooses the ridge, and the one that people compare by.
LOSS: dict[Task, str] = {"classification": "loss", "regression": "mse"}
SCORE: dict[Task, str] = {"classification": "accuracy", "regression": "spearman"}
# A second score, with more classes than these: with ten, half of all guesses are right.
TOP5 = "top5_accuracy"
TOP5_ABOVE = 10


def evaluate(
    predictions: np.ndarray, targets: np.ndarray, labels: np.ndarray | None, task: Task
) -> dict[str, float]:
    """Metrics of ``predictions`` on one test set.

    Args:
        predictions: (n, C) float64.
        targets: (n, C) float64; centred one-hot, one_hot - 1/C, in a classification.
        labels: (n,) integers in [0, C), needed in a classification and unused in a regression.
        task: "classification" or "regression".

    Returns:
        In a classification ``loss``, the mean over examples and classes of the squared error (paper,
        section 3), ``accuracy`` of the largest output (the lowest class among equals) and, with more than
        ``TOP5_ABOVE`` classes, ``top5_accuracy``; accuracies in [0, 1].
        In a regression ``mse``, and ``spearman`` and ``pearson``, means over the C columns. A correlation
        with something constant does not exist: where a column of the predictions or targets is
        constant, both are left out.

    Raises:
        ValueError: a task, shape, label or value other than described here.
    """
    if task not in LOSS:
        raise ValueError(f"task is {task!r}, expected classification or regression")
    predictions, targets = np.asarray(predictions), np.asarray(targets)
    _check("predictions", predictions)
    _check("targets", targets)
    if predictions.shape != targets.shape:
        raise ValueError(
            f"predictions have shape {predictions.shape} and targets {targets.shape}, expected one"
        )
    squared_error = float(np.mean((predictions - targets) ** 2))
    if task == "regression":
        return {"mse": squared_error, **_correlations(predictions, targets)}
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


def _correlations(predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    if np.any(np.ptp(predictions, axis=0) == 0) or np.any(np.ptp(targets, axis=0) == 0):
        return {}
    columns = range(predictions.shape[1])
    with warnings.catch_warnings():
        # Columns that differ by rounding only: the value is as good as the predictions are.
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        pearson = [stats.pearsonr(predictions[:, c], targets[:, c]).statistic for c in columns]
    spearman = [stats.spearmanr(predictions[:, c], targets[:, c]).statistic for c in columns]
    return {"spearman": float(np.mean(spearman)), "pearson": float(np.mean(pearson))}


def _check(name: str, values: np.ndarray) -> None:
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"{name} have shape {values.shape}, expected (examples, outputs), none of them 0")
    if values.dtype != np.float64:
        raise ValueError(f"{name} are {values.dtype}, expected float64")
    bad = np.argwhere(~np.isfinite(values))
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
