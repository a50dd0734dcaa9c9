"""Standardisation per channel against NumPy's mean and standard deviation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_kernels.preprocessing import channels


def batches(x: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (x[start : start + size] for start in range(0, len(x), size))


@settings(max_examples=30, deadline=None)
@given(
    shape=st.sampled_from([(3,), (5, 2), (4, 4, 3)]),
    size=st.integers(1, 25),
    offset=st.sampled_from([0.0, 100.0, 1e8]),
    seed=st.integers(0, 100),
)
def test_statistics_for_any_batches(shape: tuple[int, ...], size: int, offset: float, seed: int) -> None:
    x = offset + np.random.default_rng(seed).normal(size=(20, *shape))
    statistics = channels.fit(batches(x, size))
    axes = tuple(range(x.ndim - 1))
    np.testing.assert_allclose(statistics.mean, x.mean(axis=axes), rtol=1e-14, atol=1e-14)
    # The data carry an error of eps * offset each, the deviations no better.
    np.testing.assert_allclose(statistics.scale, x.std(axis=axes), rtol=1e-12 + 1e-15 * offset)


def test_standardised_training_set() -> None:
    x = np.random.default_rng(0).integers(0, 256, (50, 6, 6, 3), dtype=np.uint8)
    standardised = channels.apply(channels.fit([x]), x)
    assert standardised.dtype == np.float64
    np.testing.assert_allclose(standardised.mean(axis=(0, 1, 2)), 0, atol=1e-13)
    np.testing.assert_allclose(standardised.std(axis=(0, 1, 2)), 1, rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e9, 7.3])
def test_constant_channel_becomes_zero_and_not_nan(value: float) -> None:
    x = np.random.default_rng(0).normal(size=(30, 5, 2))
    x[..., 1] = value
    statistics = channels.fit(batches(x, 7))
    assert (channels.apply(statistics, x)[..., 1] == 0).all()
    assert statistics.scale[1] == 1


@settings(max_examples=15)
@given(size=st.integers(1, 25), seed=st.integers(0, 100))
def test_each_position_by_itself(size: int, seed: int) -> None:
    x = np.random.default_rng(seed).integers(0, 2, (20, 5, 3), dtype=np.uint8)
    x[:, 2] = 1
    statistics = channels.fit(batches(x, size), each_position=True)
    standardised = channels.apply(statistics, x)
    constant = np.ptp(x, axis=0) == 0
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose(standardised.std(axis=0)[~constant], 1, rtol=1e-12)
    # Exactly zero, so that what is the same in all examples does not count.
    assert (standardised[:, constant] == 0).all()
    assert constant[2].all()
