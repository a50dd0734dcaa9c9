"""Arrays inside .npz files, read without holding a whole file in memory.

An .npz file is a zip archive of .npy files. A member that is stored without compression is memory-mapped
at its place in the archive; a compressed one is decompressed a chunk of rows at a time.
"""

from __future__ import annotations

import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np

from neural_kernels.errors import UserError

_LOCAL_HEADER = struct.Struct("<26xHH")


@dataclass(frozen=True)
class Member:
    """An array of an .npz file by its header.

    ``offset`` is the place of its first byte in the file, or None where it is compressed.
    """

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    offset: int | None

    @property
    def source(self) -> str:
        return f"{self.path}, key {self.key}"


def keys(path: Path) -> tuple[str, ...]:
    """Names of the arrays in the file."""
    with _damage_named(path), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return tuple(name.removesuffix(".npy") for name in names if name.endswith(".npy"))


def open_member(path: Path, key: str) -> Member:
    """The array ``key`` by its header alone.

    Raises:
        UserError: damaged file, missing key, an array of Python objects, or fewer bytes than the header says.
    """
    present = keys(path)
    if key not in present:
        raise UserError(f"{path}: found the keys {', '.join(present) or '(none)'}, expected {key}")
    with _damage_named(path), zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{key}.npy")
        with archive.open(info) as stream:
            shape, fortran_order, dtype = _read_header(stream)
            header_bytes = stream.tell()
    if dtype.hasobject:
        raise UserError(f"{path}: key {key} holds Python objects, expected an array of numbers")
    expected = header_bytes + math.prod(shape) * dtype.itemsize
    if info.file_size != expected:
        raise UserError(f"{path}: key {key} has {info.file_size} bytes, expected {expected} for {shape}")
    offset = None
    if info.compress_type == zipfile.ZIP_STORED:
        offset = _data_offset(path, info) + header_bytes
    return Member(path, key, shape, dtype, fortran_order, offset)


def load(member: Member) -> np.ndarray:
    """The whole array, in memory."""
    with _damage_named(member.path), np.load(member.path, allow_pickle=False) as archive:
        return archive[member.key]


def rows(member: Member, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """The array as (first row, at most ``count`` rows), in order.

    Rows of a stored array are views of the memory-mapped file: what is not touched is not read.
    A compressed array in column-major order has no rows to stream and is loaded whole.
    """
    if member.offset is not None or member.fortran_order:
        array = load(member) if member.offset is None else _map(member)
        for start in range(0, member.shape[0], count):
            yield start, array[start : start + count]
        return
    row_shape = member.shape[1:]
    row_bytes = math.prod(row_shape) * member.dtype.itemsize
    with (
        _damage_named(member.path),
        zipfile.ZipFile(member.path) as archive,
        archive.open(f"{member.key}.npy") as stream,
    ):
        _read_header(stream)
        for start in range(0, member.shape[0], count):
            size = min(count, member.shape[0] - start)
            content = stream.read(size * row_bytes)
            yield start, np.frombuffer(content, member.dtype).reshape(size, *row_shape)


def _map(member: Member) -> np.memmap:
    order: Literal["F", "C"] = "F" if member.fortran_order else "C"
    offset = 0 if member.offset is None else member.offset
    return np.memmap(member.path, member.dtype, mode="r", offset=offset, shape=member.shape, order=order)


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f".npy format version {version} is not one of numbers")


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    # The local header's name and extra field may differ in length from the central directory's.
    with path.open("rb") as file:
        file.seek(info.header_offset)
        name_bytes, extra_bytes = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    return info.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    # ValueError: not an .npy member. RuntimeError: encrypted, or an unknown compression.
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: damaged or not an .npz file ({error}), expected a complete one") from error
