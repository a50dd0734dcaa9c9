from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from neural_kernels.errors import UserError
from neural_kernels.graphs import (
    Graphs,
    concatenate,
    is_graphs,
    made_up,
    open_examples,
    stack,
    typical_shape,
    write_structure,
)
from neural_kernels.storage.files import write_npy

NODES = [np.arange(2 * size, dtype=float).reshape(size, 2) + 100 * size for size in (1, 3, 2, 5)]
EDGES = [[], [[0, 2], [2, 1]], [[1, 1]], [[4, 0], [0, 4], [3, 3]]]


@pytest.fixture
def graphs() -> Graphs:
    return stack(NODES, [np.array(edges) for edges in EDGES])


def contents(graphs: Graphs) -> list[Any]:
    """(nodes, edges) of each graph, as lists."""
    return [
        (
            graphs.nodes[graphs.node_offsets[i] : graphs.node_offsets[i + 1]].tolist(),
            graphs.edges[graphs.edge_offsets[i] : graphs.edge_offsets[i + 1]].tolist(),
        )
        for i in range(len(graphs))
    ]


EXPECTED = [(nodes.tolist(), edges) for nodes, edges in zip(NODES, EDGES, strict=True)]


def test_graphs_keep_what_they_were_made_of(graphs: Graphs) -> None:
    assert contents(graphs) == EXPECTED
    assert graphs.shape == (4, None, 2)
    assert graphs.node_counts.tolist() == [1, 3, 2, 5]
    assert typical_shape(graphs) == (3, 2)
    assert typical_shape(np.zeros((5, 3, 2))) == (3, 2)
    assert is_graphs(graphs.shape[1:])
    assert not is_graphs((3, 2))


@given(st.slices(4))
def test_slices_are_those_of_a_list(chosen: slice) -> None:
    graphs = stack(NODES, [np.array(edges) for edges in EDGES])
    assert contents(graphs[chosen]) == EXPECTED[chosen]


@given(st.lists(st.integers(-4, 3), max_size=6))
def test_integers_choose_in_their_order(places: list[int]) -> None:
    graphs = stack(NODES, [np.array(edges) for edges in EDGES])
    assert contents(graphs[np.array(places, int)]) == [EXPECTED[place] for place in places]


def test_a_slice_copies_no_nodes(graphs: Graphs) -> None:
    assert np.shares_memory(graphs[1:3].nodes, graphs.nodes)


def test_a_graph_alone_is_no_index(graphs: Graphs) -> None:
    with pytest.raises(TypeError, match="indexed by a slice or by integers"):
        graphs[0]  # type: ignore[index]
    with pytest.raises(IndexError):
        graphs[np.array([4])]


def test_parts_are_put_together_again(graphs: Graphs) -> None:
    assert contents(concatenate([graphs[:1], graphs[1:1], graphs[1:]])) == EXPECTED


@pytest.mark.parametrize("typed", [np.uint8, np.float32, np.float64, bool])
def test_files_are_read_as_they_were_written_and_mapped(
    tmp_path: Path, graphs: Graphs, typed: DTypeLike
) -> None:
    path = tmp_path / "train.npy"
    write_npy(path, graphs.nodes.astype(typed))
    write_structure(path, graphs)
    found = open_examples(path, graphs.shape[1:])
    assert isinstance(found, Graphs)
    assert isinstance(found.nodes, np.memmap)
    assert found.dtype == typed
    assert [edges for _, edges in contents(found[1:3])] == EDGES[1:3]
    assert isinstance(open_examples(path, (2,)), np.memmap)


def test_files_of_other_graphs_are_refused(tmp_path: Path, graphs: Graphs) -> None:
    path = tmp_path / "train.npy"
    write_npy(path, graphs.nodes[1:])
    write_structure(path, graphs)
    with pytest.raises(
        UserError, match=r"train\.npy and the files .* node_offsets go from 0 to 11, .* 10 nodes"
    ):
        open_examples(path, (None, 2))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"nodes": np.zeros(4)}, r"nodes are an array \(4,\) of float64, expected \(nodes, features\)"),
        ({"nodes": np.array([["a"]])}, "nodes are an array .* expected .* real numbers"),
        ({"edges": np.zeros((0, 3), int)}, r"edges are an array \(0, 3\)"),
        ({"edges": np.zeros((6, 2))}, "edges are an array .* of float64, expected .* integers"),
        ({"edge_offsets": np.array([0, 6])}, "of 4 graphs and edge_offsets of 1"),
        (
            {"edge_offsets": np.array([0, 1, 2, 3, 4])},
            "edge_offsets go from 0 to 4, expected from 0 to the 6 edges",
        ),
        ({"node_offsets": np.zeros((5, 1), int)}, "node_offsets are an array"),
    ],
)
def test_arrays_that_are_no_graphs_are_named(
    graphs: Graphs, change: dict[str, np.ndarray], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        Graphs(**{name: getattr(graphs, name) for name in Graphs.__dataclass_fields__} | change)


@pytest.mark.parametrize(
    ("edges", "sentence"),
    [
        ([[0, 3]], "graph 1 has an edge from node 0 to node 3, expected nodes 0 to 2"),
        ([[-1, 0]], "graph 1 has an edge from node -1 to node 0"),
    ],
)
def test_edges_of_no_node_are_named(edges: list[list[int]], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        stack(NODES[:2], [np.array([]), np.array(edges)])


def test_a_graph_without_nodes_is_named_by_its_place_in_its_file(graphs: Graphs) -> None:
    with pytest.raises(UserError, match="graphs: graph 1 has no nodes"):
        stack([NODES[0], NODES[0][:0]], [np.empty((0, 2), int)] * 2)
    empty = Graphs(graphs.nodes, np.array([0, 1, 1, 6, 11]), graphs.edges[:0], np.zeros(5, int))
    with pytest.raises(UserError, match=r"molecules\.csv: graph 8 has no nodes, expected at least one"):
        empty.check("molecules.csv", first=7)
    tangled = Graphs(graphs.nodes, graphs.node_offsets, graphs.edges, np.array([0, 3, 2, 3, 6]))
    with pytest.raises(UserError, match="edge_offsets descend at graph 1"):
        tangled.check()


def test_made_up_graphs_look_like_molecules() -> None:
    graphs = made_up(300, 4, np.random.default_rng(0), mean_nodes=20).check()
    assert graphs.shape == (300, None, 4)
    assert 19 < graphs.node_counts.mean() < 21
    pairs = {tuple(pair) for pair in graphs[:1].edges.tolist()}
    assert pairs == {(b, a) for a, b in pairs}
    assert 1.8 < len(graphs.edges) / len(graphs.nodes) < 2.3
