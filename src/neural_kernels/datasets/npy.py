"""The headers of .npy arrays, read strictly, and .npy files as memory maps.

numpy evaluates a header as Python. Here it has to be what numpy writes for plain arrays, and no array is made before
the file has as many bytes as its header says.
"""

from __future__ import annotations

import math
import re
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np

from neural_kernels.errors import UserError

_MAGIC = b"\x93NUMPY"
_LENGTH = {(1, 0): struct.Struct("<H"), (2, 0): struct.Struct("<I"), (3, 0): struct.Struct("<I")}

# A header of a plain array has a hundred characters.
_LONGEST = 10_000
_MOST_AXES = 32
_MOST_BYTES = 2**62

# Python 2 wrote long numbers with an L.
_FIELDS = {
    "descr": re.compile(r"""'descr':\s*'([^']{1,50})'\s*(?:,|(?=\}))"""),
    "fortran_order": re.compile(r"""'fortran_order':\s*(True|False)\s*(?:,|(?=\}))"""),
    "shape": re.compile(
        r"""'shape':\s*\(\s*((?:[0-9]{1,19}L?\s*,\s*)*(?:[0-9]{1,19}L?\s*)?)\)\s*(?:,|(?=\}))"""
    ),
}


@dataclass(frozen=True)
class Header:
    """What an .npy header says of its array; ``nbytes`` are those of the entries."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: IO[bytes]) -> Header:
    """The header at the beginning of ``stream``, which is left at the first entry.

    Raises:
        ValueError: anything but the header of an array of numbers or strings; the text says what was found.
    """
    start = _exactly(stream, len(_MAGIC) + 2)
    version = (start[-2], start[-1])
    if not start.startswith(_MAGIC) or version not in _LENGTH:
        raise ValueError("it does not begin as an .npy file of version 1, 2 or 3")
    (length,) = _LENGTH[version].unpack(_exactly(stream, _LENGTH[version].size))
    if length > _LONGEST:
        raise ValueError(f"its header has {length} bytes, more than that of a plain array")
    return _parsed(_exactly(stream, length).decode("latin-1"))


def open_array(path: Path) -> np.ndarray:
    """The array of an .npy file, memory-mapped for reading.

    Raises:
        UserError: the file cannot be read, is no .npy file of numbers, or has more or fewer bytes than its header says.
    """
    try:
        with path.open("rb") as file:
            header = read_header(file)
            offset = file.tell()
            found = path.stat().st_size - offset
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: damaged or not an .npy file of numbers ({error}), expected a complete one"
        ) from None
    if found != header.nbytes:
        raise UserError(
            f"{path}: damaged or not an .npy file of numbers (it has {found} bytes of entries where its header says "
            f"{header.nbytes} for {header.shape} of {header.dtype}), expected a complete one"
        )
    return mapped(path, header, offset)


def mapped(path: Path, header: Header, offset: int, rows: tuple[int, int] | None = None) -> np.ndarray:
    """The entries at ``offset`` in ``path`` as a memory map, of an array in C order ``rows`` (first, end) alone."""
    shape = header.shape
    if rows is not None:
        first, end = rows
        offset += first * math.prod(shape[1:]) * header.dtype.itemsize
        shape = (end - first, *shape[1:])
    if not math.prod(shape):
        return np.empty(shape, header.dtype)  # a file cannot be mapped where it has no bytes
    order: Literal["F", "C"] = "F" if header.fortran_order else "C"
    return np.memmap(path, header.dtype, mode="r", offset=offset, shape=shape, order=order)


def _exactly(stream: IO[bytes], count: int) -> bytes:
    content = stream.read(count)
    if len(content) != count:
        raise ValueError("it ends within its header")
    return content


def _parsed(text: str) -> Header:
    text = text.strip()
    found = {name: pattern.findall(text) for name, pattern in _FIELDS.items()}
    left = text
    for pattern in _FIELDS.values():
        left = pattern.sub("", left)
    if "'descr': [" in text:
        raise ValueError("it holds an array of records, expected one of numbers")
    if any(len(values) != 1 for values in found.values()) or not re.fullmatch(r"\{[\s,]*\}", left):
        raise ValueError("its header is not that of an array of numbers")
    (descr,), (order,), (sizes,) = found["descr"], found["fortran_order"], found["shape"]
    shape = tuple(int(size) for size in re.findall("[0-9]+", sizes))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dtype = np.dtype(descr)
    except Exception as error:
        # numpy names no class for what it makes of a text that is no dtype.
        raise ValueError(f"its dtype is {descr!r} ({type(error).__name__})") from None
    if dtype.hasobject:
        raise ValueError(
            "it holds Python objects, as a list becomes whose rows differ in length, expected numbers"
        )
    if dtype.names is not None or dtype.subdtype is not None or not dtype.itemsize:
        raise ValueError(f"its dtype is {descr!r}, expected one of numbers")
    header = Header(shape, dtype, order == "True")
    if len(shape) > _MOST_AXES or math.prod(max(size, 1) for size in shape) * dtype.itemsize > _MOST_BYTES:
        raise ValueError(f"its header says the shape {shape}, more than any file holds")
    return header
