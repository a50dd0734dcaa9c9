"""Graphs that the tests of the engines share, and the published recursion of the Graph NTK."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from neural_kernels.graphs import Graphs, stack

FEATURES = 3


def of_sizes(sizes: list[int], seed: int = 0, features: int = FEATURES) -> Graphs:
    """Random directed graphs, about two edges a node, and standard normal features."""
    random = np.random.default_rng(seed)
    return stack(
        [random.standard_normal((size, features)) for size in sizes],
        [random.integers(0, size, (2 * size, 2)) for size in sizes],
    )


def unusual(seed: int = 0) -> Graphs:
    """One node; one with an edge to itself; nodes without edges; an isolated node; an edge twice; a star."""
    random = np.random.default_rng(seed)
    edges = [[], [[0, 0]], [], [[0, 1], [1, 0]], [[0, 1], [0, 1], [1, 2]], [[0, i] for i in range(1, 8)]]
    sizes = [1, 1, 5, 3, 3, 8]
    return stack([random.standard_normal((size, FEATURES)) for size in sizes], [np.array(e) for e in edges])


def rings(seed: int = 0) -> Graphs:
    """Three directed rings with some further edges: every node hears another one."""
    random = np.random.default_rng(seed)
    nodes, edges = [], []
    for size in (3, 5, 8):
        nodes.append(random.standard_normal((size, FEATURES)))
        ring = np.stack([np.arange(size), np.roll(np.arange(size), 1)], axis=1)
        edges.append(np.concatenate([ring, random.integers(0, size, (size, 2))]))
    return stack(nodes, edges)


def lists(graphs: Graphs) -> list[tuple[np.ndarray, np.ndarray]]:
    """(nodes, edges) of each graph."""
    cuts = zip(graphs.node_offsets[:-1], graphs.node_offsets[1:], strict=True)
    edge_cuts = zip(graphs.edge_offsets[:-1], graphs.edge_offsets[1:], strict=True)
    return [(graphs.nodes[a:b], graphs.edges[c:d]) for (a, b), (c, d) in zip(cuts, edge_cuts, strict=True)]


@st.composite
def small_graphs(draw: st.DrawFn) -> Graphs:
    """Three directed graphs of one to eight nodes, with any edges between them."""
    nodes, edges = [], []
    for _ in range(3):
        size = draw(st.integers(1, 8))
        node = st.integers(0, size - 1)
        edges.append(np.array(draw(st.lists(st.tuples(node, node), max_size=12)), int).reshape(-1, 2))
        nodes.append(np.random.default_rng(draw(st.integers(0, 99))).standard_normal((size, FEATURES)))
    return stack(nodes, edges)


def relabelled(graphs: Graphs, seed: int) -> Graphs:
    """The same graphs with their nodes, and their edges, in another order."""
    random = np.random.default_rng(seed)
    nodes, edges = [], []
    for x, pairs in lists(graphs):
        order = random.permutation(len(x))
        nodes.append(x[order])
        edges.append(random.permutation(np.argsort(order)[pairs]))
    return stack(nodes, edges)


def published_ntk(
    one: tuple[np.ndarray, np.ndarray],
    other: tuple[np.ndarray, np.ndarray],
    blocks: int,
    dense_layers: int,
    degree_scaling: bool,
) -> float:
    """Theta of Du et al. 2019, "Graph Neural Tangent Kernel", section 4, in extended precision.

    ``blocks`` is their L, ``dense_layers`` their R; sums over neighbours include the node itself, and c_u is
    1, or one over the number of summands. Node features enter as they are, and the readout is the sum.
    """

    def aggregation(graph: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        matrix = np.eye(len(graph[0]), dtype=np.longdouble)
        for source, target in graph[1]:
            matrix[target, source] += 1
        return matrix / matrix.sum(axis=1, keepdims=True) if degree_scaling else matrix

    def activated(sigma: np.ndarray, own: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """c_sigma E[relu relu] and c_sigma E[relu' relu'] of Gaussians, with c_sigma = 2."""
        root = np.sqrt(np.outer(own, others))
        cosine = np.divide(sigma, root, out=np.zeros_like(sigma), where=root > 0)
        # Rounded, a correlation of one gives an angle of 1e-10 even in extended precision.
        cosine = np.where(cosine > 1 - 1e-15, 1, np.clip(cosine, -1, 1))
        angle = np.arccos(cosine)
        pi = np.longdouble("3.14159265358979323846264338327950288")
        return root * (np.sin(angle) + (pi - angle) * cosine) / pi, (pi - angle) / pi

    x, y = (np.asarray(graph[0], np.longdouble) for graph in (one, other))
    M, N = aggregation(one), aggregation(other)
    sigma, sigma_x, sigma_y = x @ y.T, x @ x.T, y @ y.T
    theta = sigma
    for _ in range(blocks):
        sigma, theta = M @ sigma @ N.T, M @ theta @ N.T
        sigma_x, sigma_y = M @ sigma_x @ M.T, N @ sigma_y @ N.T
        for _ in range(dense_layers):
            a, b = np.diag(sigma_x), np.diag(sigma_y)
            sigma, slope = activated(sigma, a, b)
            theta = theta * slope + sigma
            sigma_x, sigma_y = activated(sigma_x, a, a)[0], activated(sigma_y, b, b)[0]
    return float(theta.sum())
