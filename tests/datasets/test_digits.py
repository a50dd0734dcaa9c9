"""Scikit-learn's digits and the test set held out of them."""

from __future__ import annotations

import numpy as np
import pytest
from data_sections import Contents
from sklearn.datasets import load_digits

from neural_kernels.datasets import digits
from neural_kernels.datasets.options import TestSet
from neural_kernels.errors import UserError


def rows(x: np.ndarray, y: np.ndarray) -> list[tuple[bytes, int]]:
    return sorted(zip(map(bytes, x), y.tolist(), strict=True))


def test_train_and_test_are_all_the_digits(contents_of: Contents) -> None:
    dataset = digits.open_dataset(digits.Options())
    train, test = contents_of(dataset.train), contents_of(dataset.tests["digits"]())
    assert train[0].shape == (1400, 8, 8, 1)
    assert test[0].shape == (397, 8, 8, 1)
    assert train[0].max() == 16
    x, y = load_digits(return_X_y=True)
    assert sorted(rows(*train) + rows(*test)) == rows(x.astype(np.uint8), y)


def test_held_out_set_does_not_move_and_grows_as_a_prefix(
    contents_of: Contents,
) -> None:
    small = digits.open_dataset(digits.Options(test_sets={"digits": TestSet(examples=100)}))
    large = digits.open_dataset(digits.Options(test_sets={"digits": TestSet(examples=500)}))
    x_small, _ = contents_of(small.tests["digits"]())
    x_large, _ = contents_of(large.tests["digits"]())
    np.testing.assert_array_equal(x_large[:100], x_small)
    assert large.train.count == 1297


def test_holding_out_everything() -> None:
    with pytest.raises(UserError, match=r"data\.test_sets\.digits\.examples is 1797"):
        digits.open_dataset(digits.Options(test_sets={"digits": TestSet(examples=1797)}))
