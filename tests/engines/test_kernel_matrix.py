"""What ``kernel_matrix`` takes: examples of one shape, lists of them too, and an architecture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neural_kernels import architectures, kernel_matrix
from neural_kernels.errors import UserError

FC = architectures.build("FC", depth=1)
X = np.random.default_rng(0).normal(size=(3, 4))


def test_a_list_is_the_array_that_it_makes() -> None:
    listed: Any = X.tolist()
    np.testing.assert_array_equal(kernel_matrix(FC, listed), kernel_matrix(FC, X))
    np.testing.assert_array_equal(kernel_matrix(FC, X, listed[:2]), kernel_matrix(FC, X, X[:2]))


@pytest.mark.parametrize(
    ("architecture", "x1", "x2", "said"),
    [
        ("FC3", X, None, "architecture is 'FC3', expected one as"),
        (FC, X, X[:, :2], r"x2 has examples of shape \(2,\), expected \(4,\)"),
        (FC, [[1.0, 2.0], [3.0]], None, "x1 is a list, expected an array"),
        (FC, X, [1.0, 2.0], "x2 is a list, expected an array"),
        (FC, None, None, "x1 is a NoneType, expected an array"),
    ],
)
def test_something_else_is_refused(architecture: Any, x1: Any, x2: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        kernel_matrix(architecture, x1, x2)
