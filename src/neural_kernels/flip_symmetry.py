"""A training set of images and their horizontal flips costs two quarters of its kernel, not four.

With the images first and their flips after them, K = [[A, B], [B, A]], where A and B are symmetric:
k(flip x, flip x') = k(x, x') for every architecture of layers here, since their weights are drawn alike for
mirrored positions, and so k(x, flip x') = k(flip x, x'). It needs features whose flips are the features of
the flips: whitening keeps that if it was fitted on a set closed under flips.
"""

from __future__ import annotations

import numpy as np

from neural_kernels.architectures import Aggregate, Architecture
from neural_kernels.blocks import Grid

TOLERANCE = 1e-10
"""Largest difference, relative to the largest feature, at which flipped features count as the same."""


def flip(images: np.ndarray) -> np.ndarray:
    """Images (n, height, width, channels), left and right exchanged."""
    return images[:, :, ::-1]


def closed_under_flips(features: np.ndarray, rows: int = 1024) -> bool:
    """Whether the second half of ``features`` are the flips of the first, to ``TOLERANCE``."""
    if features.ndim != 4 or len(features) % 2:
        return False
    half = len(features) // 2
    for start in range(0, half, rows):
        stop = min(start + rows, half)
        left, right = flip(features[start:stop]), features[half + start : half + stop]
        if np.max(np.abs(left - right)) > TOLERANCE * np.max(np.abs(left), initial=0.0):
            return False
    return True


def is_flip_symmetric(architecture: Architecture) -> bool:
    """Whether k(flip x, flip x') = k(x, x'): so for all layers over positions, not for graphs."""
    return not any(isinstance(layer, Aggregate) for layer in architecture.layers)


def same_block(grid: Grid, i: int, j: int) -> tuple[int, int, bool]:
    """The first block with the entries of block (i, j), i <= j, of a training set of images and their flips.

    Returns:
        Its row, its column, and whether it is to be transposed; (i, j, False) where the block is itself
        the first, or where the edge does not divide the number of images, so that blocks straddle both.
    """
    if grid.rows % (2 * grid.edge):
        return i, j, False
    half = grid.rows // (2 * grid.edge)
    if i >= half:
        return i - half, j - half, False
    if j >= half and j - half < i:
        return j - half, i + half, True
    return i, j, False


def is_symmetric_block(grid: Grid, i: int, j: int, flips: bool) -> bool:
    """Whether block (i, j) of a symmetric kernel is itself symmetric: on the diagonal, or on that of B."""
    if not grid.symmetric:
        return False
    half, rest = divmod(grid.rows, 2 * grid.edge)
    return i == j or (flips and rest == 0 and j - i == half)
