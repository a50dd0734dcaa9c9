"""Graphs as the C++ code reads them: packs of consecutive graphs, each cut into panels; see ``graphs.h``."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np

from neural_kernels.architectures import Aggregate
from neural_kernels.engines.native.aligned import aligned
from neural_kernels.engines.native.plan import Plan
from neural_kernels.graphs import Graphs

# A panel's covariances with another, K and T twice, fill half a megabyte in float64: they stay in L2.
PANEL_NODES = 128
# Graphs of a pack at most: pairs of two packs are a task of some 20 milliseconds for a molecule.
PACK_GRAPHS = 64
# Nodes of a pack at most, unless one graph has more: bounds the table of products of its kinds of nodes.
PACK_NODES = 2048


class PackStructure(ctypes.Structure):
    _fields_ = [
        ("first", ctypes.c_int64),
        ("graphs", ctypes.c_int64),
        ("panels", ctypes.c_int64),
        ("kinds", ctypes.c_int64),
        ("panel_graph", ctypes.c_void_p),
        ("panel_column", ctypes.c_void_p),
        ("row", ctypes.c_void_p),
        ("nodes", ctypes.c_void_p),
        ("begin", ctypes.c_void_p),
        ("neighbour", ctypes.c_void_p),
        ("kind", ctypes.c_void_p),
        ("inputs", ctypes.c_void_p),
        ("tables", ctypes.c_void_p),
        ("late_tables", ctypes.c_void_p),
    ]


@dataclass(frozen=True)
class Pack:
    """Graphs ``first`` to ``last`` of those that were prepared; ``arrays`` is the memory of ``structure``."""

    first: int
    last: int
    structure: PackStructure
    arrays: tuple[np.ndarray, ...]


def pack_bounds(node_counts: np.ndarray) -> list[tuple[int, int]]:
    """First and last graph of each pack."""
    return _cut(node_counts, PACK_NODES, PACK_GRAPHS)


def make_pack(graphs: Graphs, first: int, last: int, plan: Plan, lanes: int, dtype: np.dtype) -> Pack:
    """The pack of the graphs ``first`` to ``last``, with room for its tables."""
    chosen = graphs[first:last]
    counts = chosen.node_counts
    panels = np.array(_cut(counts, PANEL_NODES, len(chosen)))
    panel_of = np.repeat(np.arange(len(panels)), panels[:, 1] - panels[:, 0])
    # The first row of each graph in its panel, and the first column of each panel.
    row = chosen.node_offsets[:-1] - chosen.node_offsets[panels[panel_of, 0]]
    rows = chosen.node_offsets[panels[:, 1]] - chosen.node_offsets[panels[:, 0]]
    panel_column = np.concatenate([[0], np.cumsum(-(-rows // lanes) * lanes)])
    columns = int(panel_column[-1])
    column = np.concatenate([panel_column[panel_of[g]] + row[g] + np.arange(n) for g, n in enumerate(counts)])

    owner = np.repeat(np.arange(len(chosen)), np.diff(chosen.edge_offsets))
    # Each node is listed as its own last neighbour, which Aggregate leaves out where it has no self-loops.
    heads = np.concatenate([column[chosen.edges[:, 1] + chosen.node_offsets[owner]], column])
    tails = np.concatenate(
        [chosen.edges[:, 0] + row[owner], column - np.repeat(panel_column[panel_of], counts)]
    )
    order = np.argsort(heads, kind="stable")
    begin = np.concatenate([[0], np.cumsum(np.bincount(heads, minlength=columns))])

    kind = np.zeros(columns, np.int32)
    distinct, kind[column] = _kinds(_aggregated(chosen, plan.leading).astype(dtype))
    groups = -(-len(distinct) // lanes)
    padded = np.zeros((groups * lanes, plan.inputs), dtype)
    padded[: len(distinct)] = distinct
    inputs = aligned((groups, plan.inputs, lanes), dtype)
    inputs[...] = padded.reshape(groups, lanes, plan.inputs).transpose(0, 2, 1)

    integers = [np.ascontiguousarray(values, np.int32) for values in (
        np.append(panels[:, 0], len(chosen)), panel_column, row, counts, begin, tails[order], kind
    )]  # fmt: skip
    tables = aligned((columns // lanes, plan.node_tables, lanes), dtype)
    late_tables = aligned((-(-len(chosen) // lanes), plan.scalars - plan.node_tables, lanes), dtype)
    arrays = (*integers, inputs, tables, late_tables)
    structure = PackStructure(
        first, len(chosen), len(panels), len(distinct), *(array.ctypes.data for array in arrays)
    )
    return Pack(first, last, structure, arrays)


def _cut(counts: np.ndarray, nodes: int, graphs: int) -> list[tuple[int, int]]:
    """Bounds of runs of graphs, each of at most so many nodes, or a single one, and of at most so many graphs."""
    bounds, first, total = [], 0, 0
    for graph, count in enumerate(counts.tolist()):
        if graph > first and (total + count > nodes or graph - first == graphs):
            bounds.append((first, graph))
            first, total = graph, 0
        total += count
    return [*bounds, (first, len(counts))] if len(counts) else []


def _aggregated(graphs: Graphs, layers: tuple[Aggregate, ...]) -> np.ndarray:
    """The node features after ``layers``, float64."""
    values = np.asarray(graphs.nodes, np.float64)
    if not layers:
        return values
    from scipy.sparse import csr_array

    first = np.repeat(graphs.node_offsets[:-1], np.diff(graphs.edge_offsets))
    tails, heads = graphs.edges[:, 0] + first, graphs.edges[:, 1] + first
    adjacency = csr_array((np.ones(len(tails)), (heads, tails)), (len(values),) * 2)
    degrees = np.bincount(heads, minlength=len(values))
    for layer in layers:
        values = adjacency @ values + (values if layer.self_loops else 0)
        if layer.degree_scaling:
            values /= np.maximum(degrees + layer.self_loops, 1)[:, None]
    return values


def _kinds(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of ``features``, and which of them each row is."""
    numbers: dict[bytes, int] = {}
    kind = np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in features], np.int32)
    return features[np.unique(kind, return_index=True)[1]], kind
