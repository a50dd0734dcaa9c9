"""The one tidy table of a study, a row a number, from which every figure and table is drawn.

Rows of split "train" are facts of the solve itself (iterations, residual, seconds), rows of split
"validation" are what the ridge was chosen by, and every other split is the name of a test set.

``size`` is the rank, the size of a part or the iterations that an approximation was allowed, and 0 for a
solution of the full system.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from neural_kernels.errors import UserError
from neural_kernels.storage import sealed_parquet
from neural_kernels.storage.files import damaged

DTYPES = {
    "study": "str",
    "kernel": "str",
    "architecture": "str",
    "kind": "str",
    "precision": "str",
    "engine": "str",
    "preprocessing": "str",
    "solver": "str",
    "n": "int64",
    "size": "int64",
    "draw": "int64",
    "ridge": "float64",
    "stopped_by": "str",
    "converged": "bool",
    "split": "str",
    "metric": "str",
    "value": "float64",
}
COLUMNS = tuple(DTYPES)
FACTS = tuple(column for column in COLUMNS if column not in ("split", "metric", "value"))
# What names a number: two rows that agree here would be two answers to one question.
KEY = tuple(column for column in COLUMNS if column not in ("stopped_by", "converged", "value"))

TRAIN, VALIDATION = "train", "validation"
ALLOWED = {"kind": ("ntk", "nngp"), "precision": ("float64", "float32")}


def rows(facts: Mapping[str, object], split: str, values: Mapping[str, float]) -> pd.DataFrame:
    """A row for each of ``values``, metric to value, all of one solve and one split.

    Args:
        facts: exactly the columns in ``FACTS``.

    Raises:
        ValueError: a fact too many or missing, or a value that ``check`` refuses.
    """
    if set(facts) != set(FACTS):
        raise ValueError(f"facts {sorted(set(facts) ^ set(FACTS))} are missing or unknown, expected {FACTS}")
    records = [
        {**facts, "split": split, "metric": metric, "value": value} for metric, value in values.items()
    ]
    return check(pd.DataFrame(records, columns=list(COLUMNS)))


def check(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its columns in the order and of the dtypes of ``DTYPES``.

    Raises:
        ValueError: a column missing or unknown, a value that its dtype cannot hold, a name that is empty,
            n below 1, a negative size, draw or ridge, a value that is not finite, a kind or precision outside
            ``ALLOWED``, or two rows for the same number.
    """
    missing = [column for column in COLUMNS if column not in table.columns]
    unknown = [str(column) for column in table.columns if column not in COLUMNS]
    if missing or unknown:
        raise ValueError(f"columns missing: {missing or 'none'}; columns unknown: {unknown or 'none'}")
    table = table.loc[:, list(COLUMNS)].reset_index(drop=True)
    for column, dtype in DTYPES.items():
        table[column] = _as_dtype(table[column], dtype)
    for column in ("ridge", "value"):
        _refuse(table, ~np.isfinite(table[column].to_numpy()), column, "a finite number")
    _refuse(table, table["n"] < 1, "n", "at least 1")
    _refuse(table, table["size"] < 0, "size", "zero or more")
    _refuse(table, table["draw"] < 0, "draw", "zero or more")
    _refuse(table, table["ridge"] < 0, "ridge", "zero or more")
    for column, allowed in ALLOWED.items():
        _refuse(table, ~table[column].isin(allowed), column, f"one of {', '.join(allowed)}")
    _refuse(table, table.duplicated(list(KEY)), "metric", "one row for each solve, split and metric")
    return table


def write(table: pd.DataFrame, path: str | Path, problem: str = "") -> None:
    """Writes the checked table as Parquet with a checksum; the file appears whole or not at all.

    Args:
        problem: see ``sealed_parquet.write``.

    Raises:
        ValueError: see ``check``.
    """
    sealed_parquet.write(Path(path), check(table), problem)


def read(path: str | Path) -> pd.DataFrame:
    """The table in a file, checked.

    Raises:
        UserError: no such file.
        DamagedFile: it is not what was written, or ``check`` refuses it; it has been set aside.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"metrics table {path} does not exist")
    table = sealed_parquet.read(path)
    try:
        return check(table)
    except ValueError as error:
        raise damaged(path, f"is not a metrics table of this version ({error})") from error


def concat(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """All rows of ``tables`` in their order, checked together.

    Raises:
        ValueError: no table at all, or see ``check``.
    """
    parts = list(tables)
    if not parts:
        raise ValueError("no metrics tables to put together")
    return check(pd.concat(parts, ignore_index=True))


def test_sets(table: pd.DataFrame) -> list[str]:
    """Names of the test sets, in the order of the table."""
    return [str(split) for split in table["split"].unique() if split not in (TRAIN, VALIDATION)]


def _as_dtype(column: pd.Series, dtype: str) -> pd.Series:
    if column.isna().any():
        raise ValueError(f"column {column.name} has {int(column.isna().sum())} missing values, expected none")
    if dtype == "str":
        bad = ~column.map(lambda value: isinstance(value, str) and value != "")
        if bad.any():
            raise ValueError(f"column {column.name} has {_shown(column[bad].iloc[0])}, expected text")
    if dtype == "bool" and not column.map(lambda value: isinstance(value, bool | np.bool_)).all():
        raise ValueError(f"column {column.name} is {column.dtype}, expected bool")
    try:
        converted = column.astype(dtype)  # type: ignore[call-overload]
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {column.name} is {column.dtype}, expected {dtype}: {error}") from error
    if dtype == "int64" and not (converted == column).all():
        raise ValueError(f"column {column.name} has fractions, expected whole numbers")
    return converted


def _refuse(table: pd.DataFrame, bad: pd.Series | np.ndarray, column: str, expected: str) -> None:
    found = table.loc[np.asarray(bad, dtype=bool)]
    if len(found):
        first = found.iloc[0]
        where = f"kernel {first['kernel']}, n {first['n']}, draw {first['draw']}, split {first['split']}"
        raise ValueError(f"column {column} has {_shown(first[column])} ({where}), expected {expected}")


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value)
