"""Anybody's table of molecules: a CSV with a column of SMILES and a column for each task, blank where a value is
missing.

Values of 0, 1 and blanks make a multilabel task, any others a regression. The split is made by Murcko scaffold,
at random, or as a column of the table or a folder of row numbers says.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels.datasets import multitask, ogb
from neural_kernels.datasets.inputs import Inputs
from neural_kernels.datasets.molecule_splits import SplitSettings, split_rows
from neural_kernels.datasets.molecules import Molecules, parse
from neural_kernels.datasets.pools import Dataset, require_file
from neural_kernels.errors import UserError

log = logging.getLogger(__name__)

ORIGIN = "you: a CSV file with a column of SMILES"
# Of the section data, those that no other data set has.
KEYS = ("smiles_column", "task_columns", "id_column", "task", "split", "invalid")
SPLIT_DEFAULTS: dict[str, Any] = {"method": "scaffold", "fractions": [0.8, 0.1, 0.1], "seed": 0}


@dataclass(frozen=True)
class Table:
    """Columns of a CSV file: ``smiles`` (n,), ``values`` (n, tasks) float64, ``parts`` (n,) or None."""

    path: Path
    smiles: tuple[str, ...]
    tasks: tuple[str, ...]
    values: np.ndarray
    parts: tuple[str, ...] | None


def open_dataset(options: Mapping[str, Any]) -> Dataset:
    """The molecules of the table ``path``, all of them read.

    Raises:
        UserError: a column or a value other than described, a SMILES that is no molecule (with ``invalid: drop``
            such rows are left out), or RDKit is not installed.
    """
    path = require_file(Path(options["path"]), ORIGIN)
    settings = SplitSettings(**(SPLIT_DEFAULTS | (options.get("split") or {})))
    column = settings.column if settings.method == "column" else None
    table = read_table(
        path, _smiles_column(options), options.get("task_columns"), options.get("id_column"), column
    )
    task = multitask.task_of(str(path), table.values, options.get("task"), table.tasks)
    molecules = _molecules(
        path, table.smiles, settings.method == "scaffold", options.get("invalid") or "error"
    )
    rows = molecules.rows
    splits = split_rows(settings, path, rows, molecules.scaffolds, table.parts, len(table.smiles))
    labels = table.values[rows]
    pools = {
        part: ogb.graph_pool(str(path), lambda: molecules.graphs, labels, places)
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


def read_inputs(options: Mapping[str, Any], path: Path) -> Inputs:
    """The molecules of another table with the same column of SMILES, for predictions; it needs no values.

    Args:
        options: the ``data`` section of a study's config; the column is its ``smiles_column``, or smiles.

    Returns:
        The molecules; a row for each with its row in the table, from 0, its SMILES and, where the table has that
        column too, its identifier; and a sentence for each row that is no molecule to RDKit.

    Raises:
        UserError: no such file or column, none of its rows is a molecule, or RDKit is not installed.
    """
    import pandas as pd

    require_file(path, ORIGIN)
    name, identity = options.get("smiles_column") or "smiles", options.get("id_column")
    table = read_table(path, name, [], None, identity, optional=True)
    found = _parsed(table.smiles, False)
    if not len(found.rows):
        raise UserError(
            f"{path}: none of the {len(table.smiles)} SMILES in column {name} is a molecule to RDKit"
        )
    columns: dict[str, Any] = {"row": found.rows, name: [table.smiles[row] for row in found.rows]}
    if table.parts is not None and identity is not None:
        columns[identity] = [table.parts[row] for row in found.rows]
    missing = np.setdiff1d(np.arange(len(table.smiles)), found.rows)
    problems = tuple(
        f"{path}: row {row + 1}, {table.smiles[row]!r}, is no molecule to RDKit" for row in missing
    )
    return Inputs(str(path), found.graphs, pd.DataFrame(columns), problems)


def _smiles_column(options: Mapping[str, Any]) -> str:
    return options.get("smiles_column") or "smiles"


def read_table(
    path: Path,
    smiles: str,
    tasks: Sequence[str] | None,
    identity: str | None,
    part: str | None,
    optional: bool = False,
) -> Table:
    """The columns of ``path`` by name.

    Args:
        smiles: the column of SMILES.
        tasks: the columns of values, all that have no other use where None.
        identity: a column that is not read.
        part: a further column of text: which part of the split a row is of.
        optional: the column ``part`` may be missing.

    Raises:
        UserError: a damaged file, an unknown column, or a value that is not a number.
    """
    import pandas as pd  # which takes as long to load as all the rest, and most stages read no table

    try:
        header = [str(name) for name in pd.read_csv(path, nrows=0).columns]
        part = None if optional and part not in header else part
        for name in filter(None, (smiles, identity, part, *(tasks or ()))):
            if name not in header:
                raise UserError(f"{path}: found no column {name!r}, expected one of {', '.join(header)}")
        if tasks is None:
            tasks = [name for name in header if name not in (smiles, identity, part)]
        text = [smiles] if part is None else [smiles, part]
        blanks = {name: ["", " "] for name in tasks}
        frame = pd.read_csv(
            path,
            usecols=[*text, *tasks],
            dtype=dict.fromkeys(text, str),
            na_values=blanks,
            keep_default_na=False,
        )
    except (ValueError, OSError, EOFError) as error:
        raise UserError(
            f"{path}: cannot be read ({' '.join(str(error).split())}), expected a CSV file"
        ) from error
    if not len(frame):
        raise UserError(f"{path}: found no rows, expected at least one")
    for name in text:
        # A row that ends early.
        frame[name] = frame[name].fillna("").str.strip()
    values = (
        np.stack([_numbers(path, frame, name) for name in tasks], axis=1)
        if tasks
        else np.empty((len(frame), 0))
    )
    parts = None if part is None else tuple(frame[part])
    return Table(path, tuple(frame[smiles]), tuple(tasks), values, parts)


def _numbers(path: Path, frame: Any, name: str) -> np.ndarray:
    import pandas as pd

    column = frame[name]
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(np.isnan(numbers) & column.notna().to_numpy())
    if len(wrong):
        raise UserError(
            f"{path}: row {wrong[0] + 1} has {column.iloc[wrong[0]]!r} in column {name}, expected a number or nothing; "
            "name the columns to learn under data.task_columns"
        )
    return numbers


def _molecules(path: Path, smiles: tuple[str, ...], scaffolds: bool, invalid: str) -> Molecules:
    found = _parsed(smiles, scaffolds)
    missing = np.setdiff1d(np.arange(len(smiles)), found.rows)
    if not len(missing):
        return found
    first = f"row {missing[0] + 1}, {smiles[missing[0]]!r}"
    if invalid == "error" or not len(found.rows):
        raise UserError(
            f"{path}: {len(missing)} SMILES are no molecules to RDKit, the first in {first}: mend them, or leave their "
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
