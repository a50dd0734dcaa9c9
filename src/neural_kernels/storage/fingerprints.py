"""Fingerprints of everything that a result follows from: a finished result is taken over where they agree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from neural_kernels import __version__
from neural_kernels.blocks import KernelStore


def problem(facts: Any, *arrays: np.ndarray) -> str:
    """SHA-256 of this version, plain JSON data and arrays with their dtypes and shapes."""
    digest = hashlib.sha256(json.dumps([__version__, facts], sort_keys=True).encode())
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
