"""The nine features of an atom, as OGB's data sets have them, and the channels that a kernel sees (paper, B.3).

A feature is an index into the values that it can take, the last of which stands for all others where there are
others: atomic number - 1, chirality, degree with hydrogens, charge + 5, hydrogens, radical electrons,
hybridisation, aromatic, in a ring. Bonds have no features.
"""

from __future__ import annotations

import numpy as np

from neural_kernels.errors import UserError

# Values that each feature can take, by the names of OGB's columns and in their order.
SIZES = {
    "atomic number": 119,
    "chirality": 5,
    "degree": 12,
    "charge": 12,
    "hydrogens": 10,
    "radical electrons": 6,
    "hybridisation": 6,
    "aromatic": 2,
    "in a ring": 2,
}
ORDINAL = ("degree", "charge", "hydrogens", "radical electrons")

CHANNELS = sum(1 if name in ORDINAL else size for name, size in SIZES.items())
"""Of one atom: a channel for each ordinal, and one for each value of the others."""


def encode(features: np.ndarray) -> np.ndarray:
    """Channels, (atoms, ``CHANNELS``) uint8, of indices (atoms, 9): ordinals as they come, the others one-hot.

    Bytes, because they are kept until preprocessing: half a million molecules have ten million atoms.
    """
    channels = np.zeros((len(features), CHANNELS), np.uint8)
    start = 0
    for column, (name, size) in enumerate(SIZES.items()):
        if name in ORDINAL:
            channels[:, start] = features[:, column]
            start += 1
        else:
            channels[np.arange(len(features)), start + features[:, column].astype(np.int64)] = 1
            start += size
    return channels


def check_features(source: str, features: np.ndarray, first_row: int = 0) -> None:
    """Refuse an index that its feature does not have.

    Args:
        features: (atoms, 9) integers, of the lines of ``source`` from ``first_row`` on, which counts from 0.
    """
    sizes = np.array(list(SIZES.values()))
    wrong = np.argwhere((features < 0) | (features >= sizes))
    if len(wrong):
        row, column = wrong[0]
        raise UserError(
            f"{source}: line {first_row + row + 1} has {features[row, column]} for {list(SIZES)[column]}, expected an "
            f"index from 0 to {sizes[column] - 1}"
        )
