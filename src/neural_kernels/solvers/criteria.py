"""What judges a ridge without a validation set: from the training examples, the dual coefficients and A^-1 alone.

A is K + shift I, or for a task that lacks labels its rows and columns of the examples that have one; a is A^-1 b.
Each criterion is one number for all tasks, of which lower is better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Criterion = Literal["validation", "loo", "gcv", "likelihood"]
VALIDATION: Criterion = "validation"
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)

TITLES: dict[Criterion, str] = {
    "validation": "validation loss",
    "loo": "leave-one-out loss",
    "gcv": "generalised cross-validation",
    "likelihood": "negative log marginal likelihood",
}


@dataclass(frozen=True)
class InverseFacts:
    """What the criteria need of A^-1.

    Attributes:
        diagonal: (n, C) its diagonal, NaN where a label is missing.
        log_determinant: (C,) of A.
    """

    diagonal: np.ndarray
    log_determinant: np.ndarray


Loss = Callable[[np.ndarray, np.ndarray], float]


def judge(
    criterion: Criterion, targets: np.ndarray, coefficients: np.ndarray, inverse: InverseFacts, loss: Loss
) -> float:
    """The criterion of a solution.

    Args:
        criterion: any but ``VALIDATION``.
        targets: (n, C) float64, NaN where a label is missing.
        coefficients: (n, C) float64, zero there.
        loss: of predictions and targets, for ``loo``.
    """
    if criterion == "loo":
        return float(loss(leave_one_out_predictions(targets, coefficients, inverse.diagonal), targets))
    if criterion == "gcv":
        return generalised_cross_validation(coefficients, inverse.diagonal)
    return negative_log_likelihood(targets, coefficients, inverse.log_determinant)


def leave_one_out_predictions(
    targets: np.ndarray, coefficients: np.ndarray, diagonal: np.ndarray
) -> np.ndarray:
    """What each example is predicted by the others, (n, C) float64, zero where its label is missing.

    The residual of example i, left out, is a_i / [A^-1]_ii (Rasmussen and Williams 2006, eq. 5.12).
    """
    return np.nan_to_num(targets - coefficients / diagonal, nan=0.0)


def generalised_cross_validation(coefficients: np.ndarray, diagonal: np.ndarray) -> float:
    """The mean of (a_i / mean [A^-1]_jj)^2 over the labels of all tasks (Golub, Heath, Wahba 1979)."""
    known = ~np.isnan(diagonal)
    squares, counts = (coefficients**2).sum(axis=0), known.sum(axis=0)
    labelled = counts > 0
    means = np.nansum(diagonal, axis=0)[labelled] / counts[labelled]
    return float((squares[labelled] / means**2).sum() / counts.sum())


def negative_log_likelihood(
    targets: np.ndarray, coefficients: np.ndarray, log_determinant: np.ndarray
) -> float:
    """Minus the log marginal likelihood of a Gaussian process, in nats a label, its amplitude at the likeliest.

    The covariance of task t is s_t A_t; s_t = b^T A_t^-1 b / n_t is the likeliest. A task whose targets are all zero
    has none, and no part.
    """
    counts = (~np.isnan(targets)).sum(axis=0)
    products = np.nansum(targets * coefficients, axis=0)
    used = products > 0
    counts, products, log_determinant = counts[used], products[used], log_determinant[used]
    each = counts * (np.log(2 * np.pi * products / counts) + 1) + log_determinant
    return float(each.sum() / 2 / counts.sum()) if len(counts) else float("nan")
