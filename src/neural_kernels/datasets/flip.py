"""Tables of sequences and measured values in the form of FLIP (Dallago et al. 2021), or a user's own.

A CSV with the columns ``sequence``, ``target``, ``set`` and, where the split has validation rows of its own,
``validation``. ``set`` is train or test; rows where it is empty belong to no split and are left out. Training rows
whose ``validation`` is True are the validation split.

An example is one-hot, (length, letters + 1) uint8: a channel for each letter of the alphabet, and a last one for
the positions beyond the sequence's end.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field

from neural_kernels.datasets.csv_files import numbered_rows, open_csv, parse_number
from neural_kernels.datasets.inputs import Inputs
from neural_kernels.datasets.options import MeasuredOptions
from neural_kernels.datasets.pools import LARGEST_EXAMPLE, Chunk, Dataset, Pool, known_by
from neural_kernels.errors import UserError
from neural_kernels.sections import WHOLE, Name, NotEmpty, Text
from neural_kernels.sections import Path as PathText
from neural_kernels.sentences import refusal

# The twenty amino acids, and the stop or gap that FLIP's AAV sequences hold.
ALPHABET = "ACDEFGHIKLMNPQRSTVWY*"
TARGET = "target"
TEST = "test"

# One-hot, a chunk of any length of sequence takes so much memory.
CHUNK_BYTES = 64 * 2**20

_UNKNOWN = 255


def _alphabet(text: str) -> str:
    twice = [letter for letter in text if text.count(letter) > 1]
    if twice:
        raise refusal(f" has {twice[0]!r} twice, expected each letter once")
    strange = [letter for letter in text if not "!" <= letter <= "~" or letter in ',"?']
    if strange:
        raise refusal(f' has {strange[0]!r}, expected visible ASCII letters other than , " and ?')
    return text


class Options(MeasuredOptions):
    """A table of sequences and measured values, FLIP's or your own."""

    name: Literal["flip"] = Field("flip", description="The data set flip.")
    path: PathText = Field(
        description="A .csv or .csv.gz, or a .zip or folder of such tables, relative to the working directory."
    )
    table: Name | None = Field(
        None,
        description="Which table of a .zip or folder that holds several, <table>.csv, as FLIP has one a split. null is "
        "the only one there.",
    )
    targets: NotEmpty[Text] | None = Field(
        None, description="The columns to learn, each an output of its own. null is target."
    )
    alphabet: Annotated[str, Field(min_length=1), AfterValidator(_alphabet)] | None = Field(
        None,
        description="Letters that a sequence may hold, each once; each is a channel. A lower-case letter that is not "
        "among them is read as its capital. null is the twenty amino acids and *, ACDEFGHIKLMNPQRSTVWY*.",
    )
    sequence_length: Annotated[int, Field(ge=1, le=100_000), WHOLE] | None = Field(
        None,
        description="Positions that a sequence is filled up to with the padding symbol. null is the length of the "
        "longest one in the table; more leaves room for longer ones to predict.",
    )

    @property
    def letters(self) -> str:
        return self.alphabet or ALPHABET

    @property
    def columns(self) -> tuple[str, ...]:
        """Those to learn."""
        return self.targets or (TARGET,)


@dataclass
class _Rows:
    """The rows of one part: codes of each sequence, a byte a letter, the values (outputs) of each, and where it is.

    ``rows`` are places in the table, from 0, ``lines`` the lines on which they end.
    """

    codes: list[bytes] = field(default_factory=list)
    values: list[tuple[float, ...]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def open_dataset(options: Options) -> Dataset:
    """The table ``table`` in ``path``; every row is read and checked, and kept a byte a letter.

    Test rows come in a random order that is always the same: tables are often sorted, by the number of mutations or
    by value, and the first so many of them would be no sample.

    Raises:
        UserError: a missing file, member or column, a row with an unknown letter, an empty sequence or a value that
            is no number, or a split without training or test rows.
    """
    alphabet, targets = options.letters, options.columns
    source, parts = _read(options)
    for part in ("train", "test"):
        if not parts[part].codes:
            raise UserError(f"{source}: found no row whose set is {part!r}, expected some")
    length = _length(options, source, parts.values(), len(alphabet))
    parts["test"] = _shuffled(parts["test"])

    def pool(part: str) -> Pool:
        return _pool(source, parts[part], length, len(alphabet))

    validation = pool("validation") if parts["validation"].codes else None
    names = targets if len(targets) > 1 else ()
    return Dataset(pool("train"), {TEST: lambda: pool("test")}, "regression", len(targets), names, validation)


def read_inputs(options: Options, path: Path) -> Inputs:
    """The sequences in the column ``sequence`` of a CSV, one-hot as those of the data set, to predict.

    All columns are kept beside them, as text. A row whose sequence has an unknown letter, or is longer than the data
    set's positions, is left out.

    Args:
        options: the ``data`` section of a study; its table is read for the longest sequence where
            ``sequence_length`` is not given.

    Raises:
        UserError: a missing or damaged file, or one without the column.
    """
    import pandas as pd

    alphabet = options.letters
    encode = encoder(alphabet)
    length = options.sequence_length or _longest(options)
    codes, kept, left_out = [], [], []
    with open_csv(path) as (source, text):
        header, rows = numbered_rows(source, text, required=("sequence",))
        at = header.index("sequence")
        for line, row in rows:
            sequence = row[at].strip()
            try:
                code = encode(sequence)
                if len(code) > length:
                    raise ValueError(f"has {len(code)} letters, expected at most {length}")
            except ValueError as error:
                left_out.append((line, f"the sequence {error}"))
                continue
            codes.append(code)
            kept.append(row)
    examples = one_hot(codes, length, len(alphabet))
    return Inputs(source, examples, pd.DataFrame(kept, columns=header, dtype=str), tuple(left_out))


def one_hot(codes: Sequence[bytes], length: int, letters: int) -> np.ndarray:
    """Sequences as (n, ``length``, ``letters`` + 1) uint8, the last channel 1 beyond a sequence's end.

    Args:
        codes: for each sequence the places of its letters in the alphabet, a byte each, at most ``length``.
    """
    places = np.full((len(codes), length), letters, np.uint8)
    for row, code in zip(places, codes, strict=True):
        row[: len(code)] = np.frombuffer(code, np.uint8)
    return (places[..., np.newaxis] == np.arange(letters + 1, dtype=np.uint8)).view(np.uint8)


def encoder(alphabet: str) -> Callable[[str], bytes]:
    """A function from a sequence to the places of its letters in ``alphabet``, a byte each.

    A lower-case letter that the alphabet lacks is read as its capital, as FLIP's baselines do.

    Raises (the function):
        ValueError: an empty sequence, or a letter that the alphabet lacks; what is wrong, to stand after "the
            sequence".
    """
    table = bytearray([_UNKNOWN] * 256)
    for place, letter in enumerate(alphabet):
        table[ord(letter)] = place
    for place, letter in enumerate(alphabet):
        if letter.isupper() and letter.lower() not in alphabet:
            table[ord(letter.lower())] = place
    unknown = bytes([_UNKNOWN])

    def encode(sequence: str) -> bytes:
        if not sequence:
            raise ValueError("is empty")
        code = sequence.encode("ascii", "replace").translate(table)
        at = code.find(unknown)
        if at >= 0:
            raise ValueError(f"has {sequence[at]!r} at position {at + 1}, expected letters of {alphabet}")
        return code

    return encode


# ----------------------------------------------------------------------------- length


def _longest(options: Options) -> int:
    source, parts = _read(options)
    return _length(options, source, parts.values(), len(options.letters))


def _length(options: Options, source: str, parts: Any, letters: int) -> int:
    longest = max((len(code) for part in parts for code in part.codes), default=0)
    if not longest:
        raise UserError(f"{source}: found no row whose set is train or test, expected some")
    asked = options.sequence_length
    if asked is not None and asked < longest:
        raise UserError(
            f"data.sequence_length is {asked}, expected at least {longest}, the longest sequence of {source}"
        )
    length = asked or longest
    if length * (letters + 1) > LARGEST_EXAMPLE:
        raise UserError(
            f"{source}: sequences of {length:,} positions, expected at most {LARGEST_EXAMPLE // (letters + 1):,} for "
            f"an alphabet of {letters} letters"
        )
    return length


# ----------------------------------------------------------------------------- reading


def _read(options: Options) -> tuple[str, dict[str, _Rows]]:
    alphabet, targets = options.letters, options.columns
    parts = {"train": _Rows(), "validation": _Rows(), "test": _Rows()}
    encode = encoder(alphabet)
    with open_csv(Path(options.path), options.table) as (source, text):
        header, rows = numbered_rows(source, text, required=("sequence", "set", *targets))
        sequence_at, set_at = header.index("sequence"), header.index("set")
        targets_at = [header.index(name) for name in targets]
        validation_at = header.index("validation") if "validation" in header else None
        for place, (line, row) in enumerate(rows):
            part = row[set_at].strip()
            if not part:
                continue
            if part not in ("train", "test"):
                raise UserError(
                    f"{source}, line {line}: set is {part[:80]!r}, expected train, test or nothing"
                )
            if validation_at is not None and _is_true(source, line, row[validation_at]):
                if part == "test":
                    raise UserError(
                        f"{source}, line {line}: set is 'test' and validation {row[validation_at]!r}, expected "
                        "validation rows among those whose set is train"
                    )
                part = "validation"
            try:
                code = encode(row[sequence_at].strip())
            except ValueError as error:
                raise UserError(f"{source}, line {line}: the sequence {error}") from None
            parts[part].codes.append(code)
            values = tuple(
                _number(source, line, name, row[at]) for name, at in zip(targets, targets_at, strict=True)
            )
            parts[part].values.append(values)
            parts[part].rows.append(place)
            parts[part].lines.append(line)
    return source, parts


def _is_true(source: str, line: int, text: str) -> bool:
    value = text.strip().lower()
    if value in ("true", "1"):
        return True
    if value in ("", "false", "0"):
        return False
    raise UserError(f"{source}, line {line}: validation is {text[:80]!r}, expected True, False or nothing")


def _number(source: str, line: int, column: str, text: str) -> float:
    try:
        return parse_number(text)
    except ValueError as error:
        raise UserError(f"{source}, line {line}: {column} is {text[:80]!r}, expected {error}") from None


def _shuffled(rows: _Rows) -> _Rows:
    order = np.random.default_rng(0).permutation(len(rows.codes))
    columns = (rows.codes, rows.values, rows.rows, rows.lines)
    return _Rows(*([column[k] for k in order] for column in columns))


def _pool(source: str, rows: _Rows, length: int, letters: int) -> Pool:
    values = np.array(rows.values, np.float64)
    step = max(1, CHUNK_BYTES // (length * (letters + 1)))

    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(rows.codes), step):
            x = one_hot(rows.codes[start : start + step], length, letters)
            yield Chunk(start, x, values[start : start + step], source, start)

    known = partial(known_by, row=np.array(rows.rows, np.int64), line=np.array(rows.lines, np.int64))
    return Pool(source, len(rows.codes), (length, letters + 1), np.dtype(np.uint8), chunks, known)
