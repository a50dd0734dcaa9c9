"""Large arrays written through memory maps, in files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from neural_kernels.storage import disk
from neural_kernels.storage.files import flush_folder, take_temporary
from neural_kernels.storage.locks import alone


@contextmanager
def atomic_array(path: Path, shape: tuple[int, ...], dtype: np.dtype | type) -> Iterator[np.memmap]:
    """A writable memory-mapped .npy file that takes its name when the block ends without an error.

    Raises:
        UserError: the disk has no room for the array, or is closed to this user.
    """
    with disk.naming(path):
        temporary, lock = take_temporary(path)
    try:
        array = disk.new_array(temporary, shape, dtype, path)
        yield array
        with disk.naming(path):
            array.flush()
            _publish(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
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


def _publish(temporary: Path, path: Path) -> None:
    with temporary.open("r+b") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    flush_folder(path.parent)
