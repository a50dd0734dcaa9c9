"""Standardisation per channel, the last axis, or per feature, by statistics that are accumulated in batches."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

SMALLEST_SPREAD = 1e-150
"""Of values that differ: the squares of smaller deviations are no normal float64, and their mean no variance."""


@dataclass(frozen=True)
class ChannelStatistics:
    """``mean`` and ``scale``, float64: the standard deviation, or 1 for what is constant to ``SMALLEST_SPREAD``.

    Both are (channels,), or of an example's shape where each position has its own.
    """

    mean: np.ndarray
    scale: np.ndarray


def fit(batches: Iterable[np.ndarray], each_position: bool = False) -> ChannelStatistics:
    """Mean and standard deviation of each channel over all examples and positions.

    Args:
        batches: (n, ..., channels) arrays of any real dtype.
        each_position: over the examples alone, each position by itself.
    """
    shape: tuple[int, ...] = ()
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    low, high = np.array([np.inf]), np.array([-np.inf])
    for batch in batches:
        shape = batch.shape[1:] if each_position else batch.shape[-1:]
        values = np.asarray(batch, np.float64).reshape(-1, math.prod(shape))
        batch_mean = values.mean(axis=0)
        batch_squares = np.square(values - batch_mean).sum(axis=0)
        # Chan, Golub and LeVeque's update: stable where the mean is large beside the deviations.
        total = count + len(values)
        shift = batch_mean - mean
        mean = mean + shift * (len(values) / total)
        squares = squares + batch_squares + np.square(shift) * (count * len(values) / total)
        count = total
        low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
    # The mean of equal numbers is rounded: with the number itself, a constant channel becomes exactly zero.
    constant = high - low <= SMALLEST_SPREAD
    mean, scale = np.where(constant, low, mean), np.where(constant, 1.0, np.sqrt(squares / count))
    return ChannelStatistics(mean.reshape(shape), scale.reshape(shape))


def apply(statistics: ChannelStatistics, x: np.ndarray) -> np.ndarray:
    """``x`` (n, ..., channels) standardised, float64; what was constant becomes zero."""
    return (np.asarray(x, np.float64) - statistics.mean) / statistics.scale
