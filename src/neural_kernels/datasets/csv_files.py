"""CSV files that are plain, gzipped, or members of a .zip, read line by line and never unpacked."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from neural_kernels.errors import UserError

_KINDS = "a .csv, a .csv.gz, a .zip of such tables, or a folder of them"


@contextmanager
def open_csv(path: Path, table: str | None = None) -> Iterator[tuple[str, Iterable[str]]]:
    """The file as people find it, for messages, and its lines.

    Args:
        path: a .csv, .csv.gz or .zip file, or a folder of .csv files.
        table: with a .zip or a folder, which table: the member or file ``<table>.csv``, in whatever folder of the
            archive. None where there is one only.

    Raises:
        UserError: no such file or table, or a damaged one, also while lines are read.
    """
    path, table = _in_folder(path, table)
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected {_KINDS}")
    if path.suffix == ".zip":
        with _damage_named(str(path)), zipfile.ZipFile(path) as archive:
            member = _member(path, archive.namelist(), table)
            source = f"{path}, member {member}"
            with _damage_named(source), archive.open(member) as stream:
                yield source, io.TextIOWrapper(stream, "utf-8-sig", newline="")
        return
    if table is not None:
        raise UserError(f"{path}: the table {table!r} is asked for, expected so only of a .zip or a folder")
    source = str(path)
    if path.name.endswith(".csv.gz"):
        with _damage_named(source), gzip.open(path, "rt", encoding="utf-8-sig", newline="") as lines:
            yield source, lines
    elif path.suffix == ".csv":
        with _damage_named(source), path.open(encoding="utf-8-sig", newline="") as lines:
            yield source, lines
    else:
        raise UserError(f"{path}: found a file ending in {path.suffix!r}, expected {_KINDS}")


def numbered_rows(
    source: str, lines: Iterable[str], required: Sequence[str]
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The names of the columns, and each row with the number of the line that it ends on; empty lines are skipped.

    Raises:
        UserError: a column that is missing or there twice; while rows are read, one with more or fewer fields than
            the header, or text that is no CSV.
    """
    reader = csv.reader(lines, strict=True)
    header = [name.strip() for name in next(reader, [])]
    for name in required:
        if header.count(name) != 1:
            found = f"the columns {', '.join(header)}" if header else "no columns"
            raise UserError(f"{source}: found {found}, expected {name!r} once among them")
    return header, _rows(source, reader, len(header))


def _rows(source: str, reader: Iterator[list[str]], fields: int) -> Iterator[tuple[int, list[str]]]:
    for row in reader:
        line = reader.line_num  # type: ignore[attr-defined]
        if not row:
            continue
        if len(row) != fields:
            raise UserError(
                f"{source}, line {line}: found {len(row)} fields, expected {fields} as in the header"
            )
        yield line, row


def _in_folder(path: Path, table: str | None) -> tuple[Path, str | None]:
    if not path.is_dir():
        return path, table
    tables = sorted(file.stem for file in path.glob("*.csv"))
    return path / f"{_chosen(str(path), tables, table)}.csv", None


def _member(path: Path, names: Sequence[str], table: str | None) -> str:
    """The member <table>.csv, of which there is one; what macOS adds to archives is passed over."""
    members = [name for name in names if name.endswith(".csv") and not name.startswith("__MACOSX/")]
    chosen = _chosen(str(path), [PurePosixPath(name).stem for name in members], table)
    return next(name for name in members if PurePosixPath(name).stem == chosen)


def _chosen(source: str, tables: Sequence[str], table: str | None) -> str:
    found = ", ".join(sorted(tables)) or "none"
    if table is None and len(tables) != 1:
        raise UserError(f"{source}: found the tables {found}, expected data.table to name one of them")
    chosen = tables[0] if table is None else table
    if tables.count(chosen) != 1:
        raise UserError(f"{source}: found the tables {found}, expected {chosen!r} once among them")
    return chosen


@contextmanager
def _damage_named(source: str) -> Iterator[None]:
    # RuntimeError: an encrypted member. EOFError: a truncated .gz. csv.Error: unbalanced quotes, a field without end.
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        RuntimeError,
        UnicodeDecodeError,
        csv.Error,
    ) as error:
        raise UserError(f"{source}: damaged or no table ({error}), expected {_KINDS}") from error
