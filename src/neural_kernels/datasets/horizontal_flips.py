"""Features of images that their horizontal flips follow."""

from __future__ import annotations

import numpy as np

TOLERANCE = 1e-10
"""Largest difference, relative to the largest feature, at which flipped features count as the same."""


def flip(images: np.ndarray) -> np.ndarray:
    """Images (n, height, width, channels), left and right exchanged."""
    return images[:, :, ::-1]


def followed_by_flips(features: np.ndarray, images: int, rows: int = 1024) -> bool:
    """Whether after the first ``images`` of ``features`` come their flips, to ``TOLERANCE``."""
    if features.ndim != 4 or len(features) < 2 * images:
        return False
    for start in range(0, images, rows):
        stop = min(start + rows, images)
        left, right = flip(features[start:stop]), features[images + start : images + stop]
        if np.max(np.abs(left - right)) > TOLERANCE * np.max(np.abs(left), initial=0.0):
            return False
    return True
