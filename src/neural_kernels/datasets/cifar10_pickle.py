"""The pickled batches of CIFAR-10, read without running anything that a pickle may hold.

A pickle names functions and calls them. The official batches name three: numpy's ``_reconstruct``,
``ndarray`` and ``dtype``. Here these names lead to the two inert classes below, and every other name is
refused, so that a doctored file can do nothing but fail. Before it is read, a pickle is looked through for
instructions that no batch needs: nine bytes can ask for gigabytes, and a few hundred for nested lists without end.
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
            raise pickle.UnpicklingError(f"an array of dtype {str(name)[:40]!r}, expected u1")

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


# Of each image a label and a file name, each of which may be remembered.
_EACH_IMAGE = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"),
        *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET", "APPEND", "FRAME"),
    }
)
# Of each batch a dictionary, two lists, and an array with its shape, dtype and state.
_EACH_BATCH = frozenset(
    {
        *(
            "PROTO",
            "STOP",
            "MARK",
            "NONE",
            "NEWFALSE",
            "NEWTRUE",
            "EMPTY_DICT",
            "DICT",
            "SETITEM",
            "SETITEMS",
        ),
        *("EMPTY_LIST", "LIST", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "LONG1", "LONG"),
    }
)
_MOST_OF_AN_IMAGE, _MOST_OF_A_BATCH = 6, 1000

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


def check_opcodes(content: bytes, rows: int) -> None:
    """Refuse a pickle that is not made of what a batch of ``rows`` images needs, and not of more of it.

    Raises:
        pickle.UnpicklingError: an instruction that no batch needs or too many of them, or a place in the memory of
            the unpickler beyond them.
        ValueError: a text that is longer than what is left, or no instruction.
    """
    import pickletools

    most = _MOST_OF_AN_IMAGE * rows + _MOST_OF_A_BATCH
    of_a_batch = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(content)), start=1):
        of_a_batch += opcode.name in _EACH_BATCH
        if opcode.name not in _EACH_BATCH and opcode.name not in _EACH_IMAGE:
            raise pickle.UnpicklingError(
                f"it has the instruction {opcode.name}, which no CIFAR-10 batch needs"
            )
        if count > most or of_a_batch > _MOST_OF_A_BATCH:
            raise pickle.UnpicklingError(f"it has more instructions than a batch of {rows} images")
        # The unpickler makes room for every place up to the one that is named.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= most:
            raise pickle.UnpicklingError(
                f"it remembers an object at place {argument}, beyond those of a batch"
            )


def read_batch(content: bytes, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 3072) uint8, planes R, G, B, and labels (n,) integers of one batch.

    Args:
        rows: images that a batch has; memory and time are bounded by them and by the length of ``content``.

    Raises:
        Exception: whatever damage or malice leads to; the pickle module names no narrower class.
    """
    check_opcodes(content, rows)
    batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    if not isinstance(batch, dict):
        raise pickle.UnpicklingError("it holds no dictionary")
    found = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
    data, labels = found.get("data"), found.get("labels")
    if not isinstance(data, _Array) or data.values is None or not isinstance(labels, list):
        raise pickle.UnpicklingError("it lacks the array 'data' or the list 'labels'")
    if not all(type(label) is int and 0 <= label < 256 for label in labels):
        raise pickle.UnpicklingError("its labels are no integers from 0 to 255")
    return data.values, np.array(labels, np.int64)
