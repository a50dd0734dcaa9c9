"""What says which input to measure next."""

from __future__ import annotations

import numpy as np
import pytest

from neural_kernels.prediction.choosing import columns, expected_improvement


def test_expected_improvement_is_that_of_samples() -> None:
    drawn = 1.0 + 0.5 * np.random.default_rng(0).standard_normal(10**6)
    expected = np.maximum(drawn - 1.3, 0).mean()
    assert expected_improvement(np.array([1.0]), np.array([0.5]), 1.3)[0] == pytest.approx(expected, rel=0.01)


def test_the_bound_is_two_deviations_above_and_the_largest_comes_first() -> None:
    found = columns(np.array([1.0, 3.0, 2.0, 3.0]), np.array([0.5, 0.0, 1.0, 0.0]), 2.0)
    assert list(found) == ["expected_improvement", "upper_confidence_bound", "rank"]
    assert found["upper_confidence_bound"].tolist() == [2.0, 3.0, 4.0, 3.0]
    assert found["rank"].tolist() == [4, 1, 3, 2]  # of equal ones the first
    # What is certain improves by what it is above the best, or not at all.
    assert found["expected_improvement"][1] == pytest.approx(1.0)
    assert expected_improvement(np.array([1.0]), np.array([0.0]), 2.0)[0] == 0.0
