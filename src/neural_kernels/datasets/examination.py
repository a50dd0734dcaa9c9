"""A look at every value of a study's data before any work: what is wrong stops it now and not days later."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neural_kernels.datasets.pools import Chunk, Dataset, Pool, check_finite, check_labels
from neural_kernels.errors import UserError
from neural_kernels.graphs import Graphs
from neural_kernels.progress import progress


def examine(dataset: Dataset, pools: Mapping[str, Pool]) -> np.ndarray:
    """Look at every example of ``pools``, a chunk at a time, with a progress bar.

    Args:
        pools: by the name of a part; "train" is the training pool.

    Returns:
        The labels or values of the training pool, (n,) integers or (n, outputs) floats.

    Raises:
        UserError: as ``look``, fewer or more examples than the files announced, a class without
            training examples, or training examples that are all the same.
    """
    labels: list[tuple[int, np.ndarray]] = []
    first: np.ndarray | None = None
    alike = True
    with progress(total=sum(pool.count for pool in pools.values()), description="looking at the data") as bar:
        for name, pool in pools.items():
            left = pool.count
            for chunk in pool.chunks():
                look(dataset, chunk)
                left -= len(chunk.y)
                bar.update(len(chunk.y))
                if name == "train":
                    if alike and not isinstance(chunk.x, Graphs):
                        first = chunk.x[:1].copy() if first is None else first
                        alike = bool((chunk.x == first).all())
                    labels.append((chunk.start, np.array(chunk.y)))
            if left:
                raise UserError(
                    f"{pool.source}: found {pool.count - left} examples, expected {pool.count} as its files announced"
                )
    train_pool = pools["train"]
    if alike and first is not None and train_pool.count > 1:
        raise UserError(
            f"{train_pool.source}: all {train_pool.count} training examples are the same, expected examples that differ"
        )
    train = np.concatenate([y for _, y in sorted(labels, key=lambda part: part[0])])
    if dataset.task == "classification":
        _check_classes(dataset, train_pool.source, train)
    return train


def look(dataset: Dataset, chunk: Chunk) -> None:
    """Refuse a chunk with a label out of range, a feature that is NaN, infinite or huge, or an unsound graph."""
    if dataset.task == "classification":
        check_labels(chunk.source, chunk.y, dataset.outputs, chunk.first_row)
    places = np.arange(chunk.first_row, chunk.first_row + len(chunk.y))
    if isinstance(chunk.x, Graphs):
        graphs = chunk.x.check(chunk.source, chunk.first_row)
        check_finite(chunk.source, graphs.nodes, np.repeat(places, graphs.node_counts), "a node feature")
    else:
        check_finite(chunk.source, chunk.x, places, "a feature")


def _check_classes(dataset: Dataset, source: str, labels: np.ndarray) -> None:
    missing = np.setdiff1d(np.arange(dataset.outputs), labels)
    if len(missing):
        name = f" ({dataset.class_names[missing[0]]})" if dataset.class_names else ""
        raise UserError(
            f"{source}: no training example has the label {missing[0]}{name}, expected some of each class from 0 to "
            f"{dataset.outputs - 1}"
        )
