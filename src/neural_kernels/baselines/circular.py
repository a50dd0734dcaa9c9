"""Circular fingerprints of graphs: what random forests and Tanimoto's similarity see of molecules.

As Morgan's: each node begins with a number that follows from its features, and at each step takes in those of its
neighbours. Bonds have no order of their own in ``Graphs``; what atoms have of it stands in their features.
"""

from __future__ import annotations

import numpy as np

from neural_kernels.graphs import Graphs

BITS, RADIUS = 2048, 2
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def fingerprints(graphs: Graphs) -> np.ndarray:
    """How often each neighbourhood of up to ``RADIUS`` edges is there, (n, ``BITS``) float64, as log(1 + count).

    The same for graphs that differ by the order of nodes and edges alone.
    """
    owners = np.repeat(np.arange(len(graphs)), graphs.node_counts)
    edges = np.asarray(graphs.edges, np.int64)
    first = np.asarray(graphs.node_offsets)[:-1]
    edges = edges + np.repeat(first, np.diff(graphs.edge_offsets))[:, None]
    counts = np.zeros((len(graphs), BITS))
    numbers = _of_features(np.ascontiguousarray(graphs.nodes))
    for step in range(RADIUS + 1):
        np.add.at(counts, (owners, (numbers % np.uint64(BITS)).astype(np.intp)), 1)
        if step < RADIUS:
            around = np.zeros_like(numbers)
            np.add.at(around, edges[:, 1], _mixed(numbers)[edges[:, 0]])
            numbers = _mixed(numbers + np.uint64(1) + around * _MULTIPLIERS[0])
    return np.log1p(counts)


def _of_features(nodes: np.ndarray) -> np.ndarray:
    """A number of each node, (nodes,) uint64, that equal features share."""
    rows = nodes.astype(np.float64) + 0.0  # -0 is 0
    weights = np.random.default_rng(0).integers(2**64, size=rows.shape[1], dtype=np.uint64)
    with np.errstate(over="ignore"):
        return _mixed((_mixed(rows.view(np.uint64)) * weights).sum(axis=1, dtype=np.uint64))


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """The end of SplitMix64, which spreads each bit over all."""
    with np.errstate(over="ignore"):
        numbers = (numbers ^ (numbers >> np.uint64(30))) * _MULTIPLIERS[0]
        numbers = (numbers ^ (numbers >> np.uint64(27))) * _MULTIPLIERS[1]
    return np.asarray(numbers ^ (numbers >> np.uint64(31)))
