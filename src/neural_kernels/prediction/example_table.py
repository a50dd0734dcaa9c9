"""Predictions of single examples beside what was measured, one row an example and output, for pages of reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from neural_kernels.prediction.table import outputs_of

LEFT_OUT = "left-out"
"""The split of training examples that all others predict; no test set has such a name."""


def rows(
    split: str,
    prediction: np.ndarray,
    labels: np.ndarray,
    described: Mapping[str, Any],
    spread: np.ndarray | None = None,
    probabilities: np.ndarray | None = None,
    nearest: tuple[np.ndarray, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Of one split, in the units of the data.

    Args:
        prediction: (m, C) float64, of the targets that were solved for.
        labels: (m,) classes, or (m, C) values, NaN where none was measured.
        described: of the features (features.json).
        spread: (m, C) float64, what a new measurement is expected within, of the targets; None where it is not known.
        probabilities: (m, C) of classes, None where they are not known.
        nearest: the place (m,) of the training example that the kernel finds most alike, and their correlation (m,);
            None where they are not known.

    Returns:
        split, example (its place), output (its name), predicted, measured and spread (float64, NaN where not known); of
        classes one row an example, output empty, predicted and measured the numbers of classes, probability that of the
        class that is predicted, surprise minus the logarithm of the true one's, and loss the mean square over classes;
        nearest and likeness. What is not known is NaN.
    """
    near, likeness = (np.full(len(prediction), np.nan),) * 2 if nearest is None else nearest
    if described["task"] == "classification":
        count = len(prediction)
        each = np.arange(count)
        truth = np.eye(prediction.shape[1])[labels] - 1 / prediction.shape[1]
        columns: dict[str, Any] = {
            "example": each,
            "output": np.full(count, "", dtype=object),
            "predicted": prediction.argmax(axis=1).astype(np.float64),
            "measured": labels.astype(np.float64),
            "spread": np.full(count, np.nan),
            "probability": np.full(count, np.nan),
            "surprise": np.full(count, np.nan),
            "loss": ((prediction - truth) ** 2).mean(axis=1),
            "nearest": np.asarray(near, np.float64),
            "likeness": likeness,
        }
        if probabilities is not None:
            columns["probability"] = probabilities[each, prediction.argmax(axis=1)]
            columns["surprise"] = -np.log(np.maximum(probabilities[each, labels], 1e-300))
        return pd.DataFrame({"split": np.full(count, split, dtype=object), **columns})
    outputs = outputs_of(described)
    example, output = np.indices(prediction.shape)
    known = np.full(prediction.shape, np.nan) if spread is None else spread * outputs.scale
    columns = {
        "example": example.ravel(),
        "output": np.array(outputs.names, dtype=object)[output.ravel()],
        "predicted": (outputs.mean + outputs.scale * prediction).ravel(),
        "measured": labels.astype(np.float64).ravel(),
        "spread": known.ravel(),
        "nearest": np.asarray(near, np.float64)[example.ravel()],
        "likeness": np.asarray(likeness)[example.ravel()],
    }
    return pd.DataFrame({"split": np.full(prediction.size, split, dtype=object), **columns})
