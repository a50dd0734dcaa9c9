"""The Gaussian process' posterior: what holds for every kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_kernels.errors import UserError
from neural_kernels.prediction import posterior


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(1, 6), st.floats(1e-3, 10))
def test_data_lowers_the_variance_and_a_kernels_scale_does_not_matter(
    seed: int, n: int, m: int, shift: float
) -> None:
    random = np.random.default_rng(seed)
    z = random.normal(size=(n + m, n + m + 3))
    joint = z @ z.T

    def found(kernel: np.ndarray, noise: float, examples: Any) -> tuple[float, np.ndarray]:
        K = kernel[:examples, :examples] + noise * np.eye(examples)
        cross = kernel[n:, :examples]
        y = np.cos(np.arange(examples))[:, None]
        amplitude = posterior.amplitudes(y, np.linalg.solve(K, y))[0]
        explained = posterior.explained(cross, np.linalg.solve(K, cross.T))
        return amplitude, posterior.variances(np.diag(kernel)[n:], explained, 1.0)

    amplitude, variance = found(joint, shift, n)
    assert (variance >= 0).all()
    assert (variance <= np.diag(joint)[n:] * (1 + 1e-12)).all()
    assert (variance <= found(joint, shift, n - 1)[1] * (1 + 1e-9) + 1e-9).all()
    # A kernel times a number, with noise relative to it, is the same process once the amplitude is there.
    scaled, scaled_variance = found(7 * joint, 7 * shift, n)
    np.testing.assert_allclose(scaled * scaled_variance, amplitude * variance, rtol=1e-8, atol=1e-9)


def test_a_task_without_labels_has_no_amplitude() -> None:
    targets = np.array([[1.0, np.nan], [2.0, np.nan]])
    found = posterior.amplitudes(targets, np.array([[3.0, 0.0], [4.0, 0.0]]))
    np.testing.assert_array_equal(found, [(1 * 3 + 2 * 4) / 2, np.nan])


def test_the_root_of_a_singular_covariance_takes_the_least_jitter() -> None:
    z = np.random.default_rng(0).normal(size=(6, 2))
    covariance = z @ z.T
    root = posterior.root(covariance, 2.0)
    assert root.jitter in [2.0 * jitter for jitter in posterior.JITTERS]
    np.testing.assert_allclose(root.lower @ root.lower.T, covariance + root.jitter * np.eye(6), atol=1e-12)
    with pytest.raises(
        UserError, match="joint posterior covariance of 6 inputs is not positive semidefinite"
    ):
        posterior.root(covariance - 0.1 * np.eye(6), 2.0)
