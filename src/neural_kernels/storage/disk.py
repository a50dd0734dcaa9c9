"""A disk that is full, read-only or closed to this user, in one sentence; and room that is taken before it is used.

A write through a memory map on a full disk ends the process with SIGBUS, where a reservation is an error that can be
named.
"""

from __future__ import annotations

import errno
import io
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neural_kernels.errors import UserError
from neural_kernels.storage.strict_yaml import shown

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
WITHOUT_RESERVATION = (errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)

_PIECE = 2**20


def is_of_the_disk(error: BaseException) -> bool:
    """Whether ``error`` says that a disk is full, or that this user cannot write or read there."""
    return isinstance(error, OSError) and error.errno in (*FULL, *CLOSED)


def sentence(error: OSError, path: str | os.PathLike[str] | None = None, needed: int | None = None) -> str:
    """What a person reads: the file, the cause, and what is to be done.

    Args:
        path: that could not be written, or a folder that it is in, where ``error`` does not have it.
        needed: bytes that it takes, where known.
    """
    named = error.filename or path
    where = Path(os.fsdecode(named)) if named else None
    cause = error.strerror or str(error)
    if error.errno not in FULL:
        return f"{where or 'a file'}: {cause}, expected a place that can be written and read"
    asked = "" if needed is None else f", {needed:,} bytes were needed"
    free = "" if where is None else f", {_free(where):,} are free"
    limit = " (a limit of the process, as of ulimit -f)" if error.errno == errno.EFBIG else ""
    return (
        f"{where or 'a file'}: {cause}{limit}{asked}{free}; make room and run the same command again, which goes on "
        "from what is finished"
    )


def _free(path: Path) -> int:
    folder = path.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextmanager
def naming(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn what the disk refuses within the block into a UserError that names ``path``."""
    try:
        yield
    except OSError as error:
        if not is_of_the_disk(error):
            raise
        named = OSError(error.errno, error.strerror or os.strerror(error.errno or 0))
        raise UserError(sentence(named, path, needed)) from error


def reserve(path: Path, size: int, name: Path | None = None) -> None:
    """Take ``size`` bytes of the disk for the file in ``path``, whose content stays; what is added is zeros.

    Args:
        name: what the file will be called, for the error.

    Raises:
        UserError: there is no room; the file is removed.
    """
    try:
        with naming(name or path, size), path.open("r+b" if path.exists() else "w+b") as file:
            reserve_open(file.fileno(), size)
    except UserError:
        path.unlink(missing_ok=True)
        raise


def new_array(
    path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike, name: Path | None = None
) -> np.memmap:
    """A new .npy file of zeros, (*shape), memory-mapped for writing, whose room is taken.

    Args:
        name: what the file will be called, for the error.

    Raises:
        UserError: there is no room, or the disk is closed to this user; no file is left.
    """
    described = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, described)
    size = header.tell() + math.prod(shape) * np.dtype(dtype).itemsize
    with naming(name or path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        reserve(path, size, name)
        with path.open("r+b") as file:
            file.write(header.getvalue())
        return np.lib.format.open_memmap(path, mode="r+")


def reserve_open(descriptor: int, size: int) -> None:
    """Take ``size`` bytes of the disk for an open file.

    Raises:
        OSError: there is no room.
    """
    if size == 0:
        return
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
            return
        except OSError as error:
            if error.errno not in WITHOUT_RESERVATION:
                raise
    for start in range(0, size, _PIECE):
        piece = os.pread(descriptor, min(_PIECE, size - start), start)
        whole = piece.ljust(min(_PIECE, size - start), b"\0")
        done = 0
        while done < len(whole):
            done += os.pwrite(descriptor, whole[done:], start + done)


def check_folder(option: str, folder: Path, writes: bool) -> None:
    """Raise UserError where ``folder`` is no folder and cannot become one, or nothing can be written there."""
    try:
        there = folder.absolute()
        while not there.exists():
            there = there.parent
        if not there.is_dir():
            raise UserError(f"{option} is {folder}, but {there} is no folder, expected a place for one")
    except OSError as error:
        raise UserError(
            f"{option} is {shown(str(folder))}, which cannot be a folder: {error.strerror}"
        ) from None
    if writes and not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{option} is {folder}, but {there} may not be written to")
