"""The training example that a kernel finds most like another one, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from neural_kernels.prediction.likeness import most_alike


def test_the_largest_correlation_is_not_the_largest_entry() -> None:
    # Beside vectors, whose kernel is the product: (3, 4) is like (6, 8), however long (0, 100) is.
    train = np.array([[0.0, 100.0], [6.0, 8.0], [1.0, 0.0]])
    new = np.array([[3.0, 4.0], [1.0, 0.1]])
    theirs, own = (train**2).sum(axis=1), (new**2).sum(axis=1)
    places, likeness = most_alike(new @ train.T, own, theirs)
    assert places.tolist() == [1, 2]
    assert likeness.tolist() == [1.0, pytest.approx(1 / np.sqrt(1.01))]
    places, _ = most_alike(new @ train.T, own, theirs, without=np.array([1, 0]))
    assert places.tolist() == [0, 2]


def test_what_has_no_kernel_with_itself_is_like_nothing() -> None:
    places, likeness = most_alike(
        np.array([[0.0, 0.0], [0.0, 2.0]]), np.array([0.0, 4.0]), np.array([0.0, 1.0])
    )
    assert places.tolist() == [0, 1]
    assert likeness.tolist() == [0.0, 1.0]
