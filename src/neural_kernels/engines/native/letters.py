"""Examples of which every position is one of a few letters: one-hot sequences, standardised or not.

The covariance of two positions is then one of a small table, and an example is stored by the numbers of its letters,
a twentieth of the memory that its channels take. Every entry is the same to the bit.
"""

from __future__ import annotations

import numpy as np

MOST_LETTERS = 64
# With fewer channels, as of colours, there is nothing to gain.
FEWEST_CHANNELS = 4
CHUNK = 2**16


def find_letters(x: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Letters (k, channels) and their numbers (n, *positions) with ``letters[numbers] == x``, bit for bit.

    Returns:
        None where there are more than ``MOST_LETTERS``, fewer than ``FEWEST_CHANNELS``, or no positions.
    """
    *space, channels = x.shape
    if len(space) < 2 or channels < FEWEST_CHANNELS or not x.size:
        return None
    rows = x.reshape(-1, channels)
    weights = np.random.default_rng(0).standard_normal((channels,)).tolist()
    letters, keys = rows[:0], np.empty(0)
    numbers = np.empty(len(rows), np.int16)
    for begin in range(0, len(rows), CHUNK):
        chunk = rows[begin : begin + CHUNK]
        own = _keys(chunk, weights)
        new, first = np.unique(own, return_index=True)
        first = first[~np.isin(new, keys)]
        letters, keys = np.concatenate([letters, chunk[first]]), np.concatenate([keys, own[first]])
        if len(letters) > MOST_LETTERS:
            return None
        order = np.argsort(keys)
        found = order[np.searchsorted(keys, own, sorter=order)]
        # Two letters of one key, or numbers that equal but are not alike: 0 and -0, NaN.
        if not np.array_equal(_bits(letters)[found], _bits(chunk)):
            return None
        numbers[begin : begin + CHUNK] = found
    return np.ascontiguousarray(letters), numbers.reshape(space)


def _keys(rows: np.ndarray, weights: list[float]) -> np.ndarray:
    # Channel by channel: a matrix product could round a row by where it stands.
    keys = np.zeros(len(rows))
    for channel, weight in enumerate(weights):
        keys += weight * rows[:, channel]
    return keys


def _bits(x: np.ndarray) -> np.ndarray:
    x = np.ascontiguousarray(x)
    return x.view(np.dtype(f"u{x.dtype.itemsize}"))
