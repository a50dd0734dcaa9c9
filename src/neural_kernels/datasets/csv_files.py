"""CSV files that are plain, gzipped, or members of a .zip, read line by line and never unpacked.

One reader, with strict rules, for every table that has a header.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TextIO

from neural_kernels.datasets import compressed
from neural_kernels.datasets.compressed import damage_named
from neural_kernels.datasets.pools import LARGEST_MAGNITUDE, is_file, is_folder, no_file
from neural_kernels.errors import UserError

_KINDS = "a .csv, a .csv.gz, a .zip of such tables, or a folder of them"

# Characters of a row; one of ten thousand values has a tenth of them.
LONGEST_ROW = 2**22
MOST_ROWS = 5_000_000

# Python takes 1_000, nan, infinity and the digits of every script for numbers as well.
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LONGEST_NUMBER = 400


@contextmanager
def open_csv(path: Path, table: str | None = None) -> Iterator[tuple[str, TextIO]]:
    """The file as people find it, for messages, and its text, for ``numbered_rows``.

    Args:
        path: a .csv, .csv.gz or .zip file, or a folder of .csv files.
        table: with a .zip or a folder, which table: the member or file ``<table>.csv``, in whatever folder of the
            archive. None where there is one only.

    Raises:
        UserError: no such file or table, or a damaged one, also while lines are read; a content that is larger than a
            table's (``compressed.largest_content``).
    """
    path, table = _in_folder(path, table)
    if not is_file(path):
        raise no_file(path, _KINDS)
    if path.suffix == ".zip":
        with _damage_named(str(path)), zipfile.ZipFile(path) as archive:
            name = _member(path, archive.namelist(), table)
            source = f"{path}, member {name}"
            with _damage_named(source):
                member = compressed.members_by_name(archive)[name]
                limit = compressed.largest_content(member.compress_size)
                with archive.open(member) as stream:
                    yield source, _text(compressed.bounded(stream, limit, source))
        return
    if table is not None:
        raise UserError(f"{path}: the table {table!r} is asked for, expected so only of a .zip or a folder")
    if not path.name.endswith((".csv", ".csv.gz")):
        raise UserError(f"{path}: found a file ending in {path.suffix!r}, expected {_KINDS}")
    with _damage_named(str(path)), compressed.open_inflated(path) as stream:
        yield str(path), _text(stream)


def numbered_rows(
    source: str, text: TextIO, required: Sequence[str]
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The names of the columns, and each row with the number of the line that it ends on; empty lines are skipped.

    Raises:
        UserError: no column of a name that is ``required``, or two columns of one name; while rows are read, one with
            more or fewer fields than the header, of more than ``LONGEST_ROW`` characters or with a NUL, more than
            ``MOST_ROWS`` rows, or text that is no CSV.
    """
    lines = _Lines(source, text)
    reader = csv.reader(lines, strict=True)
    header = [name.strip() for name in next(reader, [])]
    for name in required:
        if header.count(name) != 1:
            found = f"the columns {_listed(header)}" if header else "no columns"
            raise UserError(f"{source}: found {found}, expected {name!r} once among them")
    for name, times in Counter(header).items():
        if times > 1:
            raise UserError(f"{source}: found {times} columns {name!r}, expected names that differ")
    return header, _rows(source, lines, reader, len(header))


def parse_number(text: str) -> float:
    """The decimal number that ``text`` is, such as -1.5e3, rounded to the nearest double.

    Raises:
        ValueError: anything else, or a magnitude above ``pools.LARGEST_MAGNITUDE``; what was expected, to stand after
            "expected".
    """
    text = text.strip()
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        raise ValueError("a finite number")
    value = float(text)
    if abs(value) > LARGEST_MAGNITUDE:
        raise ValueError(f"a finite number of magnitude at most {LARGEST_MAGNITUDE:g}")
    return value


class _Lines:
    """Lines of a text, with a bound on the characters since ``begin_row``: a row in quotes may have many lines."""

    def __init__(self, source: str, text: TextIO) -> None:
        self._source, self._text, self._line, self._characters = source, text, 0, 0

    def begin_row(self) -> None:
        self._characters = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(LONGEST_ROW + 1)
        if not line:
            raise StopIteration
        self._line += 1
        self._characters += len(line)
        if self._characters > LONGEST_ROW:
            raise UserError(
                f"{self._source}, line {self._line}: found a row of more than {LONGEST_ROW:,} characters, expected at "
                "most so many"
            )
        if "\0" in line:
            raise UserError(f"{self._source}, line {self._line}: found a NUL character, expected text")
        return line


def _rows(
    source: str, lines: _Lines, reader: Iterator[list[str]], fields: int
) -> Iterator[tuple[int, list[str]]]:
    count = 0
    lines.begin_row()
    for row in reader:
        lines.begin_row()
        if not row:
            continue
        line = reader.line_num  # type: ignore[attr-defined]
        if len(row) != fields:
            raise UserError(
                f"{source}, line {line}: found {len(row)} fields, expected {fields} as in the header"
            )
        count += 1
        if count > MOST_ROWS:
            raise UserError(f"{source}: found more than {MOST_ROWS:,} rows, expected at most so many")
        yield line, row


def _text(stream: IO[bytes]) -> TextIO:
    return io.TextIOWrapper(stream, "utf-8-sig", newline="")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown


def _in_folder(path: Path, table: str | None) -> tuple[Path, str | None]:
    if not is_folder(path):
        return path, table
    with _damage_named(str(path)):
        tables = sorted(file.stem for file in path.glob("*.csv"))
    return path / f"{_chosen(str(path), tables, table)}.csv", None


def _member(path: Path, names: Sequence[str], table: str | None) -> str:
    """The member <table>.csv, of which there is one; what macOS adds to archives is passed over."""
    members = [name for name in names if name.endswith(".csv") and not name.startswith("__MACOSX/")]
    chosen = _chosen(str(path), [PurePosixPath(name).stem for name in members], table)
    return next(name for name in members if PurePosixPath(name).stem == chosen)


def _chosen(source: str, tables: Sequence[str], table: str | None) -> str:
    found = _listed(sorted(tables)) or "none"
    if table is None and len(tables) != 1:
        raise UserError(f"{source}: found the tables {found}, expected data.table to name one of them")
    chosen = tables[0] if table is None else table
    if tables.count(chosen) != 1:
        raise UserError(f"{source}: found the tables {found}, expected {chosen!r} once among them")
    return chosen


@contextmanager
def _damage_named(source: str) -> Iterator[None]:
    # csv.Error: unbalanced quotes, a field without end.
    with damage_named(source, "no table", _KINDS, UnicodeDecodeError, csv.Error):
        yield
