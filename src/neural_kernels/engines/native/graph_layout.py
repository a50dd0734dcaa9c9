"""Graphs as the C++ code reads them: packs of consecutive graphs, in levels of distinct rows; see ``graphs.h``."""

from __future__ import annotations

import ctypes
import itertools
from dataclasses import dataclass
from typing import cast

import numpy as np

from neural_kernels.architectures import Aggregate
from neural_kernels.engines import Precision
from neural_kernels.engines.native.aligned import aligned
from neural_kernels.engines.native.plan import SELF_LOOPS, Plan
from neural_kernels.engines.representable import rounded
from neural_kernels.graphs import Graphs

# Rows of a level of a pack at most, unless one graph has more. In a larger pack more nodes share a row, where
# any do; the four matrices of so many rows and columns stay in cache in a smaller one. Measured.
PACK_ROWS_SHARED = 512
PACK_ROWS_OWN = 192


class LevelStructure(ctypes.Structure):
    _fields_ = [
        ("rows", ctypes.c_int64),
        ("begin", ctypes.c_void_p),
        ("summand", ctypes.c_void_p),
        ("tables", ctypes.c_void_p),
    ]


class PackStructure(ctypes.Structure):
    _fields_ = [
        ("first", ctypes.c_int64),
        ("graphs", ctypes.c_int64),
        ("levels", ctypes.POINTER(LevelStructure)),
        ("begin", ctypes.c_void_p),
        ("node", ctypes.c_void_p),
        ("inputs", ctypes.c_void_p),
        ("late_tables", ctypes.c_void_p),
    ]


@dataclass(frozen=True)
class Pack:
    """Graphs ``first`` to ``last`` of those that were prepared; ``arrays`` is the memory of ``structure``."""

    first: int
    last: int
    structure: PackStructure
    arrays: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class _Level:
    """The distinct rows of a level among some graphs.

    ``row`` (nodes,) is the row of each node. The rows of the first level are ``features`` (rows, features);
    row i of a later one sums the rows summands[begin[i]:begin[i + 1]] of the level before. ``key`` (rows,)
    uint64 follows from what a row is made of, whatever other graphs there are.
    """

    row: np.ndarray
    key: np.ndarray
    features: np.ndarray
    begin: np.ndarray
    summands: np.ndarray


def make_packs(graphs: Graphs, plan: Plan, lanes: int, dtype: np.dtype) -> list[Pack]:
    """``graphs`` in packs, with room for their tables.

    Raises:
        UserError: see ``Graphs.check``.
    """
    graphs.check()
    first = _first_level(np.asarray(graphs.nodes, np.float64), np.arange(len(graphs.nodes)))
    for layer in plan.leading:
        first = _aggregated(graphs, first, layer)
    levels = [_first_level(rounded(first.features, cast(Precision, dtype.name)), first.row)]
    for flags in plan.aggregates:
        levels.append(_next_level(graphs, levels[-1], bool(flags & SELF_LOOPS)))
    return [_pack(graphs, *bounds, levels, plan, lanes, dtype) for bounds in _bounds(graphs, levels)]


# ------------------------------------------------------------------------------ levels


def _edges(graphs: Graphs) -> tuple[np.ndarray, np.ndarray]:
    """Sources and targets of all edges, as rows of ``graphs.nodes``."""
    first = np.repeat(graphs.node_offsets[:-1], np.diff(graphs.edge_offsets))
    return graphs.edges[:, 0] + first, graphs.edges[:, 1] + first


def _first_level(features: np.ndarray, row: np.ndarray) -> _Level:
    """The level of nodes whose features are features[row]."""
    which, example = _distinct(features, np.arange(len(features) + 1) * features.shape[1])
    features = np.ascontiguousarray(features[example])
    bits = features.view(f"u{features.dtype.itemsize}").astype(np.uint64)
    key = _mixed(bits + np.arange(features.shape[1], dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
    return _Level(which[row], key, features, np.zeros(1, int), np.zeros(0, int))


def _aggregated(graphs: Graphs, before: _Level, layer: Aggregate) -> _Level:
    """``before``, a first level, with its features after ``layer``."""
    after = _next_level(graphs, before, layer.self_loops)
    counts = np.diff(after.begin)
    features = np.zeros((len(counts), before.features.shape[1]))
    begin = after.begin[:-1][counts > 0]
    if len(begin):
        features[counts > 0] = np.add.reduceat(before.features[after.summands], begin, axis=0)
    if layer.degree_scaling:
        features /= np.maximum(counts, 1)[:, None]
    return _first_level(features, after.row)


def _next_level(graphs: Graphs, before: _Level, self_loops: bool) -> _Level:
    tails, heads = _edges(graphs)
    if self_loops:
        tails, heads = (np.concatenate([ends, np.arange(len(graphs.nodes))]) for ends in (tails, heads))
    # By key, because the order of a sum changes its rounding, and must not depend on the other graphs.
    order = np.lexsort((before.key[before.row[tails]], heads))
    summands = before.row[tails][order]
    counts = np.bincount(heads, minlength=len(graphs.nodes))
    begin = np.concatenate([[0], np.cumsum(counts)])
    row, example = _distinct(summands, begin)
    # Sums of unsigned integers wrap, so that a difference of running totals is exact.
    sums = np.append(np.uint64(0), np.cumsum(_mixed(before.key)[summands], dtype=np.uint64))
    key = (sums[begin[1:]] - sums[begin[:-1]])[example]
    places, begin = _ranges(begin, example)
    return _Level(row, key, before.features[:0], begin, summands[places])


def _distinct(values: np.ndarray, begin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the parts of ``values`` between ``begin``: which distinct one each is, and the first of each."""
    content, cuts = values.tobytes(), (begin * values.itemsize).tolist()
    numbers: dict[bytes, int] = {}
    which = [numbers.setdefault(content[a:b], len(numbers)) for a, b in itertools.pairwise(cuts)]
    return np.array(which, np.int64), np.unique(which, return_index=True)[1]


def _mixed(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: every bit of the result depends on every bit of ``x`` (uint64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _ranges(offsets: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places between ``offsets`` of the chosen intervals, one after the other, and where each begins."""
    counts = offsets[chosen + 1] - offsets[chosen]
    begin = np.concatenate([[0], np.cumsum(counts)])
    return np.arange(begin[-1]) + np.repeat(offsets[chosen] - begin[:-1], counts), begin


# ------------------------------------------------------------------------------ packs


def _bounds(graphs: Graphs, levels: list[_Level]) -> list[tuple[int, int]]:
    """First and last graph of each pack, from the rows that each level may have."""
    limit = PACK_ROWS_SHARED if len(levels[-1].key) < 0.8 * len(graphs.nodes) else PACK_ROWS_OWN
    bounds: list[tuple[int, int]] = []
    first, rows = 0, [set[int]() for _ in levels]
    for graph in range(len(graphs)):
        nodes = slice(*graphs.node_offsets[graph : graph + 2])
        more = [set(level.row[nodes].tolist()) for level in levels]
        if any(len(old) + len(new - old) > limit for old, new in zip(rows, more, strict=True)):
            # The first graph of a pack is in it whatever its size.
            if graph > first:
                bounds.append((first, graph))
            first, rows = graph, more
        else:
            for old, new in zip(rows, more, strict=True):
                old |= new
    return [*bounds, (first, len(graphs))] if len(graphs) else []


def _pack(
    graphs: Graphs, first: int, last: int, levels: list[_Level], plan: Plan, lanes: int, dtype: np.dtype
) -> Pack:
    nodes = slice(graphs.node_offsets[first], graphs.node_offsets[last])
    arrays: list[np.ndarray] = []

    def kept(array: np.ndarray) -> int:
        arrays.append(array)
        return array.ctypes.data

    def integers(values: np.ndarray) -> int:
        return kept(np.ascontiguousarray(values, np.int32))

    def tables(rows: int, count: int) -> int:
        return kept(aligned((-(-rows // lanes), count, lanes), dtype))

    structures = (LevelStructure * len(levels))()
    before = np.zeros(0, np.int64)
    for level, structure, count in zip(levels, structures, plan.level_tables, strict=True):
        used, row = np.unique(level.row[nodes], return_inverse=True)
        structure.rows, structure.tables = len(used), tables(len(used), count)
        if level is not levels[0]:
            places, begin = _ranges(level.begin, used)
            structure.begin = integers(begin)
            # All rows that are summed are rows of this pack's nodes, in ascending order as in ``before``.
            structure.summand = integers(np.searchsorted(before, level.summands[places]))
        before = used

    features = levels[0].features[np.unique(levels[0].row[nodes])]
    inputs = aligned((-(-len(features) // lanes), plan.inputs, lanes), dtype)
    padded = np.zeros((len(inputs) * lanes, plan.inputs), dtype)
    padded[: len(features)] = features
    inputs[...] = padded.reshape(-1, lanes, plan.inputs).transpose(0, 2, 1)
    structure = PackStructure(
        first,
        last - first,
        structures,
        integers(graphs.node_offsets[first : last + 1] - graphs.node_offsets[first]),
        integers(row),
        kept(inputs),
        tables(last - first, plan.late_tables),
    )
    return Pack(first, last, structure, tuple(arrays))
