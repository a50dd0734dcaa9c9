"""The weights of a sum of kernels, chosen by what each would have predicted; no block is computed again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from neural_kernels.metrics.losses import mean_squared_error
from neural_kernels.solvers.cholesky import tasks_by_mask
from neural_kernels.solvers.criteria import InverseFacts, judge

STEPS = 4
"""A share is a multiple of one over this."""

MOST_EXAMPLES, MOST_WITH_GAPS = 1024, 512
"""On whose kernel weights are chosen; fewer where each output has labels of its own."""

By = Literal["loo", "likelihood"]


def shares(count: int) -> Iterator[tuple[float, ...]]:
    """Every way to share one among so many kernels in ``STEPS`` parts."""
    for ends in itertools.combinations(range(STEPS + count - 1), count - 1):
        bounds = (-1, *ends, STEPS + count - 1)
        yield tuple((after - before - 1) / STEPS for before, after in itertools.pairwise(bounds))


def examples_for(n: int, gaps: bool, seed: int) -> np.ndarray:
    """Places of those that weights are chosen on, at random and ascending."""
    most = min(n, MOST_WITH_GAPS if gaps else MOST_EXAMPLES)
    return np.sort(np.random.default_rng(seed).permutation(n)[:most])


def chosen(
    kernels: Sequence[np.ndarray], targets: np.ndarray, ridges: Sequence[float], by: By
) -> tuple[float, ...]:
    """The weights that are best at the best of ``ridges``.

    Args:
        kernels: (m, m) float64 each, of the same examples.
        targets: (m, C) float64, NaN where a label is missing.

    Returns:
        A weight for each kernel, some zero perhaps: a share over the mean of its diagonal.
    """
    scales = [float(np.diag(kernel).mean()) for kernel in kernels]
    there = ~np.isnan(targets).all(axis=0)
    targets = targets[:, there]
    best: tuple[float, ...] | None = None
    least = np.inf
    for share in shares(len(kernels)):
        weights = tuple(part / scale for part, scale in zip(share, scales, strict=True))
        total = sum(weight * kernel for weight, kernel in zip(weights, kernels, strict=True) if weight)
        assert isinstance(total, np.ndarray)
        for value in criterion(total, targets, ridges, by):
            if value < least:
                best, least = weights, value
    if best is None:
        # Targets that do not vary say nothing of the weights.
        return tuple(1 / scale / len(scales) for scale in scales)
    return best


def criterion(kernel: np.ndarray, targets: np.ndarray, ridges: Sequence[float], by: By) -> Iterator[float]:
    """The criterion at each ridge, from one eigendecomposition for every set of labels."""
    shape = targets.shape
    coefficients = [np.zeros(shape) for _ in ridges]
    diagonals = [np.full(shape, np.nan) for _ in ridges]
    determinants = [np.zeros(shape[1]) for _ in ridges]
    mean = float(np.diag(kernel).mean())
    for known, tasks in tasks_by_mask(~np.isnan(targets)):
        values, vectors = np.linalg.eigh(kernel[np.ix_(known, known)])
        projected = vectors.T @ targets[np.ix_(known, tasks)]
        squares = vectors**2
        for k, ridge in enumerate(ridges):
            # What rounding leaves of an eigenvalue that is zero is no less than its own size.
            shifted = np.maximum(values, 1e-15 * values[-1]) + ridge * mean
            coefficients[k][np.ix_(known, tasks)] = vectors @ (projected / shifted[:, None])
            diagonals[k][np.ix_(known, tasks)] = (squares @ (1 / shifted))[:, None]
            determinants[k][tasks] = np.log(shifted).sum()
    for alpha, diagonal, determinant in zip(coefficients, diagonals, determinants, strict=True):
        yield judge(by, targets, alpha, InverseFacts(diagonal, determinant), mean_squared_error)
