"""A study's examples into its folder: each part in its order, in one pass over a pool's chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels import sealed_arrays
from neural_kernels.datasets import augmentation
from neural_kernels.datasets.augmentation import Augmentation
from neural_kernels.datasets.examination import look
from neural_kernels.datasets.pools import Dataset, Pool, check_finite, check_labels
from neural_kernels.errors import UserError
from neural_kernels.graphs import concatenate, is_graphs, structure_files, write_structure
from neural_kernels.progress import progress
from neural_kernels.storage.files import write_npy
from neural_kernels.storage.large_arrays import atomic_array

# What each example of an augmented training set is.
COPIES_FILE = "train_copies.npy"


def write_parts(
    dataset: Dataset,
    pool: Pool,
    selections: Mapping[str, np.ndarray],
    directory: Path,
    augmented: Augmentation = augmentation.NONE,
    seed: int = 0,
) -> dict[str, Any]:
    """The examples ``selections[part]`` of ``pool``, in that order, in one pass over its chunks.

    Those of the training set are followed by their augmented copies.

    Returns:
        What the summary says of each file (``sealed_arrays``).
    """
    if is_graphs(pool.input_shape):
        return _write_graphs(dataset, pool, selections, directory)
    label_shape = () if dataset.task == "classification" else (dataset.outputs,)
    label_dtype = np.int64 if dataset.task == "classification" else np.float64
    written: dict[str, np.ndarray] = {}
    with ExitStack() as files:
        targets = []
        for part, order in selections.items():
            count = augmented.factor * len(order) if part == "train" else len(order)
            x_shape, y_shape = (count, *pool.input_shape), (count, *label_shape)
            x = files.enter_context(atomic_array(directory / f"{part}_x.npy", x_shape, pool.dtype))
            y = files.enter_context(atomic_array(directory / f"{part}_y.npy", y_shape, label_dtype))
            targets.append((order, x, y))
            written |= {f"{part}_x.npy": x, f"{part}_y.npy": y}
        _gather(dataset, pool, targets, "+".join(selections))
        if augmented.factor > 1:
            rows, x, y = dict(zip(selections, targets, strict=True))["train"]
            copies = files.enter_context(atomic_array(directory / COPIES_FILE, (len(x),), np.uint8))
            copies[:] = augmentation.expand(augmented, seed, rows, x)
            for copy in range(1, augmented.factor):
                y[copy * len(rows) : (copy + 1) * len(rows)] = y[: len(rows)]
            written[COPIES_FILE] = copies
        return {name: sealed_arrays.record_of(array) for name, array in written.items()}


def _write_graphs(
    dataset: Dataset, pool: Pool, selections: Mapping[str, np.ndarray], directory: Path
) -> dict[str, Any]:
    """As ``write_parts``, with all graphs of the pool in memory at once."""
    chunks = sorted(pool.chunks(), key=lambda chunk: chunk.start)
    for chunk in chunks:
        look(dataset, chunk)
    x, y = concatenate([chunk.x for chunk in chunks]), np.concatenate([chunk.y for chunk in chunks])
    if len(x) != pool.count:
        raise UserError(f"{pool.source}: found {len(x)} graphs, expected {pool.count} as its files announced")
    records: dict[str, Any] = {}
    for part_name, order in selections.items():
        path, chosen = directory / f"{part_name}_x.npy", x[order]
        written = {path: chosen.nodes, directory / f"{part_name}_y.npy": y[order]}
        written = {file: np.ascontiguousarray(array) for file, array in written.items()}
        for file, array in written.items():
            write_npy(file, array)
        written |= zip(structure_files(path).values(), write_structure(path, chosen), strict=True)
        records |= {file.name: sealed_arrays.record_of(array) for file, array in written.items()}
    return records


def _gather(
    dataset: Dataset, pool: Pool, targets: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], name: str
) -> None:
    """Scatter each chunk's rows to their places: ``x[k]`` becomes the pool's example ``order[k]``."""
    sorted_targets = []
    for order, x, y in targets:
        places = np.argsort(order)
        sorted_targets.append((order[places], places, x, y))
    left = sum(len(order) for order, _, _ in targets)
    with progress(total=left, description=f"preparing {name}") as bar:
        for chunk in pool.chunks():
            if dataset.task == "classification":
                check_labels(chunk.source, chunk.y, dataset.outputs, chunk.first_row)
            for order, places, x, y in sorted_targets:
                low, high = np.searchsorted(order, [chunk.start, chunk.start + len(chunk.y)])
                if low == high:
                    continue
                rows = order[low:high] - chunk.start
                taken = chunk.x[rows]
                check_finite(chunk.source, taken, rows + chunk.first_row, "a feature")
                x[places[low:high]] = taken
                y[places[low:high]] = chunk.y[rows]
                left -= len(rows)
                bar.update(len(rows))
            if left == 0:
                return
    raise UserError(f"{pool.source}: {left} examples fewer than its files announced, expected {pool.count}")
