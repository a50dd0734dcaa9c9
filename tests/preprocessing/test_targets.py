"""Centred one-hot labels and standardised values."""

from __future__ import annotations

import numpy as np
import pytest

from neural_kernels.errors import UserError
from neural_kernels.preprocessing import targets


def test_one_hot() -> None:
    found = targets.one_hot(np.array([2, 0]), 4)
    np.testing.assert_array_equal(found, [[-0.25, -0.25, 0.75, -0.25], [0.75, -0.25, -0.25, -0.25]])
    np.testing.assert_allclose(targets.one_hot(np.arange(10), 10).sum(axis=1), 0, atol=1e-15)


def test_standardised_values_and_back() -> None:
    values = np.random.default_rng(0).normal(3, 5, (50, 2))
    scaling = targets.fit_scaling(values)
    found = targets.standardize(scaling, values)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(found.std(axis=0), 1, rtol=1e-14)
    np.testing.assert_allclose(scaling.mean + scaling.scale * found, values, rtol=1e-13)


def test_constant_task() -> None:
    values = np.array([[1.0, 0.1], [2.0, 0.1], [3.0, 0.1]])
    with pytest.raises(UserError, match=r"task 1: all 3 training values are 0\.1"):
        targets.fit_scaling(values)


def test_missing_values_stay_missing() -> None:
    values = np.array([[1.0, 5.0], [np.nan, 7.0], [3.0, np.nan]])
    scaling = targets.fit_scaling(values)
    np.testing.assert_array_equal(scaling.mean, [2, 6])
    np.testing.assert_array_equal(targets.standardize(scaling, values), [[-1, -1], [np.nan, 1], [1, np.nan]])
    with pytest.raises(UserError, match="task 0: none of the 1 training values is there"):
        targets.fit_scaling(values[1:2])
