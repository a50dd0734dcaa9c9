"""Checksums of what is written, so that no later stage trusts a file by its name.

An array is summed strip by strip, a strip being some whole rows: who reads a part of a file checks that part, in
the pass that reads it anyway. The sums stand in the JSON record beside the file. XXH3 (64 bits) is far
faster than any disk; it notices damage and mix-ups, not malice.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from xxhash import xxh3_64, xxh3_64_hexdigest

STRIP_BYTES = 16 * 2**20
"""Bytes of a strip, about: what a solver reads, checks and multiplies as one unit."""


def of_bytes(data: Any) -> str:
    """Checksum of bytes, or of whatever else has some in one piece, as a C-contiguous array."""
    return xxh3_64_hexdigest(data)


_PIECE_BYTES = 2**20
"""Of a file that are in memory at a time."""


def of_file(path: Path) -> str:
    """Checksum of a whole file.

    Raises:
        OSError: it cannot be read.
    """
    digest = xxh3_64()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


@dataclass(frozen=True)
class Strips:
    """Checksums of an array's strips.

    Attributes:
        rows: of a strip, but for the last one.
        sums: one a strip, in order.
    """

    rows: int
    sums: tuple[str, ...]

    @staticmethod
    def of(array: np.ndarray) -> Strips:
        """The checksums of an array of at least one axis; a memory map is read strip by strip."""
        rows = _strip_rows(array)
        return Strips(rows, tuple(_sum(array, first, first + rows) for first in range(0, len(array), rows)))

    @staticmethod
    def from_json(record: Mapping[str, Any], count: int) -> Strips | None:
        """What ``as_json`` gave, of an array of ``count`` rows; None where it says no such thing."""
        rows, sums = record.get("strip_rows"), record.get("checksums")
        if not isinstance(rows, int) or rows < 1 or not isinstance(sums, list):
            return None
        if len(sums) != -(-count // rows) or not all(isinstance(value, str) for value in sums):
            return None
        return Strips(rows, tuple(sums))

    def as_json(self) -> dict[str, Any]:
        """Plain data for a record."""
        return {"strip_rows": self.rows, "checksums": list(self.sums)}

    def covering(self, first: int, end: int) -> Iterator[tuple[int, int, str]]:
        """The strips that rows ``first`` to ``end`` touch: first row, the row after the last that it may have, sum."""
        for strip in range(first // self.rows, -(-end // self.rows)):
            yield strip * self.rows, (strip + 1) * self.rows, self.sums[strip]

    def damaged(self, array: np.ndarray, first: int = 0, end: int | None = None) -> int | None:
        """The first row of a strip that is not what it was, among those that rows ``first`` to ``end`` touch."""
        for begin, after, expected in self.covering(first, len(array) if end is None else end):
            if _sum(array, begin, after) != expected:
                return begin
        return None


class StripsInPassing:
    """The checksums that ``Strips.of`` gives, of an array whose rows come in pieces, in order."""

    def __init__(self, array: np.ndarray) -> None:
        """Of ``array``'s shape and dtype; nothing of it is read."""
        self._rows, self._digest, self._missing = _strip_rows(array), xxh3_64(), _strip_rows(array)
        self._sums: list[str] = []

    def add(self, piece: np.ndarray) -> None:
        """The next rows, C-contiguous."""
        while len(piece):
            taken, piece = piece[: self._missing], piece[self._missing :]
            self._digest.update(taken.data)
            self._missing -= len(taken)
            if not self._missing:
                self._close_strip()

    def strips(self) -> Strips:
        """Of all rows, after the last one."""
        if self._missing < self._rows:
            self._close_strip()
        return Strips(self._rows, tuple(self._sums))

    def _close_strip(self) -> None:
        self._sums.append(self._digest.hexdigest())
        self._digest, self._missing = xxh3_64(), self._rows


def _strip_rows(array: np.ndarray) -> int:
    row_bytes = array.dtype.itemsize * int(np.prod(array.shape[1:]))
    return max(1, STRIP_BYTES // max(1, row_bytes))


def _sum(array: np.ndarray, first: int, end: int) -> str:
    found = of_bytes(np.ascontiguousarray(array[first:end]))
    let_go(array)
    return found


def let_go(array: np.ndarray) -> None:
    """Give the pages of a memory map back, which count as this process' memory; of another array, nothing happens."""
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
