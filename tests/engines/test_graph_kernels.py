"""Kernels between graphs: the three engines, the published recursion, and sampled networks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from graph_examples import lists, of_sizes, published_ntk, relabelled, rings, small_graphs, unusual
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import Kernel

from neural_kernels import architectures as arch
from neural_kernels.engines import (
    Engine,
    Precision,
    jax_engine,
    kernel_matrix,
    native_engine,
    neural_tangents_engine,
    variances,
)
from neural_kernels.errors import UserError
from neural_kernels.graphs import Graphs, concatenate, stack

ENGINES = {
    module.__name__.rpartition(".")[2].removesuffix("_engine"): pytest.param(
        module,
        marks=pytest.mark.skipif(module.unavailable() is not None, reason=str(module.unavailable())),
    )
    for module in (native_engine, jax_engine, neural_tangents_engine)
}
every_engine = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
fast_engine = pytest.mark.parametrize("engine", [ENGINES["native"], ENGINES["jax"]], ids=["native", "jax"])
few_examples = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def layers_with(
    first: arch.Layer, second: arch.Layer, third: arch.Layer, pooling: arch.Layer
) -> tuple[arch.Layer, ...]:
    """All of Aggregate's options, two in a row, one after and one before a layer with weights."""
    return (
        arch.Aggregate(),
        arch.Dense(1.2, 0.3),
        first,
        arch.Aggregate(self_loops=False, degree_scaling=True),
        arch.Dense(0.9, 0.1),
        arch.LayerNorm(),
        second,
        arch.Aggregate(degree_scaling=True),
        arch.Aggregate(self_loops=False),
        arch.Dense(1.1, 0.2),
        arch.Aggregate(),
        third,
        pooling,
        arch.Dense(1.3, 0.1),
        first,
        arch.Dense(1.0, 0.2),
    )


NETWORKS = [
    layers_with(arch.Relu(), arch.Erf(), arch.Gelu(), arch.GlobalSumPool()),
    layers_with(arch.LeakyRelu(0.2), arch.SigmoidLike(), arch.ExpNormalized(0.7), arch.GlobalAvgPool()),
    layers_with(arch.Abs(), arch.Identity(), arch.ExpNormalized(1.3, shift=-0.5), arch.GlobalAvgPool()),
    # No node has weights; no Aggregate at all.
    (arch.Aggregate(), arch.GlobalAvgPool(), arch.Dense(1.1, 0.2), arch.Erf(), arch.Dense()),
    (arch.Dense(1.1, 0.2), arch.Gelu(), arch.GlobalSumPool(), arch.Dense()),
]


@pytest.mark.parametrize("layers", NETWORKS, ids=["rectified", "smooth", "kernel", "weightless", "sets"])
def test_engines_agree_on_every_layer(
    layers: tuple[arch.Layer, ...], compute: Kernel, reference: Kernel
) -> None:
    network = arch.Architecture("layers", layers)
    x, y = (concatenate([rings(seed), unusual(seed)]) for seed in (0, 1))
    for kind in ("nngp", "ntk") if layers is NETWORKS[0] else ("ntk",):
        expected = reference(network, kind, x, y)
        for engine in (native_engine, jax_engine):
            if engine.unavailable():
                continue
            found = compute(engine, network, kind, x, y)
            single = compute(engine, network, kind, x, y, "float32")
            assert (found.dtype, single.dtype) == (np.dtype(np.float64), np.dtype(np.float32))
            np.testing.assert_allclose(found[:3, :3], expected[:3, :3], rtol=1e-12, err_msg=engine.__name__)
            # Two nodes that hear nobody have c = 1, where the reference knows theta to 1e-8 only.
            np.testing.assert_allclose(found, expected, rtol=1e-7, err_msg=engine.__name__)
            np.testing.assert_allclose(single, expected, rtol=1e-4, err_msg=engine.__name__)
        if native_engine.unavailable() is None:
            native, by_jax = (compute(engine, network, kind, x, y) for engine in (native_engine, jax_engine))
            np.testing.assert_allclose(native, by_jax, rtol=1e-12)


@every_engine
@few_examples
@given(graphs=small_graphs(), options=st.sampled_from([(1, 1, False), (2, 1, True), (3, 2, False)]))
def test_the_published_recursion_is_reproduced(
    engine: Engine, compute: Kernel, graphs: Graphs, options: tuple[int, int, bool]
) -> None:
    blocks, dense_layers, degree_scaling = options
    block = (
        arch.Aggregate(True, degree_scaling),
        *(arch.Dense(math.sqrt(2), 0.0), arch.Relu()) * dense_layers,
    )
    layers = (*block * blocks, arch.GlobalSumPool(), arch.Dense(math.sqrt(2), 0.0))
    found = compute(engine, arch.Architecture("published", layers), "ntk", graphs)
    # The paper has no 1 / features in its first layer, and no factor of the last one.
    expected = np.array(
        [[published_ntk(one, other, *options) for other in lists(graphs)] for one in lists(graphs)]
    ) * (2 / graphs.nodes.shape[1])
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    # The reference loses half its digits where a node meets itself.
    tolerance = 1e-7 if engine is neural_tangents_engine else 1e-12
    assert (np.abs(found - expected) <= tolerance * scale).all()


@fast_engine
@few_examples
@given(graphs=small_graphs(), seed=st.integers(0, 99), pooling=st.sampled_from(["sum", "average"]))
def test_the_names_of_nodes_do_not_matter(
    engine: Engine, compute: Kernel, graphs: Graphs, seed: int, pooling: str
) -> None:
    network = arch.build("SimpleGNN", activation="erf", b_std=0.3, pooling=pooling)
    found = compute(engine, network, "ntk", graphs, relabelled(graphs, seed))
    np.testing.assert_allclose(found, compute(engine, network, "ntk", graphs), rtol=1e-12)


@every_engine
def test_graphs_of_different_sizes_do_not_change_each_other(engine: Engine, compute: Kernel) -> None:
    # Biases and a mean over nodes show any node that is there to fill up.
    network = arch.build("SimpleGNN", b_std=0.7, activation="erf", pooling="average")
    sizes = [3, 14, 1, 9]
    x, y = of_sizes(sizes, 0), of_sizes(sizes[::-1], 1)
    together = compute(engine, network, "ntk", x, y)
    for i, j in [(0, 0), (1, 3), (3, 1)]:
        alone = compute(engine, network, "ntk", x[i : i + 1], y[j : j + 1])
        np.testing.assert_allclose(together[i, j], alone[0, 0], rtol=1e-12)


@every_engine
def test_symmetric_call_is_exactly_symmetric_and_equals_the_general_one(
    engine: Engine, compute: Kernel
) -> None:
    network = arch.build("SimpleGNN", activation="erf")
    x = of_sizes([9, 2, 10, 9, 1])
    symmetric = compute(engine, network, "ntk", x)
    assert (symmetric == symmetric.T).all()
    np.testing.assert_allclose(symmetric, compute(engine, network, "ntk", x, x), rtol=1e-12)


@fast_engine
def test_an_edge_goes_one_way(engine: Engine, compute: Kernel) -> None:
    # Node 1 hears node 0, which hears nobody: without self-loops node 0 becomes zero, and all is W^2 x0^2.
    network = arch.Architecture("one", (arch.Aggregate(False), arch.GlobalSumPool(), arch.Dense(2.0, 0.0)))
    graph = stack([np.array([[3.0], [5.0]])], [np.array([[0, 1]])])
    assert compute(engine, network, "nngp", graph).item() == 4 * 9


def test_identical_nodes_have_correlation_one(compute: Kernel) -> None:
    # A graph of one node with a loop is a fully connected network on its features.
    x = np.random.default_rng(0).standard_normal((9, 12))
    graphs = stack(list(x[:, None]), [np.zeros((0, 2), int)] * 9)
    network = arch.build("SimpleGNN", depth=3)
    flat = arch.build("FC", depth=3)
    for engine in (native_engine, jax_engine):
        if engine.unavailable() is None:
            found = compute(engine, network, "ntk", graphs)
            np.testing.assert_allclose(found, compute(engine, flat, "ntk", x), rtol=1e-13)


# ------------------------------------------------------------------------------- the native engine

needs_library = pytest.mark.skipif(
    native_engine.unavailable() is not None, reason=f"native engine: {native_engine.unavailable()}"
)


@needs_library
@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("kinds", [None, 3], ids=["own features", "features of three kinds"])
def test_entries_are_the_same_bits_in_every_batch_and_thread_count(
    precision: Precision, kinds: int | None, compute: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = arch.Architecture("bits", NETWORKS[0])
    best = native_engine.INSTRUCTIONS.index(native_engine.instruction_set())
    random = np.random.default_rng(0)
    # Several packs, and one graph that is larger than any. Of three kinds, nodes share rows across graphs.
    x = of_sizes([*random.integers(1, 30, 70).tolist(), 250, 4], 0)
    y = of_sizes(random.integers(1, 30, 43).tolist(), 1)
    if kinds is not None:
        for graphs in (x, y):
            graphs.nodes[...] = np.eye(kinds)[random.integers(0, kinds, len(graphs.nodes))]
    for name in native_engine.INSTRUCTIONS[: best + 1]:
        monkeypatch.setenv("NEURAL_KERNELS_INSTRUCTIONS", name)
        monkeypatch.delenv("NEURAL_KERNELS_THREADS", raising=False)
        whole = compute(native_engine, network, "ntk", x, y, precision)
        for rows, columns in itertools.product((slice(0, 5), slice(11, 72)), (slice(3, 4), slice(17, 43))):
            part = compute(native_engine, network, "ntk", x[rows], y[columns], precision)
            assert (part == whole[rows, columns]).all()
        monkeypatch.setenv("NEURAL_KERNELS_THREADS", "3")
        assert (compute(native_engine, network, "ntk", x, y, precision) == whole).all()
        symmetric = compute(native_engine, network, "ntk", x, precision=precision)
        general = compute(native_engine, network, "ntk", x, x, precision)
        assert (np.triu(symmetric) == np.triu(general)).all()


@needs_library
def test_instruction_sets_agree(compute: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    network = arch.Architecture("sets", NETWORKS[1])
    x = of_sizes([3, 17, 8, 1])
    expected = compute(native_engine, network, "ntk", x)
    best = native_engine.INSTRUCTIONS.index(native_engine.instruction_set())
    for name in native_engine.INSTRUCTIONS[:best]:
        monkeypatch.setenv("NEURAL_KERNELS_INSTRUCTIONS", name)
        np.testing.assert_allclose(compute(native_engine, network, "ntk", x), expected, rtol=1e-13)


@needs_library
def test_more_features_than_are_summed_at_a_time(compute: Kernel, reference: Kernel) -> None:
    network = arch.build("SimpleGNN", activation="gelu")
    x, y = of_sizes([3, 8], 0, features=300), of_sizes([5, 2], 1, features=300)
    expected = reference(network, "ntk", x, y)
    np.testing.assert_allclose(compute(native_engine, network, "ntk", x, y), expected, rtol=1e-12)


# ------------------------------------------------------------------------------- sampled networks


def test_sampled_networks_have_the_kernel(compute: Kernel) -> None:
    import jax
    import jax.numpy as jnp
    from jax.scipy.special import erf

    width, networks = 384, 24
    network = arch.Architecture(
        "sampled",
        (
            arch.Aggregate(self_loops=True, degree_scaling=True),
            arch.Dense(1.3, 0.4),
            arch.Relu(),
            arch.Aggregate(self_loops=False),
            arch.Dense(1.1, 0.2),
            arch.Erf(),
            arch.GlobalAvgPool(),
            arch.Dense(1.2, 0.3),
        ),
    )
    graphs = stack(
        list(np.random.default_rng(0).standard_normal((2, 3, 2))),
        [np.array([[0, 1], [1, 2], [2, 1]]), np.array([[0, 1], [1, 0], [1, 2], [2, 0], [2, 0]])],
    )
    first = jnp.array([[[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0, 1 / 2, 1 / 2]],
                       [[1 / 4, 1 / 4, 1 / 2], [1 / 2, 1 / 2, 0], [0, 1 / 2, 1 / 2]]])  # fmt: skip
    second = jnp.array([[[0, 0, 0], [1, 0, 1], [0, 1, 0]], [[0, 1, 2], [1, 0, 0], [0, 1, 0]]])

    def output(parameters: Any, x: Any) -> Any:
        (W1, b1), (W2, b2), (W3, b3) = parameters
        x = jnp.maximum(1.3 * first @ x @ W1 / np.sqrt(2) + 0.4 * b1, 0)
        x = erf(1.1 * second @ x @ W2 / np.sqrt(width) + 0.2 * b2)
        return (1.2 * x.mean(axis=1) @ W3 / np.sqrt(width) + 0.3 * b3)[:, 0]

    @jax.jit
    def tangent_kernel(parameters: Any, x: Any) -> Any:
        jacobian = jax.tree.leaves(jax.jacrev(output)(parameters, x))
        flat = jnp.concatenate([leaf.reshape(2, -1) for leaf in jacobian], axis=1)
        return flat @ flat.T

    random = np.random.default_rng(1)
    shapes = [(2, width), (width, width), (width, 1)]
    with jax.enable_x64(True):
        found = np.array([
            tangent_kernel(
                [(random.standard_normal(shape), random.standard_normal(shape[1])) for shape in shapes],
                graphs.nodes.reshape(2, 3, 2),
            )
            for _ in range(networks)
        ])  # fmt: skip
    mean = found.mean(axis=0)
    error = 5 * found.std(axis=0) / np.sqrt(networks) + 4 * np.abs(mean).max() / width
    assert (error < 0.2 * np.abs(mean).max()).all()
    assert (np.abs(compute(jax_engine, network, "ntk", graphs) - mean) < error).all()


# ------------------------------------------------------------------------------- molecules


def test_real_molecules(molecules: Callable[[int], Graphs], compute: Kernel) -> None:
    graphs = molecules(9)
    options = (2, 1, False)
    block = (arch.Aggregate(), arch.Dense(math.sqrt(2), 0.0), arch.Relu())
    network = arch.Architecture(
        "published", (*block * 2, arch.GlobalSumPool(), arch.Dense(math.sqrt(2), 0.0))
    )
    pairs = [(i, j) for i in range(2) for j in range(len(graphs))]
    each = lists(graphs)
    expected = [published_ntk(each[i], each[j], *options) * 2 / graphs.nodes.shape[1] for i, j in pairs]
    for engine in (native_engine, jax_engine):
        if engine.unavailable() is None:
            found = compute(engine, network, "ntk", graphs[:2], graphs)
            np.testing.assert_allclose([found[pair] for pair in pairs], expected, rtol=1e-10)


@needs_library
def test_molecules_have_a_positive_semidefinite_kernel(molecules: Callable[[int], Graphs]) -> None:
    network = arch.build("SimpleGNN", depth=3, activation="gelu", degree_scaling=True)
    K = kernel_matrix(network, molecules(200), kind="ntk", engine="native")
    assert (K == K.T).all()
    eigenvalues = np.linalg.eigvalsh(K)
    assert eigenvalues[0] > -1e-12 * eigenvalues[-1]
    single = kernel_matrix(network, molecules(200), kind="ntk", engine="native", precision="float32")
    np.testing.assert_allclose(single, K, rtol=1e-4)


# ------------------------------------------------------------------------------- what it says


@every_engine
def test_graphs_that_are_none_are_named(engine: Engine) -> None:
    graphs = concatenate([unusual(), unusual()])
    graphs.edges[-1, 1] = 8
    with pytest.raises(UserError, match="graph 11 has an edge from node 0 to node 8, expected nodes 0 to 7"):
        engine.prepare(arch.build("SimpleGNN"), graphs, "float64")


def test_layers_that_do_not_fit_graphs_are_named() -> None:
    graphs = unusual()
    with pytest.raises(UserError, match="architecture Conv1D: Conv has no meaning on the nodes of a graph"):
        kernel_matrix(arch.build("Conv1D"), graphs)
    with pytest.raises(
        UserError, match=r"Aggregate needs the nodes of graphs, but examples of shape \(4, 3\)"
    ):
        kernel_matrix(arch.build("SimpleGNN"), np.ones((2, 4, 3)))
    with pytest.raises(UserError, match="does not end in a single position"):
        kernel_matrix(arch.Architecture("open", (arch.Aggregate(), arch.Dense())), graphs)


@fast_engine
def test_variances_are_the_diagonal(engine: Any, compute: Kernel) -> None:
    network = arch.build("SimpleGNN", activation="erf")
    x = of_sizes([2, 7, 5, 1, 3] * 4)
    name = engine.__name__.rpartition(".")[2].removesuffix("_engine")
    found = variances(network, x, engine=name)
    np.testing.assert_allclose(found, np.diag(compute(engine, network, "ntk", x)), rtol=1e-13)
