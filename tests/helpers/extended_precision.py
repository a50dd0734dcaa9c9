"""A kernel in extended precision, for where engines in float64 disagree by more than rounding of the result."""

from __future__ import annotations

import numpy as np

PI = np.longdouble("3.14159265358979323846264338327950288")


def conv1d_ntk(x: np.ndarray, y: np.ndarray, layers: int = 2) -> np.longdouble:
    """NTK of one pair of sequences, (length, channels), under Conv1D with filters of 3, ReLU and Flatten.

    Follows the recursion of Arora et al. (2019) over equal positions, with W_std sqrt(2) and b_std 0.1.
    """
    weight, bias = np.longdouble(np.sqrt(2.0)) ** 2, np.longdouble(0.1) ** 2
    x, y = x.astype(np.longdouble), y.astype(np.longdouble)

    def convolved(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, 1)
        return weight * (padded[:-2] + padded[1:-1] + padded[2:]) / 3 + bias

    own_x, own_y, K = ((a * b).mean(axis=1) for a, b in ((x, x), (y, y), (x, y)))
    T = np.zeros_like(K)
    for _ in range(layers):
        own_x, own_y, K, T = convolved(own_x), convolved(own_y), convolved(K), convolved(T) - bias
        T = T + K
        size = np.sqrt(own_x * own_y)
        c = K / size
        # Equal sequences around a position, which rounding would else take for an angle of 1e-10.
        c = np.where(np.abs(c - 1) < 1e-17, 1, c)
        theta = np.arccos(c)
        K, T = size * (np.sqrt(1 - c * c) + (PI - theta) * c) / (2 * PI), T * (PI - theta) / (2 * PI)
        own_x, own_y = own_x / 2, own_y / 2
    return weight * T.mean() + weight * K.mean() + bias
