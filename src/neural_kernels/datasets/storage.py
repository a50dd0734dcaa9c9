"""Large arrays written through memory maps, in files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from neural_kernels.errors import UserError


@contextmanager
def atomic_array(path: Path, shape: tuple[int, ...], dtype: np.dtype | type) -> Iterator[np.memmap]:
    """A writable memory-mapped .npy file that takes its name when the block ends without an error.

    Raises:
        UserError: the disk has no room for the array.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.dtype(dtype), shape=shape)
        _reserve(temporary, path)
        yield array
        array.flush()
        _publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(directory: Path) -> None:
    """Delete what a killed ``atomic_array`` left; for the one job that writes into ``directory``."""
    for leftover in directory.glob(".*.npy.*.tmp"):
        leftover.unlink(missing_ok=True)


def _reserve(temporary: Path, path: Path) -> None:
    # A write to a memory-mapped file on a full disk kills the process with SIGBUS; a reservation that
    # fails is an error that can be named. Not every system has the call.
    if not hasattr(os, "posix_fallocate"):
        return
    size = temporary.stat().st_size
    with temporary.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise UserError(f"{path}: the disk has no room for it, expected {size} bytes free") from error


def _publish(temporary: Path, path: Path) -> None:
    with temporary.open("r+b") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
