"""Arrays inside .npz files, read without holding a whole file in memory.

An .npz file is a zip archive of .npy files. A member that is stored without compression is memory-mapped
at its place in the archive; a compressed one is decompressed a chunk of rows at a time.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from neural_kernels.datasets import compressed, npy
from neural_kernels.datasets.npy import Header
from neural_kernels.errors import UserError
from neural_kernels.sentences import similar

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LOCAL_SIGNATURE = b"PK\x03\x04"

# Of what is read as a whole: labels, names, and compressed arrays in column-major order.
LARGEST_LOADED = 2 * 2**30
CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Member:
    """An array of an .npz file by its header.

    ``offset`` is the place of its first byte in the file, or None where it is compressed.
    """

    path: Path
    key: str
    header: Header
    offset: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.header.shape

    @property
    def dtype(self) -> np.dtype:
        return self.header.dtype

    @property
    def source(self) -> str:
        return f"{self.path}, key {self.key}"


def keys(path: Path) -> tuple[str, ...]:
    """Names of the arrays in the file.

    Raises:
        UserError: damaged file, or two arrays of one name.
    """
    with _damage_named(path):
        names = [member.filename for member in compressed.zip_members(path)]
    found = tuple(name.removesuffix(".npy") for name in names if name.endswith(".npy"))
    for name, times in Counter(found).items():
        if times > 1:
            raise UserError(f"{path}: found the key {name!r} {times} times, expected each once")
    return found


def open_member(path: Path, key: str) -> Member:
    """The array ``key`` by its header alone.

    Raises:
        UserError: damaged file, missing key, an array of Python objects, or fewer bytes than the header says.
    """
    present = keys(path)
    if key not in present:
        meant = [name for name in present if name.lower() == key.lower()]
        hint = f": {meant[0]} is spelled otherwise" if meant else similar(key, list(present))
        raise UserError(f"{path}: found the keys {_listed(present)}, expected {key}{hint}")
    with _damage_named(path), zipfile.ZipFile(path) as archive:
        info = compressed.members_by_name(archive)[f"{key}.npy"]
        with archive.open(info) as stream:
            try:
                header = npy.read_header(stream)
            except ValueError as error:
                raise UserError(
                    f"{path}: key {key} is damaged or not an .npz file's array of numbers ({error}), expected one"
                ) from None
            header_bytes = stream.tell()
    expected = header_bytes + header.nbytes
    if info.file_size != expected:
        raise UserError(
            f"{path}: key {key} has {info.file_size} bytes, expected {expected} for {header.shape}"
        )
    offset = None
    if info.compress_type == zipfile.ZIP_STORED:
        with _damage_named(path):
            offset = _data_offset(path, info) + header_bytes
            if offset + header.nbytes > path.stat().st_size:
                raise EOFError(f"key {key} ends beyond the file")
    return Member(path, key, header, offset)


def load(member: Member) -> np.ndarray:
    """The whole array, in memory; its bytes are checked against the archive's checksum.

    Raises:
        UserError: a damaged file, or an array of more than ``LARGEST_LOADED`` bytes.
    """
    if member.header.nbytes > LARGEST_LOADED:
        raise UserError(
            f"{member.source}: an array of {member.header.nbytes:,} bytes that has to be read as a whole, expected at "
            f"most {LARGEST_LOADED:,}"
        )
    with _entries(member) as stream:
        return _array(stream.read(member.header.nbytes), member, member.shape)


def rows(member: Member, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """The array as (first row, at most ``count`` rows and some 64 MiB), in order.

    Rows of a stored array are views of the memory-mapped file: what is not touched is not read.
    A compressed array in column-major order has no rows to stream and is loaded whole.

    Raises:
        UserError: a damaged file, or an array that has to be loaded and is too large for that.
    """
    row_shape = member.shape[1:]
    row_bytes = math.prod(row_shape) * member.dtype.itemsize
    count = max(1, min(count, CHUNK_BYTES // max(1, row_bytes)))
    starts = range(0, member.shape[0], count)
    if member.header.fortran_order:
        array = load(member) if member.offset is None else _map(member)
        for start in starts:
            yield start, array[start : start + count]
        return
    if member.offset is not None:
        for start in starts:
            yield start, _map(member, (start, min(start + count, member.shape[0])))
        return
    with _entries(member) as stream:
        for start in starts:
            size = min(count, member.shape[0] - start)
            yield start, _array(stream.read(size * row_bytes), member, (size, *row_shape))


@contextmanager
def _entries(member: Member) -> Iterator[IO[bytes]]:
    with (
        _damage_named(member.path),
        zipfile.ZipFile(member.path) as archive,
        archive.open(compressed.members_by_name(archive)[f"{member.key}.npy"]) as stream,
    ):
        npy.read_header(stream)
        yield stream


def _map(member: Member, chosen: tuple[int, int] | None = None) -> np.ndarray:
    # A map of its own for each chunk: the pages of one that has been read through are given back.
    assert member.offset is not None
    with _damage_named(member.path):
        return npy.mapped(member.path, member.header, member.offset, chosen)


def _array(content: bytes, member: Member, shape: tuple[int, ...]) -> np.ndarray:
    if len(content) != math.prod(shape) * member.dtype.itemsize:
        raise EOFError(f"key {member.key} ends too early")
    order = "F" if member.header.fortran_order else "C"
    return np.frombuffer(content, member.dtype).reshape(shape, order=order)  # type: ignore[call-overload]


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    # The local header's name and extra field may differ in length from the central directory's.
    with path.open("rb") as file:
        file.seek(info.header_offset)
        signature, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if signature != _LOCAL_SIGNATURE:
        raise zipfile.BadZipFile(f"no member {info.filename!r} where the directory says it is")
    return info.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:20]) or "(none)"
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    # ValueError: not an .npy member.
    with compressed.damage_named(path, "not an .npz file", "a complete one", ValueError):
        yield
