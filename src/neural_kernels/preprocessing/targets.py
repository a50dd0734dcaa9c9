"""What the regression is fitted to: centred one-hot labels, or standardised values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.preprocessing.channels import SMALLEST_SPREAD


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


def fit_scaling(values: np.ndarray, labels: bool = False) -> TargetScaling:
    """Mean and standard deviation of each task over the training examples (n, tasks) whose value is not NaN.

    Args:
        labels: the tasks are labels, some of which may be missing, or all the same, in a small training set: of
            these the scale is 1, and the mean 0 where there is no label at all.

    Raises:
        UserError: without ``labels``, a task whose training values are all missing, or all the same.
    """
    known = ~np.isnan(values)
    if labels:
        counts = known.sum(axis=0)
        mean = np.nansum(values, axis=0) / np.maximum(counts, 1)
        scale = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / np.maximum(counts, 1))
        return TargetScaling(mean, np.where(scale == 0, 1.0, scale))
    for task, (column, there) in enumerate(zip(values.T, known.T, strict=True)):
        if not there.any():
            raise UserError(f"task {task}: none of the {len(values)} training values is there, expected some")
        found = column[there]
        if found.max() - found.min() <= SMALLEST_SPREAD:
            raise UserError(
                f"task {task}: all {len(found)} training values are {found[0]}, expected values that differ"
            )
    return TargetScaling(np.nanmean(values, axis=0), np.nanstd(values, axis=0))


def standardize(scaling: TargetScaling, values: np.ndarray) -> np.ndarray:
    """Values (n, tasks) as targets of mean 0 and standard deviation 1 over the training set; NaN stays NaN."""
    return (values - scaling.mean) / scaling.scale
