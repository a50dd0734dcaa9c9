"""The training example that a kernel finds most like another one."""

from __future__ import annotations

import numpy as np


def most_alike(
    cross: np.ndarray, own: np.ndarray, theirs: np.ndarray, without: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The training example with the largest correlation K(x, x') / sqrt(K(x, x) K(x', x')), and this.

    An example whose kernel with itself is zero is like no other one: its correlations are zero.

    Args:
        cross: (m, n), the kernel between examples and training examples; a copy in float64 is made.
        own: (m,) float64, the kernel of each example with itself.
        theirs: (n,) that of each training example.
        without: (m,) for each example the place of a training example that is passed over.

    Returns:
        Places (m,) and correlations (m,); of training examples that are as alike, the first.
    """
    alike = cross / _roots(theirs)
    rows = np.arange(len(alike))
    if without is not None:
        alike[rows, without] = -np.inf
    places = alike.argmax(axis=1)
    return places, np.minimum(alike[rows, places] / _roots(own), 1.0)  # rounding goes beyond


def _roots(variances: np.ndarray) -> np.ndarray:
    return np.where(variances > 0, np.sqrt(variances), np.inf)
