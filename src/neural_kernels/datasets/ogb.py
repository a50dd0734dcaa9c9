"""Molecules of the Open Graph Benchmark, as its archives unpack: raw/*.csv.gz and split/scaffold/*.csv.gz.

Node features are the nine of ``datasets.atoms``; each bond, given once, becomes two edges. The benchmark's
split "valid" is the validation split, "test" the test set. Labels of 0, 1 and blanks make a multilabel task,
any others a regression.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels.datasets import atoms, multitask
from neural_kernels.datasets.pools import Chunk, Dataset, Pool, require_file
from neural_kernels.errors import UserError
from neural_kernels.graphs import Graphs

ORIGIN = "https://ogb.stanford.edu (the archive of an ogbg-mol data set, unpacked)"
SPLITS = {"train": "train", "validation": "valid", "test": "test"}

# Lines of the table of atoms that are held as 8-byte integers at a time.
LINES = 1_000_000


def open_dataset(options: Mapping[str, Any]) -> Dataset:
    """The folder ``path``, which holds raw/ and split/. Labels, sizes and split are read; atoms and bonds later."""
    folder = Path(options["path"])
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder, expected data from {ORIGIN}")
    labels = read_table(folder / "raw" / "graph-label.csv.gz", np.float64)
    for name in ("node-feat", "edge", "num-node-list", "num-edge-list"):
        require_file(folder / "raw" / f"{name}.csv.gz", ORIGIN)
    columns = read_table(folder / "raw" / "node-feat.csv.gz", np.int64, lines=1).shape[1]
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


def graph_pool(source: str, graphs: Any, labels: np.ndarray, rows: np.ndarray) -> Pool:
    """The molecules ``rows`` of all those that ``graphs()`` reads.

    Args:
        graphs: a function that returns ``Graphs`` whose nodes are ``atoms.encode``'s channels.
        labels: (molecules, tasks) float64.
        rows: (m,) integers.
    """

    def chunks() -> Iterator[Chunk]:
        yield Chunk(0, graphs()[rows], labels[rows], source, 0)

    input_shape: tuple[Any, ...] = (None, atoms.CHANNELS)
    return Pool(source, len(rows), input_shape, np.dtype(np.uint8), chunks)


def read_split(folder: Path, count: int) -> dict[str, np.ndarray]:
    """Rows of train, validation and test from train.csv.gz, valid.csv.gz and test.csv.gz, numbers from 0.

    Raises:
        UserError: a file is missing, or has a row that the ``count`` molecules lack, or that is there twice.
    """
    splits = {}
    seen = np.zeros(count, bool)
    for part, name in SPLITS.items():
        path = folder / f"{name}.csv.gz"
        rows = read_table(path, np.int64)[:, 0]
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


def read_table(path: Path, dtype: type, lines: int | None = None) -> np.ndarray:
    """A table of numbers without a header, (lines, columns) of ``dtype``; blanks are NaN.

    Args:
        lines: how many, all where None.

    Raises:
        UserError: no such file, or one that is damaged, empty or holds something else.
    """
    with _named(path, dtype):
        return _reader(path, dtype, nrows=lines).to_numpy()


def _parts(path: Path, dtype: type) -> Iterator[np.ndarray]:
    with _named(path, dtype), _reader(path, dtype, chunksize=LINES) as reader:
        for part in reader:
            yield part.to_numpy()


def _reader(path: Path, dtype: type, **options: Any) -> Any:
    # pandas takes as long to load as all the rest, and most stages read no table.
    import pandas as pd

    # A line without anything is a molecule whose one label is missing.
    return pd.read_csv(path, header=None, dtype=dtype, skip_blank_lines=False, **options)


@contextmanager
def _named(path: Path, dtype: type) -> Iterator[None]:
    require_file(path, ORIGIN)
    try:
        yield
    # pandas' own errors are ValueErrors; those of a damaged archive are the others.
    except (ValueError, OverflowError, OSError, EOFError, zlib.error) as error:
        kind = "whole numbers" if dtype is np.int64 else "numbers"
        sentence = " ".join(str(error).split())
        raise UserError(
            f"{path}: cannot be read ({sentence}), expected a compressed table of {kind}"
        ) from error


def _read_graphs(folder: Path, count: int) -> Graphs:
    raw = folder / "raw"
    offsets = {what: _offsets(raw / f"num-{what}-list.csv.gz", count) for what in ("node", "edge")}
    bonds = read_table(raw / "edge.csv.gz", np.int64)
    nodes = np.empty((offsets["node"][-1], atoms.CHANNELS), np.uint8)
    lines = 0
    for features in _parts(raw / "node-feat.csv.gz", np.int64):
        atoms.check_features(str(raw / "node-feat.csv.gz"), features, lines)
        room = nodes[lines : lines + len(features)]
        room[:] = atoms.encode(features)[: len(room)]
        lines += len(features)
    for what, found in (("node", lines), ("edge", len(bonds))):
        if found != offsets[what][-1]:
            raise UserError(
                f"{folder}: found {found} {what}s, expected {offsets[what][-1]} as in num-{what}-list.csv.gz"
            )
    if bonds.shape[1] != 2:
        raise UserError(f"{raw / 'edge.csv.gz'}: found {bonds.shape[1]} columns, expected two atoms a bond")
    # Each bond, then the same the other way round, so that the edges of a graph stay together.
    edges = np.stack([bonds, bonds[:, ::-1]], axis=1).reshape(-1, 2)
    return Graphs(nodes, offsets["node"], edges, 2 * offsets["edge"]).check(str(folder))


def _offsets(path: Path, count: int) -> np.ndarray:
    counts = read_table(path, np.int64)[:, 0]
    if len(counts) != count or (counts < 0).any():
        raise UserError(
            f"{path}: found {len(counts)} counts from {counts.min()}, expected one for each of the {count} molecules, "
            "none negative"
        )
    return np.concatenate([[0], np.cumsum(counts)])
