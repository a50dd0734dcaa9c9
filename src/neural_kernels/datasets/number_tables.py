"""Tables of plain numbers without a header, such as OGB's: as many fields in every line, and nothing else in them.

pandas reads them, which takes seconds for ten million atoms; it also takes a line that ends early for missing values,
and words for numbers, so that all bytes pass a check on their way to it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from neural_kernels.datasets import compressed
from neural_kernels.datasets.csv_files import LONGEST_ROW
from neural_kernels.errors import UserError

MOST_COLUMNS = 10_000
_READ = 2**20
_NUMBERS = b"0123456789+-.eE, \r\n"
_WHOLE_NUMBERS = b"0123456789-, \r\n"
# pandas' own errors are ValueErrors.
_ERRORS: tuple[type[Exception], ...] = (*compressed.DAMAGE, ValueError, OverflowError)
_NEWLINE, _COMMA = ord("\n"), ord(",")


def read_table(path: Path, dtype: type, lines: int | None = None) -> np.ndarray:
    """The table in ``path``, plain or compressed, (lines, columns) of ``dtype``.

    Args:
        dtype: np.float64, of which blanks are NaN, or np.int64.
        lines: how many, all where None.

    Raises:
        UserError: a file that cannot be read, is damaged or empty, or holds something else than decimal numbers; lines
            with fewer or more fields than the first; more content than a table has (``compressed``).
    """
    with _opened(path, dtype) as (stream, check):
        table = _reader(stream, dtype, nrows=lines).to_numpy()
        if lines is None:
            check.finish(len(table), table.shape[1])
        return table


def parts(path: Path, dtype: type, lines: int) -> Iterator[np.ndarray]:
    """As ``read_table``, so many ``lines`` at a time."""
    with _opened(path, dtype) as (stream, check), _reader(stream, dtype, chunksize=lines) as reader:
        count = columns = 0
        for part in reader:
            count, columns = count + len(part), part.shape[1]
            yield part.to_numpy()
        check.finish(count, columns)


def count_lines(path: Path) -> int:
    """Lines of ``path``; errors as of ``read_table``, for what does not need the numbers."""
    with _opened(path, np.float64) as (stream, check):
        while stream.read(_READ):
            pass
        return check.lines


def _reader(stream: IO[bytes], dtype: type, **options: Any) -> Any:
    # pandas takes as long to load as all the rest, and most stages read no table.
    import pandas as pd

    # A line without anything is a molecule whose one label is missing.
    return pd.read_csv(
        stream,
        header=None,
        dtype=dtype,
        skip_blank_lines=False,
        keep_default_na=False,
        na_values=[""],
        **options,
    )


@contextmanager
def _opened(path: Path, dtype: type) -> Iterator[tuple[io.BufferedReader, _Checked]]:
    kind = "whole numbers" if dtype is np.int64 else "numbers"
    try:
        with compressed.open_inflated(path) as content:
            check = _Checked(content, str(path), _WHOLE_NUMBERS if dtype is np.int64 else _NUMBERS, kind)
            try:
                yield io.BufferedReader(check, _READ), check
            except Exception:
                # What pandas makes of an error in what it reads is another one.
                if check.failure is None:
                    raise
            if check.failure is not None:
                raise check.failure
    except _ERRORS as error:
        sentence = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: cannot be read ({sentence}), expected a compressed table of {kind}"
        ) from error


class _Checked(io.RawIOBase):
    """A stream that is looked at while it is read.

    Attributes:
        lines: that were read so far.
        failure: what was wrong, after which the stream ends.
    """

    def __init__(self, content: IO[bytes], source: str, allowed: bytes, kind: str) -> None:
        self.lines = 0
        self.failure: Exception | None = None
        self._content, self._source, self._kind = content, source, kind
        self._allowed = np.zeros(256, bool)
        self._allowed[list(allowed)] = True
        # Of the line that is being read, its length and commas so far; of the first line, its commas.
        self._length = self._commas = 0
        self._expected: int | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return 0 if self.failure else self._read(buffer)
        except Exception as error:
            self.failure = error
            return 0

    def _read(self, buffer: Any) -> int:
        count = self._content.readinto(buffer)  # type: ignore[attr-defined]
        if count:
            self._look(np.frombuffer(buffer, np.uint8, count))
        elif self._length:
            self._end_of_lines(np.array([self._commas]))
            self._length = self._commas = 0
        return int(count)

    def finish(self, lines: int, columns: int) -> None:
        """Raise ``UserError`` where a table of other lines and columns was made of what was read."""
        if (lines, columns) != (self.lines, (self._expected or 0) + 1):
            raise UserError(
                f"{self._source}: found {self.lines} lines, but {lines} rows of {columns} columns in them, expected as "
                "many, and lines that end in a newline"
            )

    def _look(self, content: np.ndarray) -> None:
        wrong = ~self._allowed[content]
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            line = self.lines + int((content[:at] == _NEWLINE).sum()) + 1
            raise UserError(
                f"{self._source}, line {line}: found {chr(content[at])!r}, expected a table of {self._kind}"
            )
        ends = np.flatnonzero(content == _NEWLINE)
        commas = np.flatnonzero(content == _COMMA)
        lengths = np.diff(np.concatenate([[-1 - self._length], ends, [len(content)]]))
        if lengths.max() > LONGEST_ROW:
            raise UserError(
                f"{self._source}: found a line of more than {LONGEST_ROW:,} characters, expected at most so many"
            )
        counts = np.diff(np.concatenate([[-self._commas], np.searchsorted(commas, ends), [len(commas)]]))
        self._end_of_lines(counts[:-1])
        self._length, self._commas = int(lengths[-1]) - 1, int(counts[-1])

    def _end_of_lines(self, commas: np.ndarray) -> None:
        if not len(commas):
            return
        if self._expected is None:
            self._expected = int(commas[0])
            if self._expected >= MOST_COLUMNS:
                raise UserError(
                    f"{self._source}: found {self._expected + 1} columns, expected at most {MOST_COLUMNS}"
                )
        wrong = np.flatnonzero(commas != self._expected)
        if len(wrong):
            raise UserError(
                f"{self._source}, line {self.lines + wrong[0] + 1}: found {commas[wrong[0]] + 1} fields, expected "
                f"{self._expected + 1} as in the first line"
            )
        self.lines += len(commas)
