"""Large arrays written through memory maps, in files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from neural_kernels import disk


@contextmanager
def atomic_array(path: Path, shape: tuple[int, ...], dtype: np.dtype | type) -> Iterator[np.memmap]:
    """A writable memory-mapped .npy file that takes its name when the block ends without an error.

    Raises:
        UserError: the disk has no room for the array, or is closed to this user.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        array = disk.new_array(temporary, shape, dtype, path)
        yield array
        with disk.naming(path):
            array.flush()
            _publish(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_leftovers(directory: Path) -> None:
    """Delete what a killed ``atomic_array`` left; for the one job that writes into ``directory``."""
    for leftover in directory.glob(".*.npy.*.tmp"):
        leftover.unlink(missing_ok=True)


def _publish(temporary: Path, path: Path) -> None:
    with temporary.open("r+b") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
