"""Somebody's table as it is: every row, its columns as text, numbers where they are asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neural_kernels.datasets.csv_files import numbered_rows, open_csv, parse_number
from neural_kernels.errors import UserError


@dataclass(frozen=True)
class UserTable:
    """A CSV file.

    Attributes:
        header: names of the columns.
        rows: fields, as many as names in each.
        lines: where each row ends in the file, for messages.
    """

    path: Path
    header: list[str]
    rows: list[list[str]]
    lines: list[int]

    def texts(self, column: str) -> list[str]:
        """The fields of a column, without blanks around them.

        Raises:
            UserError: no such column.
        """
        at = self._place(column)
        return [row[at].strip() for row in self.rows]

    def numbers(self, columns: Sequence[str]) -> np.ndarray:
        """(n, columns) float64, NaN where a field is blank.

        Raises:
            UserError: no such column, or a field that is no number.
        """
        out = np.empty((len(self.rows), len(columns)))
        for k, column in enumerate(columns):
            for place, text in enumerate(self.texts(column)):
                try:
                    out[place, k] = parse_number(text) if text else math.nan
                except ValueError as error:
                    where = f"{self.path}, line {self.lines[place]}"
                    raise UserError(
                        f"{where}: column {column} has {text[:80]!r}, expected {error} or nothing"
                    ) from None
        return out

    def is_numeric(self, column: str) -> bool:
        """Whether every field that is not blank is a number."""
        return all(map(is_number, filter(None, self.texts(column))))

    def _place(self, column: str) -> int:
        if column not in self.header:
            names = ", ".join(self.header[:20])
            raise UserError(f"{self.path} has no column {column!r}, expected one of {names}")
        return self.header.index(column)


def is_number(text: str) -> bool:
    """Whether a field is a decimal number."""
    try:
        parse_number(text)
    except ValueError:
        return False
    return True


def read(path: Path) -> UserTable:
    """The table in a .csv or .csv.gz file.

    Raises:
        UserError: no such file, or no table with a header and at least one row.
    """
    with open_csv(path) as (source, text):
        header, rows = numbered_rows(source, text, required=())
        found = list(rows)
    if not found:
        raise UserError(f"{path}: found no rows, expected at least one")
    return UserTable(path, header, [row for _, row in found], [line for line, _ in found])
