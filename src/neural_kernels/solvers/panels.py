"""A panel of a stored block: what is read, kept, multiplied and counted as one unit of work.

A block is cut into panels of some of its rows, the strips that its checksums are of, so that what is in flight
stays small whatever the block size, threads have equal work, and a panel is checked in the pass that reads it.
Each entry of a panel is used twice while it is in the processor's cache: P V for the panel's rows and P^T U for its
columns. Of a diagonal block, which is stored whole, a panel begins at the diagonal; only its square there is used
once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neural_kernels.blocks import KernelStore, StoredBlock
from neural_kernels.errors import DamagedFile
from neural_kernels.storage import checksums


@dataclass(frozen=True)
class Panel:
    """Rows ``rows`` and columns ``columns`` of the window's matrix, as they lie in one block file.

    Attributes:
        block: (i, j) in the store.
        rows: first row within the window, and the first after it; ``columns`` likewise.
        path: the block's file.
        offset: of the strip in the file, in bytes.
        strip_rows: rows of the strip, ``lead`` of them before the panel's first row.
        row_length: entries in a row of the file; the panel has those from ``skip`` on.
        checksum: of the strip.
        mirrored: the columns whose mirror image is in no panel, first and first after: all of them, or in
            a diagonal block those right of the square on the diagonal.
    """

    block: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]
    path: Path
    offset: int
    strip_rows: int
    lead: int
    row_length: int
    skip: int
    checksum: str
    dtype: np.dtype
    mirrored: tuple[int, int]

    @property
    def height(self) -> int:
        return self.rows[1] - self.rows[0]

    @property
    def width(self) -> int:
        return self.columns[1] - self.columns[0]

    @property
    def on_diagonal(self) -> bool:
        return self.rows[0] == self.columns[0]

    @property
    def once(self) -> int:
        """Leading columns that are not mirrored."""
        return self.mirrored[0] - self.columns[0]

    @property
    def stored_bytes(self) -> int:
        """What is read: a whole strip of the file."""
        return self.strip_rows * self.row_length * self.dtype.itemsize

    @property
    def kept_bytes(self) -> int:
        """What a copy in memory takes."""
        return self.height * self.width * self.dtype.itemsize


def cut_into_panels(
    store: KernelStore, window: tuple[int, int], block: tuple[int, int], found: StoredBlock
) -> list[Panel]:
    """The panels of one block that the principal submatrix ``window`` of the store needs."""
    grid, (i, j) = store.grid, block
    (r0, r1), (c0, c1) = grid.row_range(i), grid.column_range(j)
    row_bytes = (c1 - c0) * store.dtype.itemsize
    first, last = max(r0, window[0]), min(r1, window[1])
    left, right = max(c0, window[0]), min(c1, window[1])
    panels = []
    for strip, after, checksum in found.strips.covering(first - r0, last - r0):
        row, end = max(r0 + strip, first), min(r0 + after, last)
        begin, mirrored = (row, end) if i == j else (left, left)
        panels.append(
            Panel(
                block=block,
                rows=(row - window[0], end - window[0]),
                columns=(begin - window[0], right - window[0]),
                path=store.block_path(i, j),
                offset=found.offset + strip * row_bytes,
                strip_rows=min(after, r1 - r0) - strip,
                lead=row - r0 - strip,
                row_length=c1 - c0,
                skip=begin - c0,
                checksum=checksum,
                dtype=store.dtype,
                mirrored=(mirrored - window[0], right - window[0]),
            )
        )
    return panels


def aligned_bytes(size: int) -> np.ndarray:
    """(size,) uint8 that begins on a cache line: vector loads that cross one take twice the time."""
    raw = np.empty(size + 64, np.uint8)
    skip = -raw.ctypes.data % 64
    return raw[skip : skip + size]


def read_panel(panel: Panel, buffer: np.ndarray) -> np.ndarray:
    """The panel's entries, (height, width), read into ``buffer``, (bytes,) uint8, without another copy.

    Raises:
        EOFError: the file ends too early.
        DamagedFile: the strip is not what was written.
    """
    target = buffer[: panel.stored_bytes]
    with panel.path.open("rb", buffering=0) as file:
        file.seek(panel.offset)
        view, done = target.data, 0
        while done < len(target):
            count = file.readinto(view[done:])
            if not count:
                raise EOFError(f"{panel.path} ends within the panel at byte {panel.offset}")
            done += count
    check_strip(panel, target)
    rows = target.view(panel.dtype).reshape(panel.strip_rows, panel.row_length)
    return rows[panel.lead : panel.lead + panel.height, panel.skip : panel.skip + panel.width]


def round_in_place(entries: np.ndarray) -> np.ndarray:
    """Float64 entries, (p, q), as float32, (p, q), in the memory that they began in, which is theirs no longer."""
    rounded: np.ndarray = entries.view(np.float32)[:, : entries.shape[1]]
    for own, row in zip(rounded, entries, strict=True):
        own[:] = row.astype(np.float32)
    return rounded


def check_strip(panel: Panel, strip: np.ndarray) -> None:
    """Raise DamagedFile where the bytes of a panel's strip, (bytes,) uint8, are not what was written."""
    if checksums.of_bytes(strip) != panel.checksum:
        raise DamagedFile(f"{panel.path} is damaged within the strip at byte {panel.offset}")
