"""How a kernel matrix is cut into blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """How a (rows, columns) matrix is cut into blocks of at most ``edge`` x ``edge``."""

    rows: int
    columns: int
    edge: int
    symmetric: bool

    @property
    def block_rows(self) -> int:
        return -(-self.rows // self.edge)

    @property
    def block_columns(self) -> int:
        return -(-self.columns // self.edge)

    def row_range(self, i: int) -> tuple[int, int]:
        """First row of block row ``i``, and the first row after it."""
        return i * self.edge, min((i + 1) * self.edge, self.rows)

    def column_range(self, j: int) -> tuple[int, int]:
        """First column of block column ``j``, and the first column after it."""
        return j * self.edge, min((j + 1) * self.edge, self.columns)

    def shape(self, i: int, j: int) -> tuple[int, int]:
        (r0, r1), (c0, c1) = self.row_range(i), self.column_range(j)
        return r1 - r0, c1 - c0

    def blocks(self, rows: int | None = None, columns: int | None = None) -> Iterator[tuple[int, int]]:
        """The stored blocks (i, j) that the leading ``rows`` x ``columns`` submatrix touches."""
        block_rows = -(-(self.rows if rows is None else rows) // self.edge)
        block_columns = -(-(self.columns if columns is None else columns) // self.edge)
        for i in range(block_rows):
            for j in range(i if self.symmetric else 0, block_columns):
                yield i, j

    def count(self, rows: int, columns: int) -> int:
        """How many blocks ``blocks(rows, columns)`` gives."""
        block_rows, block_columns = -(-rows // self.edge), -(-columns // self.edge)
        if not self.symmetric:
            return block_rows * block_columns
        return sum(block_columns - i for i in range(min(block_rows, block_columns)))

    def window_blocks(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """The stored blocks that the principal submatrix of rows ``first`` to ``end`` touches."""
        touched = range(first // self.edge, -(-end // self.edge))
        for i in touched:
            for j in range(i, touched.stop):
                yield i, j
