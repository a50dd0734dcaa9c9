"""Large arrays written through memory maps, in files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.files import flush_folder, take_temporary
from neural_kernels.locks import alone


@contextmanager
def atomic_array(path: Path, shape: tuple[int, ...], dtype: np.dtype | type) -> Iterator[np.memmap]:
    """A writable memory-mapped .npy file that takes its name when the block ends without an error.

    Raises:
        UserError: the disk has no room for the array.
    """
    temporary, lock = take_temporary(path)
    try:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.dtype(dtype), shape=shape)
        _reserve(temporary, path)
        yield array
        array.flush()
        _publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(lock)


@contextmanager
def made_alone(summary_file: Path, what: str) -> Iterator[bool]:
    """Be the one job that writes into the folder of ``summary_file``, which is written last.

    A second job waits for the first. What killed ones left is removed.

    Args:
        what: the work, for messages.

    Yields:
        Whether another job has written the summary since this one asked to begin.
    """
    before = _stamp(summary_file)
    with alone(summary_file.with_name(f".{summary_file.name}.lock"), what):
        for leftover in summary_file.parent.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        yield _stamp(summary_file) not in (None, before)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


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
    flush_folder(path.parent)
