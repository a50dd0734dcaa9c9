"""Which row of the user's files each example of a study is: ``rows.csv`` beside the examples.

A line an example of each part, in the order of ``<part>_x.npy``; augmented copies are left out, whose order is that of
their images. ``part`` and ``example``, its place there from 0, then of ``COLUMNS`` those that the data set knows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from itertools import repeat
from pathlib import Path
from typing import BinaryIO

import numpy as np

from neural_kernels import sealed_arrays
from neural_kernels.storage.files import write_atomically

FILE = "rows.csv"

COLUMNS = ("file", "row", "line")
"""The file below the data's path, the row from 0 in its table or array, and the line of a table where it ends."""

BYTES = 64
"""Of a line, about."""


def write(path: Path, parts: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write the file.

    Args:
        parts: of each part some of ``COLUMNS``, each (m,) in the order of its examples.
    """
    columns = [name for name in COLUMNS if any(name in known for known in parts.values())]

    def content(file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["part", "example", *columns])
        for part, known in parts.items():
            count = len(next(iter(known.values())))
            fields = [known[name].tolist() if name in known else repeat("") for name in columns]
            writer.writerows(zip(repeat(part), range(count), *fields, strict=False))
        text.flush()
        text.detach()

    write_atomically(path, content)


def of_parts(data: Path) -> dict[str, dict[str, np.ndarray]]:
    """What ``write`` was given; nothing where the folder ``data`` is not there, or of a version that wrote no rows.

    Raises:
        DamagedFile: the file is not what was written.
    """
    summary = data / "data.json"
    if not summary.exists():
        return {}
    folder = sealed_arrays.open_folder(summary)
    if FILE not in folder.names():
        return {}
    import pandas as pd

    gaps = {name: [""] for name in COLUMNS}
    types = {"part": "category", "file": "category"}
    table = pd.read_csv(folder.file(FILE), dtype=types, keep_default_na=False, na_values=gaps)
    found = {}
    for part, rows in table.groupby("part", sort=False, observed=True):
        known = {name: rows[name] for name in COLUMNS if name in rows and rows[name].notna().all()}
        found[str(part)] = {
            name: values.to_numpy(object if name == "file" else np.int64) for name, values in known.items()
        }
    return found


def names(known: Mapping[str, np.ndarray]) -> list[str]:
    """What people call examples of which this is known: the line, else the row, and the file where there are many."""
    place = next((name for name in ("line", "row") if name in known), None)
    numbers = [] if place is None else [f"{place} {number}" for number in known[place].tolist()]
    files = [Path(file).name for file in known["file"]] if "file" in known else []
    if files and numbers:
        return [f"{file}, {number}" for file, number in zip(files, numbers, strict=True)]
    return files or numbers
