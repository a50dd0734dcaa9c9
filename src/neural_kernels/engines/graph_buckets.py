"""Graphs in batches of one shape, for engines that compile a program for each shape of their arrays.

A graph's bucket follows from its own number of nodes, never from the graphs beside it: which programs
there are, and what they compute for a pair, does not depend on how examples are cut into calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from neural_kernels.engines import Precision
from neural_kernels.engines.representable import rounded
from neural_kernels.graphs import Graphs

SMALLEST_BUCKET = 8


@dataclass(frozen=True)
class Batch:
    """Graphs of one bucket, filled up with nodes that have zero features and no edges.

    Attributes:
        places: (m,) numbers of the graphs; arrays go on after them with copies of the last one.
        nodes: (length, size, features).
        adjacency: (length, size, size), the number of edges to node i from node j.
        real: (length, size) bool, whether there is such a node.
        own: what an engine computes of each graph once.
    """

    places: np.ndarray
    nodes: np.ndarray
    adjacency: np.ndarray
    real: np.ndarray
    own: Any = ()

    @property
    def size(self) -> int:
        return self.nodes.shape[1]


def bucket(nodes: int) -> int:
    """Size to which a graph of so many nodes is filled up: 8, 12, 16, 24, 32, 48 and so on."""
    size = max(SMALLEST_BUCKET, 1 << (nodes - 1).bit_length())
    return size * 3 // 4 if nodes <= size * 3 // 4 and size > SMALLEST_BUCKET else size


def batch_length(size: int, entries: int) -> int:
    """Graphs of ``size`` nodes in a batch, a power of two: two batches have at most so many covariances."""
    return 1 << max(1, int(entries**0.5) // size).bit_length() - 1


def batches(graphs: Graphs, entries: int, dtype: Precision, shrink: bool = False) -> list[Batch]:
    """All of ``graphs`` in batches, the smallest graphs first and otherwise in their order.

    Args:
        entries: see ``batch_length``.
        shrink: make batches no longer than few graphs need, at the price of further shapes.

    Raises:
        UserError: see ``Graphs.check``.
    """
    graphs.check()
    buckets = np.array([bucket(int(count)) for count in graphs.node_counts])
    result = []
    for size in np.unique(buckets).tolist():
        of_size = np.flatnonzero(buckets == size)
        length = batch_length(size, entries)
        if shrink:
            length = min(length, 1 << (len(of_size) - 1).bit_length())
        for start in range(0, len(of_size), length):
            result.append(_batch(graphs, of_size[start : start + length], size, length, dtype))
    return result


def pairs(left: list[Batch], right: list[Batch] | None) -> Iterator[tuple[Batch, Batch, bool]]:
    """The batches to compute for all pairs of graphs, the smaller size first.

    With ``right`` None, those that ``scatter`` needs for a symmetric kernel. The third value says that both
    were exchanged.
    """
    for i, rows in enumerate(left):
        for columns in left[i:] if right is None else right:
            exchanged = rows.size > columns.size
            yield (columns, rows, True) if exchanged else (rows, columns, False)


def scatter(
    tile: np.ndarray, rows: Batch, columns: Batch, exchanged: bool, result: np.ndarray, symmetric: bool
) -> None:
    """Puts the entries of two batches where they belong in ``result``."""
    tile = tile[: len(rows.places), : len(columns.places)]
    if exchanged:
        rows, columns, tile = columns, rows, tile.T
    result[np.ix_(rows.places, columns.places)] = tile
    if symmetric and rows is not columns:
        result[np.ix_(columns.places, rows.places)] = tile.T


def _batch(graphs: Graphs, places: np.ndarray, size: int, length: int, dtype: Precision) -> Batch:
    nodes = np.zeros((length, size, graphs.nodes.shape[1]), dtype)
    adjacency = np.zeros((length, size, size), dtype)
    real = np.zeros((length, size), bool)
    for row in range(length):
        graph = places[min(row, len(places) - 1)]
        first, last = graphs.node_offsets[graph : graph + 2]
        nodes[row, : last - first] = rounded(graphs.nodes[first:last], dtype)
        real[row, : last - first] = True
        edges = graphs.edges[slice(*graphs.edge_offsets[graph : graph + 2])]
        np.add.at(adjacency[row], (edges[:, 1], edges[:, 0]), 1)
    return Batch(places, nodes, adjacency, real)
