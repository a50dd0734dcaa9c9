"""Anybody's table of molecules: a CSV with a column of SMILES and a column for each task, blank where a value is
missing.

Values of 0, 1 and blanks make a multilabel task, any others a regression. The split is made by Murcko scaffold,
at random, or as a column of the table or a folder of row numbers says.
"""

import functools
import logging
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from neural_kernels.datasets import multitask, ogb, user_tables
from neural_kernels.datasets.csv_files import numbered_rows, open_csv, parse_number
from neural_kernels.datasets.inputs import Inputs
from neural_kernels.datasets.molecule_splits import SplitSettings, split_rows
from neural_kernels.datasets.molecules import LONGEST_SMILES, Molecules, parse
from neural_kernels.datasets.options import MeasuredOptions
from neural_kernels.datasets.pools import Dataset, require_file
from neural_kernels.errors import UserError
from neural_kernels.sections import NotEmpty, Text
from neural_kernels.sections import Path as PathText

log = logging.getLogger(__name__)

ORIGIN = "you: a CSV file with a column of SMILES"
SMILES = "smiles"

# Texts of numbers that are parsed once.
_REMEMBERED = 100_000


class Options(MeasuredOptions):
    """Your own table of molecules."""

    name: Literal["smiles"] = Field("smiles", description="The data set smiles.")
    path: PathText = Field(description="The .csv or .csv.gz file, relative to the working directory.")
    smiles_column: str | None = Field(None, description="The column of SMILES. null is smiles.")
    task_columns: NotEmpty[Text] | None = Field(
        None,
        description="The columns to learn, numbers, blank where one is missing. null is every column that has no other "
        "use.",
    )
    id_column: str | None = Field(None, description="A column that is left out.")
    task: Literal["regression", "multilabel"] | None = Field(
        None,
        description="multilabel where every value is 0 or 1, a label that is to be ranked, and regression elsewhere. "
        "null goes by the values.",
    )
    invalid: Literal["error", "drop"] | None = Field(
        None, description="What becomes of SMILES that RDKit refuses, error or drop. null is error."
    )
    split: SplitSettings | None = Field(
        None,
        description="How molecules are split in train, validation and test. By Murcko scaffold, as MoleculeNet and OGB "
        "do it: molecules of one scaffold stay together, the most frequent scaffolds go to train. At random. By a "
        "column of the table that says train, validation or test. By files: a folder of train.csv.gz, valid.csv.gz and "
        "test.csv.gz with row numbers from 0, as OGB's. Left out, by scaffold.",
    )


@dataclass(frozen=True)
class Table:
    """Columns of a CSV file: ``smiles`` (n,), ``values`` (n, tasks) float64, ``parts`` (n,) or None; ``lines`` (n,)
    int64, where each row ends.
    """

    path: Path
    smiles: tuple[str, ...]
    tasks: tuple[str, ...]
    values: np.ndarray
    parts: tuple[str, ...] | None
    lines: np.ndarray


def open_dataset(options: Options) -> Dataset:
    """The molecules of the table ``path``, all of them read.

    Raises:
        UserError: a column or a value other than described, a SMILES that is no molecule (with ``invalid: drop``
            such rows are left out), or RDKit is not installed.
    """
    path = require_file(Path(options.path), ORIGIN)
    settings = options.split or SplitSettings(method="scaffold")
    column = settings.column if settings.method == "column" else None
    table = read_table(path, options.smiles_column or SMILES, options.task_columns, options.id_column, column)
    task = multitask.task_of(str(path), table.values, options.task, table.tasks)
    molecules = _molecules(path, table.smiles, settings.method == "scaffold", options.invalid == "drop")
    rows = molecules.rows
    splits = split_rows(settings, path, rows, molecules.scaffolds, table.parts, len(table.smiles))
    labels = table.values[rows]
    pools = {
        part: ogb.graph_pool(
            str(path), lambda: molecules.graphs, labels, places, row=rows, line=table.lines[rows]
        )
        for part, places in splits.items()
    }
    return Dataset(
        pools["train"],
        {"test": lambda: pools["test"]},
        task,
        len(table.tasks),
        table.tasks,
        validation=pools["validation"] if len(splits["validation"]) else None,
    )


def read_inputs(options: Options, path: Path) -> Inputs:
    """The molecules of another table with the same column of SMILES, for predictions; it needs no values.

    Args:
        options: the ``data`` section of a study's config; the column is its ``smiles_column``, or smiles.

    Returns:
        The molecules; for each its row in the table, from 0, where the table has no column ``row`` itself, and all
        columns of the table as text; and the rows that are no molecules to RDKit.

    Raises:
        UserError: no such file or column, none of its rows is a molecule, or RDKit is not installed.
    """
    import pandas as pd

    require_file(path, ORIGIN)
    name = options.smiles_column or SMILES
    table = user_tables.read(path)
    smiles = tuple(table.texts(name))
    found = _parsed(smiles, False)
    if not len(found.rows):
        raise UserError(f"{path}: none of the {len(smiles)} SMILES in column {name} is a molecule to RDKit")
    own = pd.DataFrame([table.rows[row] for row in found.rows], columns=table.header, dtype=str)
    if "row" not in own:
        own.insert(0, "row", found.rows)
    left_out = tuple(
        (
            table.lines[row],
            f"{smiles[row][:200]!r} is no molecule to RDKit, or longer than {LONGEST_SMILES:,} characters",
        )
        for row in np.setdiff1d(np.arange(len(smiles)), found.rows)
    )
    return Inputs(str(path), found.graphs, own, left_out)


def read_table(
    path: Path,
    smiles: str,
    tasks: Sequence[str] | None,
    identity: str | None,
    part: str | None,
) -> Table:
    """The columns of ``path`` by name.

    Args:
        smiles: the column of SMILES.
        tasks: the columns of values, all that have no other use where None.
        identity: a column that is not read.
        part: a further column of text: which part of the split a row is of.

    Raises:
        UserError: a damaged file, an unknown column, or a value that is not a decimal number.
    """
    with open_csv(path) as (source, text):
        header, rows = numbered_rows(source, text, required=())
        for name in filter(None, (smiles, identity, part, *(tasks or ()))):
            if name not in header:
                raise UserError(f"{path}: found no column {name!r}, expected one of {', '.join(header)}")
        if tasks is None:
            tasks = [name for name in header if name not in (smiles, identity, part)]
            if not tasks:
                raise UserError(
                    f"{path}: found no column of values beside {smiles}, expected one for each task"
                )
            if "" in tasks:
                raise UserError(
                    f"{path}: found a column without a name, expected names, or data.task_columns to name those to "
                    "learn"
                )
        return _table(path, rows, header, smiles, tasks, part)


def _table(
    path: Path,
    rows: Iterator[tuple[int, list[str]]],
    header: Sequence[str],
    smiles: str,
    tasks: Sequence[str],
    part: str | None,
) -> Table:
    smiles_at, tasks_at = header.index(smiles), [header.index(name) for name in tasks]
    part_at = None if part is None else header.index(part)
    numbers, values, lines = _Numbers(), array("d"), array("q")
    found: list[str] = []
    parts: list[str] = []
    for line, row in rows:
        fields = [row[at] for at in tasks_at]
        try:
            values.extend(map(numbers.__getitem__, fields))
        except ValueError:
            raise _no_number(path, len(found), tasks, fields) from None
        found.append(row[smiles_at].strip())
        lines.append(line)
        if part_at is not None:
            parts.append(row[part_at].strip())
    if not found:
        raise UserError(f"{path}: found no rows, expected at least one")
    table = np.frombuffer(values, np.float64).reshape(len(found), len(tasks))
    named = None if part is None else tuple(parts)
    return Table(path, tuple(found), tuple(tasks), table, named, np.array(lines, np.int64))


class _Numbers(dict[str, float]):
    """Numbers by their text, and NaN by a blank; most tables have few that differ."""

    def __missing__(self, text: str) -> float:
        value = parse_number(text) if text.strip() else math.nan
        if len(self) < _REMEMBERED:
            self[text] = value
        return value


def _no_number(path: Path, row: int, tasks: Sequence[str], fields: Sequence[str]) -> UserError:
    for name, text in zip(tasks, fields, strict=True):
        try:
            _Numbers()[text]
        except ValueError as error:
            return UserError(
                f"{path}: row {row + 1} has {text[:80]!r} in column {name}, expected "
                f"{str(error).replace('finite ', '')} or nothing; name the columns to learn under data.task_columns"
            )
    raise AssertionError("one of the fields is no number")


def _molecules(path: Path, smiles: tuple[str, ...], scaffolds: bool, drop: bool) -> Molecules:
    found = _parsed(smiles, scaffolds)
    missing = np.setdiff1d(np.arange(len(smiles)), found.rows)
    if not len(missing):
        return found
    first = f"row {missing[0] + 1}, {smiles[missing[0]][:200]!r}"
    if not drop or not len(found.rows):
        raise UserError(
            f"{path}: {len(missing)} SMILES are no molecules to RDKit or longer than {LONGEST_SMILES:,} characters, "
            f"the first in {first}: mend them, or leave their "
            "rows out by data.invalid: drop"
        )
    log.warning(
        "%s: left out %d SMILES that are no molecules to RDKit, the first in %s", path, len(missing), first
    )
    return found


@functools.lru_cache(maxsize=1)
def _parsed(smiles: tuple[str, ...], scaffolds: bool) -> Molecules:
    # A study is checked before its data is prepared, and its sizes may be asked for before that.
    return parse(smiles, scaffolds)
