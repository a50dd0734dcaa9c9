"""In how many positions one-hot sequences differ from a reference, and which these are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST_NAMED = 6
"""Differences that a name lists."""


def commonest(x: np.ndarray) -> np.ndarray:
    """The letter that most of the sequences have at each position, (length,) its channel; of as many, the first.

    Args:
        x: (n, length, channels) one-hot.
    """
    counts = np.zeros(x.shape[1:], np.int64)
    for first in range(0, len(x), 4096):
        counts += np.asarray(x[first : first + 4096]).astype(bool).sum(axis=0)
    return counts.argmax(axis=1)


def differences(x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """How many positions of each sequence differ from ``reference``, (n,) int64."""
    return np.concatenate(
        [
            (np.asarray(x[first : first + 4096]).argmax(axis=2) != reference).sum(axis=1)
            for first in range(0, len(x), 4096)
        ]
    )


def named(x: np.ndarray, reference: np.ndarray, letters: str) -> list[str]:
    """What each sequence is called: its differences, as V39A, counted from 1; "reference" where there is none.

    Args:
        letters: of the channels; a channel beyond them is a position after the end, a hyphen.
    """
    known = letters + "-" * (np.shape(x)[2] - len(letters))
    names = []
    for sequence in x:
        own = np.asarray(sequence).argmax(axis=1)
        places: Sequence[int] = np.flatnonzero(own != reference).tolist()
        parts = [f"{known[reference[at]]}{at + 1}{known[own[at]]}" for at in places[:MOST_NAMED]]
        more = [f"and {len(places) - MOST_NAMED} more"] if len(places) > MOST_NAMED else []
        names.append(" ".join(parts + more) or "reference")
    return names
