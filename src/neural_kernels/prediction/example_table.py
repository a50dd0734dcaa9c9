"""Predictions of test examples beside what was measured, one row an example and output: what pages of a report show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from neural_kernels.prediction.table import outputs_of


def rows(
    split: str,
    prediction: np.ndarray,
    labels: np.ndarray,
    described: Mapping[str, Any],
    spread: np.ndarray | None = None,
) -> pd.DataFrame:
    """Of one test set, in the units of the data.

    Args:
        prediction: (m, C) float64, of the targets that were solved for.
        labels: (m,) classes, or (m, C) values, NaN where none was measured.
        described: of the features (features.json).
        spread: (m, C) float64, what a new measurement is expected within, of the targets; None where it is not known.

    Returns:
        split, example (its place), output (its name), predicted, measured and spread (float64, NaN where not known); of
        classes one row an example, output empty, predicted and measured the numbers of classes.
    """
    if described["task"] == "classification":
        count = len(prediction)
        columns: dict[str, Any] = {
            "example": np.arange(count),
            "output": np.full(count, "", dtype=object),
            "predicted": prediction.argmax(axis=1).astype(np.float64),
            "measured": labels.astype(np.float64),
            "spread": np.full(count, np.nan),
        }
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
    }
    return pd.DataFrame({"split": np.full(prediction.size, split, dtype=object), **columns})
