"""Fingerprints of everything that a result follows from: a finished result is taken over where they agree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from neural_kernels.blocks import KernelStore

RESULTS = "0.2"
"""The first version that computes what this one does: raised where a result changes, so that none of before is taken
over. Not the version itself, which every commit changes."""


def problem(facts: Any, *arrays: np.ndarray) -> str:
    """SHA-256 of ``RESULTS``, plain JSON data and arrays with their dtypes and shapes."""
    digest = hashlib.sha256(json.dumps([RESULTS, facts], sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def content(store: KernelStore, blocks: Iterable[tuple[int, int]]) -> str:
    """SHA-256 of what some blocks of a store hold, by the checksums in their records.

    Raises:
        UserError: a record is missing or damaged.
    """
    digest = hashlib.sha256(store.fingerprint.encode())
    for i, j in blocks:
        digest.update(json.dumps([i, j, store.read_record(i, j)["checksums"]]).encode())
    return digest.hexdigest()
