"""Molecules of the Open Graph Benchmark, as its archives unpack: raw/*.csv.gz and split/scaffold/*.csv.gz.

Node features are the nine of ``datasets.atoms``; each bond, given once, becomes two edges. The benchmark's
split "valid" is the validation split, "test" the test set. Labels of 0, 1 and blanks make a multilabel task,
any others a regression.
"""

import functools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from neural_kernels.datasets import atoms, multitask, number_tables
from neural_kernels.datasets.options import MeasuredOptions
from neural_kernels.datasets.pools import Chunk, Dataset, Pool, is_folder, known_by, require_file
from neural_kernels.errors import UserError
from neural_kernels.graphs import Graphs
from neural_kernels.sections import Path as PathText

ORIGIN = "https://ogb.stanford.edu (the archive of an ogbg-mol data set, unpacked)"
SPLITS = {"train": "train", "validation": "valid", "test": "test"}

MOST_OF_A_MOLECULE = 10_000
"""Atoms or bonds; the largest protein that is one chain has 25 times as many, and no kernel."""

# Lines of the table of atoms that are held as 8-byte integers at a time.
LINES = 1_000_000


class Options(MeasuredOptions):
    """An ogbg-mol data set of the Open Graph Benchmark."""

    name: Literal["ogb"] = Field("ogb", description="The data set ogb.")
    path: PathText = Field(
        description="The folder that holds raw and split, relative to the working directory."
    )


def open_dataset(options: Options) -> Dataset:
    """The folder ``path``, which holds raw/ and split/. Labels, sizes and split are read; atoms and bonds later."""
    folder = Path(options.path)
    if not is_folder(folder):
        raise UserError(f"{folder}: no such folder, expected data from {ORIGIN}")
    labels = read_table(folder / "raw" / "graph-label.csv.gz", np.float64)
    for name in ("node-feat", "edge", "num-node-list", "num-edge-list"):
        require_file(folder / "raw" / f"{name}.csv.gz", ORIGIN)
    columns = number_tables.read_table(folder / "raw" / "node-feat.csv.gz", np.int64, lines=1).shape[1]
    if columns != len(atoms.SIZES):
        raise UserError(
            f"{folder / 'raw' / 'node-feat.csv.gz'}: found {columns} columns, expected the {len(atoms.SIZES)} features "
            "of atoms that an ogbg-mol data set has"
        )
    splits = read_split(folder / "split" / "scaffold", len(labels))
    task = multitask.task_of(str(folder / "raw" / "graph-label.csv.gz"), labels)
    graphs = functools.cache(partial(_read_graphs, folder, len(labels)))
    pools = {part: graph_pool(str(folder), graphs, labels, rows) for part, rows in splits.items()}
    return Dataset(
        pools["train"],
        {"test": lambda: pools["test"]},
        task,
        labels.shape[1],
        validation=pools["validation"],
    )


def graph_pool(source: str, graphs: Any, labels: np.ndarray, rows: np.ndarray, **known: np.ndarray) -> Pool:
    """The molecules ``rows`` of all those that ``graphs()`` reads.

    Args:
        graphs: a function that returns ``Graphs`` whose nodes are ``atoms.encode``'s channels.
        labels: (molecules, tasks) float64.
        rows: (m,) integers.
        known: columns of all molecules for ``Pool.known``; their places where there are none.
    """

    def chunks() -> Iterator[Chunk]:
        yield Chunk(0, graphs()[rows], labels[rows], source, 0)

    input_shape: tuple[Any, ...] = (None, atoms.CHANNELS)
    columns = {name: values[rows] for name, values in known.items()} or {"row": rows}
    chosen = partial(known_by, **columns)
    return Pool(source, len(rows), input_shape, np.dtype(np.uint8), chunks, chosen)


def read_split(folder: Path, count: int) -> dict[str, np.ndarray]:
    """Rows of train, validation and test from train.csv.gz, valid.csv.gz and test.csv.gz, numbers from 0.

    Raises:
        UserError: a file is missing, or has a row that the ``count`` molecules lack, or that is there twice.
    """
    splits = {}
    seen = np.zeros(count, bool)
    for part, name in SPLITS.items():
        path = folder / f"{name}.csv.gz"
        rows = read_table(path, np.int64, columns=1)[:, 0]
        wrong = (rows < 0) | (rows >= count)
        if wrong.any():
            raise UserError(f"{path}: found row {rows[wrong][0]}, expected rows from 0 to {count - 1}")
        if seen[rows].any() or len(np.unique(rows)) != len(rows):
            ordered = np.sort(rows)
            twice = [*rows[seen[rows]], *ordered[1:][np.diff(ordered) == 0]][0]
            raise UserError(f"{path}: row {twice} is in the split twice, expected each row once")
        seen[rows] = True
        splits[part] = rows
    return splits


def read_table(path: Path, dtype: type, columns: int | None = None) -> np.ndarray:
    """A table of numbers without a header, (lines, columns) of ``dtype``; blanks are NaN.

    Raises:
        UserError: no such file, or one that is damaged, empty or holds something else, or not so many columns.
    """
    table = number_tables.read_table(require_file(path, ORIGIN), dtype)
    if columns is not None and table.shape[1] != columns:
        raise UserError(f"{path}: found {table.shape[1]} columns, expected {columns}")
    return table


def _read_graphs(folder: Path, count: int) -> Graphs:
    raw = folder / "raw"
    offsets = {what: _offsets(raw / f"num-{what}-list.csv.gz", count) for what in ("node", "edge")}
    bonds = read_table(raw / "edge.csv.gz", np.int64, columns=2)
    lines = number_tables.count_lines(raw / "node-feat.csv.gz")
    for what, found in (("node", lines), ("edge", len(bonds))):
        if found != offsets[what][-1]:
            raise UserError(
                f"{folder}: found {found} {what}s, expected {offsets[what][-1]} as in num-{what}-list.csv.gz"
            )
    nodes, start = np.empty((lines, atoms.CHANNELS), np.uint8), 0
    for features in number_tables.parts(raw / "node-feat.csv.gz", np.int64, LINES):
        atoms.check_features(str(raw / "node-feat.csv.gz"), features, start)
        nodes[start : start + len(features)] = atoms.encode(features)
        start += len(features)
    # Each bond, then the same the other way round, so that the edges of a graph stay together.
    edges = np.stack([bonds, bonds[:, ::-1]], axis=1).reshape(-1, 2)
    return Graphs(nodes, offsets["node"], edges, 2 * offsets["edge"]).check(str(folder))


def _offsets(path: Path, count: int) -> np.ndarray:
    counts = read_table(path, np.int64, columns=1)[:, 0]
    if len(counts) != count or (counts < 0).any():
        raise UserError(
            f"{path}: found {len(counts)} counts from {counts.min()}, expected one for each of the {count} molecules, "
            "none negative"
        )
    if counts.max() > MOST_OF_A_MOLECULE:
        raise UserError(f"{path}: found a count of {counts.max()}, expected at most {MOST_OF_A_MOLECULE:,}")
    return np.concatenate([[0], np.cumsum(counts)])
