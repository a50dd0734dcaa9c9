"""Graphs of different sizes as one value, where other examples are an array.

Nothing here knows of kernels. Graphs are kept as few long arrays, so that a data set of millions can stay
on disk and be read a part at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.storage.files import write_npy

# Where no data is at hand, a graph is taken to have as many nodes as a drug-like molecule has heavy atoms.
TYPICAL_NODES = 25


@dataclass(frozen=True, eq=False)
class Graphs:
    """``n`` graphs, one after the other.

    An edge goes from its source to its target, counted from the first node of its own graph; ``Aggregate``
    sums over the sources of a node's edges. An undirected edge is two, and a repeated one counts as often
    as it is there.

    Attributes:
        nodes: (all nodes, features), any real dtype: the node features.
        node_offsets: (n + 1,) integers from 0; the nodes of graph i are rows node_offsets[i] to
            node_offsets[i + 1] of ``nodes``.
        edges: (all edges, 2) integers, source and target.
        edge_offsets: (n + 1,) integers from 0, as ``node_offsets`` for ``edges``.

    Raises:
        UserError: arrays whose shapes or dtypes are not these. ``check`` looks at every entry.
    """

    nodes: np.ndarray
    node_offsets: np.ndarray
    edges: np.ndarray
    edge_offsets: np.ndarray

    def __post_init__(self) -> None:
        if self.nodes.ndim != 2 or self.nodes.dtype.kind not in "fiub":
            raise UserError(f"nodes are {_found(self.nodes)}, expected (nodes, features) real numbers")
        if self.edges.ndim != 2 or self.edges.shape[1] != 2 or self.edges.dtype.kind not in "iu":
            raise UserError(f"edges are {_found(self.edges)}, expected (edges, 2) integers")
        for name, values in (("node", self.nodes), ("edge", self.edges)):
            offsets = getattr(self, f"{name}_offsets")
            if offsets.ndim != 1 or not len(offsets) or offsets.dtype.kind not in "iu":
                raise UserError(f"{name}_offsets are {_found(offsets)}, expected (graphs + 1,) integers")
            if offsets[0] != 0 or offsets[-1] != len(values):
                raise UserError(
                    f"{name}_offsets go from {offsets[0]} to {offsets[-1]}, expected from 0 to the {len(values)} "
                    f"{name}s"
                )
        if len(self.node_offsets) != len(self.edge_offsets):
            raise UserError(
                f"node_offsets are of {len(self.node_offsets) - 1} graphs and edge_offsets of "
                f"{len(self.edge_offsets) - 1}, expected as many"
            )

    def __len__(self) -> int:
        return len(self.node_offsets) - 1

    @property
    def shape(self) -> tuple[Any, ...]:
        """(graphs, None, features), as an array's, where the None stands for a number that varies."""
        return len(self), None, self.nodes.shape[1]

    @property
    def dtype(self) -> np.dtype:
        """Of the node features."""
        return self.nodes.dtype

    @property
    def node_counts(self) -> np.ndarray:
        """(n,) number of nodes of each graph."""
        return np.diff(self.node_offsets)

    def __getitem__(self, chosen: slice | np.ndarray) -> Graphs:
        """The graphs of a slice, or of integers (m,) in their order; a slice of step 1 copies no nodes."""
        if isinstance(chosen, slice) and chosen.step in (None, 1):
            first, last, _ = chosen.indices(len(self))
            last = max(first, last)
            parts = []
            for values, offsets in ((self.nodes, self.node_offsets), (self.edges, self.edge_offsets)):
                cut = np.asarray(offsets[first : last + 1])
                parts += [values[cut[0] : cut[-1]], cut - cut[0]]
            return Graphs(*parts)
        places = np.arange(len(self))[chosen]
        if places.ndim != 1:
            raise TypeError(f"graphs are indexed by a slice or by integers (m,), not by {chosen!r}")
        node_rows, node_offsets = _rows(np.asarray(self.node_offsets), places)
        edge_rows, edge_offsets = _rows(np.asarray(self.edge_offsets), places)
        return Graphs(self.nodes[node_rows], node_offsets, self.edges[edge_rows], edge_offsets)

    def check(self, source: str = "graphs", first: int = 0) -> Graphs:
        """These graphs, where every one of them is sound.

        Args:
            source: of the graphs, for the error.
            first: number of the first graph there.

        Raises:
            UserError: a graph without nodes, or an edge of a node that its graph lacks.
        """
        counts, edge_counts = self.node_counts, np.diff(self.edge_offsets)
        empty = np.flatnonzero(counts <= 0)
        if empty.size:
            raise UserError(f"{source}: graph {first + empty[0]} has no nodes, expected at least one")
        if (edge_counts < 0).any():
            graph = first + np.flatnonzero(edge_counts < 0)[0]
            raise UserError(f"{source}: edge_offsets descend at graph {graph}, expected ascending offsets")
        owner = np.repeat(np.arange(len(self)), edge_counts)
        outside = (self.edges < 0) | (self.edges >= counts[owner, None])
        wrong = np.flatnonzero(outside.any(axis=1))
        if wrong.size:
            graph, (tail, head) = owner[wrong[0]], self.edges[wrong[0]]
            raise UserError(
                f"{source}: graph {first + graph} has an edge from node {tail} to node {head}, expected nodes "
                f"0 to {counts[graph] - 1}"
            )
        return self


Examples = np.ndarray | Graphs
"""What engines compute on: an array (n, *input_shape), or graphs."""


def stack(nodes: Sequence[np.ndarray], edges: Sequence[np.ndarray]) -> Graphs:
    """Graphs from the node features (nodes, features) and the edges (edges, 2) of each.

    Raises:
        UserError: as ``Graphs`` and its ``check``, or not as many edge lists as feature arrays.
    """
    if len(nodes) != len(edges) or not nodes:
        raise UserError(f"found nodes of {len(nodes)} graphs and edges of {len(edges)}, expected as many")
    # An empty list of edges has no dtype of its own.
    pairs = [
        np.asarray(pair, np.int64).reshape(-1, 2) if not len(pair) else np.asarray(pair) for pair in edges
    ]
    return Graphs(
        np.concatenate(nodes), _offsets(map(len, nodes)), np.concatenate(pairs), _offsets(map(len, pairs))
    ).check()


def concatenate(parts: Sequence[Graphs]) -> Graphs:
    """The graphs of all ``parts``, in their order."""
    return Graphs(
        np.concatenate([part.nodes for part in parts]),
        _offsets(np.concatenate([part.node_counts for part in parts])),
        np.concatenate([part.edges for part in parts]),
        _offsets(np.concatenate([np.diff(part.edge_offsets) for part in parts])),
    )


def is_graphs(input_shape: tuple[int | None, ...]) -> bool:
    """Whether ``input_shape``, that of one example, is (None, features): a graph's."""
    return len(input_shape) == 2 and input_shape[0] is None


def typical_shape(examples: Examples) -> tuple[int, ...]:
    """Shape of one example; of a graph, with the mean number of nodes."""
    if isinstance(examples, Graphs):
        return max(1, round(len(examples.nodes) / max(1, len(examples)))), examples.nodes.shape[1]
    return examples.shape[1:]


def made_up(
    count: int, features: int, random: np.random.Generator, mean_nodes: int = TYPICAL_NODES
) -> Graphs:
    """Graphs to measure on, with the sizes, degrees and rings of molecules, and standard normal features.

    Each is a tree whose nodes hang on one of the three before them, with a bond in ten closing a ring.
    """
    nodes, edges = [], []
    for size in 1 + random.poisson(mean_nodes - 1, count):
        later = np.arange(1, size)
        earlier = np.maximum(later - random.integers(1, 4, size - 1), 0)
        closing = random.integers(0, size, (size // 10, 2))
        tails = np.concatenate([earlier, closing.min(axis=1)])
        heads = np.concatenate([later, closing.max(axis=1)])
        bonds = np.unique(np.stack([tails, heads], axis=1)[tails < heads], axis=0)
        nodes.append(random.normal(size=(size, features)))
        edges.append(np.concatenate([bonds, bonds[:, ::-1]]))
    return stack(nodes, edges)


# ------------------------------------------------------------------------------ files


def structure_files(path: Path) -> dict[str, Path]:
    """The files beside ``path``, which holds the nodes, by the attributes of ``Graphs`` that they hold."""
    names = [field.name for field in fields(Graphs) if field.name != "nodes"]
    return {name: path.with_suffix(f".{name}.npy") for name in names}


def open_examples(path: Path, input_shape: tuple[int | None, ...]) -> Examples:
    """The array in ``path``, or the graphs with their nodes there, memory-mapped.

    Args:
        input_shape: shape of one example as ``Graphs.shape`` gives it: it says which of both there is.

    Raises:
        OSError, ValueError: a file is missing or is no .npy file.
        UserError: the files are not of the same graphs.
    """
    nodes = cast(np.ndarray, np.load(path, mmap_mode="r", allow_pickle=False))
    if not is_graphs(input_shape):
        return nodes
    structure = {
        name: np.load(file, mmap_mode="r", allow_pickle=False) for name, file in structure_files(path).items()
    }
    try:
        return Graphs(nodes, **structure)
    except UserError as error:
        raise UserError(f"{path} and the files beside it: {error}") from None


def write_structure(path: Path, graphs: Graphs) -> list[np.ndarray]:
    """Writes the files beside ``path`` and returns what is in them: all of ``graphs`` but the nodes, int64."""
    arrays = []
    for name, file in structure_files(path).items():
        arrays.append(np.ascontiguousarray(getattr(graphs, name), np.int64))
        write_npy(file, arrays[-1])
    return arrays


def _found(array: np.ndarray) -> str:
    return f"an array {array.shape} of {array.dtype}"


def _offsets(counts: Any) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.fromiter(counts, np.int64))])


def _rows(offsets: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of what ``offsets`` cut, for the graphs ``places``, and the offsets among them."""
    counts = offsets[places + 1] - offsets[places]
    after = _offsets(counts)
    return np.arange(after[-1]) + np.repeat(offsets[places] - after[:-1], counts), after
