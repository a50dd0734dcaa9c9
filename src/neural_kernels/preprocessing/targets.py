"""What the regression is fitted to: centred one-hot labels, or standardised values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neural_kernels.errors import UserError


@dataclass(frozen=True)
class TargetScaling:
    """target = (value - mean) / scale, for each output; value = mean + scale * target undoes it."""

    mean: np.ndarray
    scale: np.ndarray


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Labels (n,) as (n, classes) float64, 1 - 1/classes for the label's class and -1/classes elsewhere."""
    targets = np.full((len(labels), classes), -1.0 / classes)
    targets[np.arange(len(labels)), labels] += 1.0
    return targets


def fit_scaling(values: np.ndarray) -> TargetScaling:
    """Mean and standard deviation of each task over the training examples (n, tasks).

    Raises:
        UserError: a task whose training values are all the same.
    """
    constant = np.flatnonzero((values == values[0]).all(axis=0))
    if constant.size:
        task = constant[0]
        raise UserError(
            f"regression task {task}: all {len(values)} training values are {values[0, task]}, "
            "expected values that differ"
        )
    return TargetScaling(values.mean(axis=0), values.std(axis=0))


def standardize(scaling: TargetScaling, values: np.ndarray) -> np.ndarray:
    """Values (n, tasks) as targets of mean 0 and standard deviation 1 over the training set."""
    return (values - scaling.mean) / scaling.scale
