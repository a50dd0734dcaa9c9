"""The pickled batches of CIFAR-10, read without running anything that a pickle may hold.

A pickle names functions and calls them. The official batches name three: numpy's ``_reconstruct``,
``ndarray`` and ``dtype``. Here these names lead to the two inert classes below, and every other name is
refused, so that a doctored file can do nothing but fail.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np


class _Dtype:
    """Stands for numpy's dtype of bytes, the only one in these files."""

    def __init__(self, name: Any, *_: Any) -> None:
        if name not in (b"u1", "u1"):
            raise pickle.UnpicklingError(f"an array of dtype {name!r}, expected u1")

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like, without meaning for single bytes."""


class _Array:
    """Stands for an ndarray until its shape and bytes arrive."""

    values: np.ndarray | None = None

    def __init__(self, *_: Any) -> None:
        """Class, shape and dtype of a placeholder that the state replaces."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran_order, content = state
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes):
            raise pickle.UnpicklingError("an array without bytes")
        self.values = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran_order else "C")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _Dtype,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no CIFAR-10 batch needs")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it names an external object, which no CIFAR-10 batch needs")


def read_batch(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 3072) uint8, planes R, G, B, and labels (n,) integers of one batch.

    Raises:
        Exception: whatever damage or malice leads to; the pickle module names no narrower class.
    """
    batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    if not isinstance(batch, dict):
        raise pickle.UnpicklingError("it holds no dictionary")
    found = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
    data, labels = found.get("data"), found.get("labels")
    if not isinstance(data, _Array) or data.values is None or not isinstance(labels, list):
        raise pickle.UnpicklingError("it lacks the array 'data' or the list 'labels'")
    return data.values, np.asarray(labels)
