"""Engines against 50-digit arithmetic: every activation, kind, precision and engine, from 1e-8 to 1e8.

The bound of each entry is that of ``mpmath_reference``: rounding of what the entry is made of, and, of two examples
that are neither the same nor opposite, what no arithmetic of that precision can tell apart.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

import cuda_stub
import mpmath as mp
import numpy as np
import pytest
from graph_examples import lists
from mpmath_reference import Example, bounds, dual, entry
from scipy.integrate import dblquad
from scipy.special import erf, ndtr

from neural_kernels import architectures as arch
from neural_kernels.engines import Precision, common_windows, kernel_matrix, variances
from neural_kernels.graphs import Graphs, stack

ACTIVATIONS = {
    "relu": arch.Relu(),
    "leaky_relu": arch.LeakyRelu(0.2),
    "abs": arch.Abs(),
    "erf": arch.Erf(),
    "gelu": arch.Gelu(),
    "sigmoid_like": arch.SigmoidLike(),
    "identity": arch.Identity(),
    "exp_normalized": arch.ExpNormalized(1.7, -0.5),
}
# Roundings that an engine may move a covariance before an activation by; native takes correlations within three
# of 1 for 1, jax within eight. Neural Tangents' formulas see every covariance as rounded, that of an example with
# itself too.
NUDGE = {"native": 8, "cuda": 8, "jax": 16, "neural_tangents": 16}
ROUNDINGS = 16
KINDS = ("nngp", "ntk")


def module(name: str) -> Any:
    return importlib.import_module(f"neural_kernels.engines.{name}_engine")


def engine_params(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "engine",
        [
            pytest.param(
                name,
                marks=pytest.mark.skipif(
                    module(name).unavailable() is not None, reason=str(module(name).unavailable())
                ),
            )
            for name in names
        ],
    )


every_engine = engine_params("native", "jax", "neural_tangents")
fast_engine = engine_params("native", "jax")
both_precisions = pytest.mark.parametrize("precision", ["float64", "float32"])


def single(x: np.ndarray) -> np.ndarray:
    """``x`` as float32 has it, so that both precisions are given the same numbers."""
    return x.astype(np.float32).astype(np.float64)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


class Pairs:
    """Pairs of examples under one network, by name, with the exact entries, each computed once."""

    def __init__(
        self, layers: tuple[arch.Layer, ...], pairs: dict[str, tuple[Any, Any]], exact: set[str]
    ) -> None:
        self.network = arch.Architecture("extended", layers)
        self.names, self.pairs, self.exact = list(pairs), list(pairs.values()), exact
        self.examples = [(_example(x), _example(y)) for x, y in self.pairs]

    @cache  # noqa: B019 - lives as long as the module that holds the pairs
    def bounds(self, number: int, nudge: float) -> Any:
        left, right = self.examples[number]
        if nudge == 0:
            return entry(self.network.layers, left, right), dict.fromkeys(KINDS, 0)
        return bounds(self.network.layers, left, right, nudge)

    def entries(self, engine: str, kind: Any, precision: Any) -> np.ndarray:
        with np.errstate(all="ignore"):
            left, right = (
                module(engine).prepare(self.network, _joined([pair[side] for pair in self.pairs]), precision)
                for side in (0, 1)
            )
            return np.diag(module(engine).kernel(self.network, kind, left, right, precision))

    def check(self, engine: str, precision: Any, roundings: float = ROUNDINGS, refused: bool = False) -> None:
        """Asserts the bound of every pair; ``refused`` allows entries that are not finite instead."""
        eps = float(np.finfo(precision).eps)
        for kind in KINDS:
            for number, found in enumerate(self.entries(engine, kind, precision)):
                name = self.names[number]
                if refused and not np.isfinite(found):
                    continue
                assert np.isfinite(found), (engine, kind, precision, name)
                exactly = name in self.exact and engine != "neural_tangents"
                exact, spread = self.bounds(number, 0.0 if exactly else NUDGE[engine] * eps)
                error = abs(mp.mpf(float(found)) - getattr(exact, kind))
                allowed = roundings * eps * getattr(exact, f"{kind}_magnitude") + spread[kind]
                assert error <= allowed, (
                    engine,
                    kind,
                    precision,
                    name,
                    float(found),
                    float(getattr(exact, kind)),
                    float(error / allowed) if allowed else None,
                )


def _example(x: Any) -> Example:
    if not isinstance(x, Graphs):
        return Example(x)
    ((nodes, edges),) = lists(x)
    adjacency = np.zeros((len(nodes), len(nodes)))
    np.add.at(adjacency, (edges[:, 1], edges[:, 0]), 1)
    return Example(nodes, adjacency)


def _joined(examples: list[Any]) -> Any:
    if isinstance(examples[0], Graphs):
        parts = [lists(graph)[0] for graph in examples]
        return stack([nodes for nodes, _ in parts], [edges for _, edges in parts])
    return np.array(examples)


# ---------------------------------------------------------------------------------- the reference itself


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"exp_normalized", "identity"}))
def test_the_duals_are_the_expectations_that_they_stand_for(name: str) -> None:
    slope = 1 / 2.4020563531719796
    functions = {
        "relu": (lambda x: max(x, 0), lambda x: float(x > 0)),
        "leaky_relu": (lambda x: x if x > 0 else 0.2 * x, lambda x: 1.0 if x > 0 else 0.2),
        "abs": (abs, np.sign),
        "erf": (erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x)),
        "gelu": (
            lambda x: x * ndtr(x),
            lambda x: ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi),
        ),
        "sigmoid_like": (
            lambda x: 0.5 * erf(slope * x) + 0.5,
            lambda x: slope / np.sqrt(np.pi) * np.exp(-((slope * x) ** 2)),
        ),
    }
    v, u, k = 1.3, 0.7, -0.4
    value = dual(ACTIVATIONS[name], mp.mpf(k), mp.mpf(v), mp.mpf(u))
    inverse = np.linalg.inv([[v, k], [k, u]])
    norm = 2 * np.pi * np.sqrt(v * u - k * k)
    for function, expected in zip(functions[name], value, strict=True):

        def integrand(b: float, a: float, function: Any = function) -> float:
            weight = np.exp(-(inverse[0, 0] * a * a + 2 * inverse[0, 1] * a * b + inverse[1, 1] * b * b) / 2)
            return function(a) * function(b) * weight / norm

        quadrants = [(low, low + 9) for low in (-9, 0)]
        found = sum(dblquad(integrand, *p, *q, epsabs=1e-7)[0] for p in quadrants for q in quadrants)
        assert abs(found - float(expected)) < 1e-6


# ------------------------------------------------------------------------------------- fully connected


SCALES = (1e-8, 1e-3, 1.0, 1e3, 3e3, 1e8)
DIFFERENCES = (1e-3, 1e-6, 1e-8, 1e-15)


@cache
def dense_pairs(name: str, depth: int, b_std: float) -> Pairs:
    a, b, n = normal(3, 5)
    pairs: dict[str, tuple[Any, Any]] = {}
    for scale in SCALES:
        each = {"same": (a, a), "opposite": (a, -a), "another": (a, b), "zero": (a, 0 * a)}
        for difference in DIFFERENCES if depth == 1 else DIFFERENCES[::2]:
            each[f"differs by {difference:g}"] = (a, a + difference * n)
            each[f"opposite but for {difference:g}"] = (a, -a + difference * n)
        pairs |= {f"{key}, {scale:g}": (single(scale * x), single(scale * y)) for key, (x, y) in each.items()}
    pairs["both zero"] = (0 * a, 0 * a)
    pairs["huge and tiny"] = (single(1e8 * a), single(1e-8 * b))
    exactly = ("same", "both zero") if b_std else ("same", "both zero", "opposite,", "zero,")
    hidden = (arch.Dense(arch.SQRT2, b_std), ACTIVATIONS[name]) * depth
    return Pairs(
        (arch.Flatten(), *hidden, arch.Dense(arch.SQRT2, b_std)),
        pairs,
        {key for key in pairs if key.startswith(exactly)},
    )


@every_engine
@both_precisions
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_fully_connected_kernels_are_right_at_every_scale(
    name: str, precision: Precision, engine: str
) -> None:
    # What compiles takes a second for each network.
    networks = {"native": ((1, 0.1), (3, 0.0)), "jax": ((3, 0.0),), "neural_tangents": ((1, 0.1),)}
    for depth, b_std in networks[engine]:
        dense_pairs(name, depth, b_std).check(engine, precision, refused=engine == "neural_tangents")


@fast_engine
@both_precisions
@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_deep_chains_are_right(name: str, precision: Precision, engine: str) -> None:
    # Compiling fifty layers takes half a minute.
    deep_pairs(name, 50 if engine == "native" else 12).check(engine, precision, roundings=200)


@cache
def deep_pairs(name: str, depth: int) -> Pairs:
    a, b = single(normal(2, 5))
    layers = (arch.Dense(1.4, 0.1), ACTIVATIONS[name]) * depth
    return Pairs((*layers, arch.Dense(1.4, 0.1)), {"same": (a, a), "another": (a, b)}, {"same"})


@fast_engine
@both_precisions
@pytest.mark.parametrize("epsilon", [1e-12, 1e-3])
def test_layer_norm_of_small_and_large_variances_is_right(
    epsilon: float, precision: Precision, engine: str
) -> None:
    norm_pairs(epsilon).check(engine, precision)


@cache
def norm_pairs(epsilon: float) -> Pairs:
    a, b = normal(2, 5)
    block = (arch.Dense(1.2, 0.0), arch.LayerNorm(epsilon))
    layers = (*block, arch.Erf(), *block, arch.Gelu(), *block, arch.Relu(), arch.Dense(1.2, 0.0))
    pairs = {
        f"{key}, {scale:g}": (single(scale * x), single(scale * y))
        for scale in (1e-8, 1e-6, 1.0, 1e8)
        for key, (x, y) in {"same": (a, a), "another": (a, b), "opposite": (a, -a)}.items()
    }
    return Pairs(layers, pairs, {key for key in pairs if key.startswith("same")})


# ---------------------------------------------------------------------------------------- convolutions


def chains(name: str) -> dict[str, tuple[arch.Layer, ...]]:
    act = ACTIVATIONS[name]
    last = arch.Dense(arch.SQRT2, 0.1)
    return {
        "flattened": (arch.Conv(3, 1.4, 0.0), act, arch.Conv(3, 1.2, 0.1), act, arch.Flatten(), last),
        "pooled before an activation": (
            arch.Conv(3, 1.4, 0.1),
            arch.AvgPool(2),
            act,
            arch.Conv(3, 1.2, 0.1),
            act,
            arch.GlobalAvgPool(),
            last,
        ),
    }


@cache
def chain_pairs(name: str, chain: str) -> Pairs:
    a, b, n = normal(3, 4, 2)
    a[1], b[2] = 0, 0
    pairs: dict[str, tuple[Any, Any]] = {}
    for scale in (1e-4, 1.0, 1e5):
        each = {
            "same": (a, a),
            "opposite": (a, -a),
            "another": (a, b),
            "flipped": (a, a[::-1]),
            "differs by 1e-6": (a, a + 1e-6 * n),
        }
        pairs |= {f"{key}, {scale:g}": (single(scale * x), single(scale * y)) for key, (x, y) in each.items()}
    exactly = {key for key in pairs if key.startswith("same") and chain == "flattened"}
    return Pairs(chains(name)[chain], pairs, exactly)


@fast_engine
@both_precisions
@pytest.mark.parametrize(
    ("name", "chain"),
    [
        ("relu", "flattened"),
        ("relu", "pooled before an activation"),
        ("leaky_relu", "flattened"),
        ("erf", "pooled before an activation"),
        ("gelu", "flattened"),
        ("exp_normalized", "pooled before an activation"),
    ],
)
def test_convolutional_kernels_are_right_at_every_scale(
    name: str, chain: str, precision: Precision, engine: str
) -> None:
    chain_pairs(name, chain).check(engine, precision)


@pytest.mark.parametrize(
    ("name", "chain", "precision"),
    [
        ("relu", "flattened", "float64"),
        ("gelu", "flattened", "float64"),
        ("erf", "pooled before an activation", "float64"),
        ("exp_normalized", "pooled before an activation", "float32"),
    ],
)
def test_the_cuda_kernel_on_this_processor_is_right_at_every_scale(
    name: str, chain: str, precision: Precision
) -> None:
    with cuda_stub.installed():
        chain_pairs(name, chain).check("cuda", precision)


def test_the_cuda_kernel_of_fully_connected_networks_is_right_at_every_scale() -> None:
    with cuda_stub.installed():
        dense_pairs("leaky_relu", 3, 0.0).check("cuda", "float32")


@fast_engine
@both_precisions
def test_sequences_within_a_window_are_right(engine: str, precision: Precision) -> None:
    layers = (arch.Conv(3), arch.Erf(), arch.Flatten(), arch.Dense())
    network = arch.Architecture("window", layers)
    common = single(1e3 * normal(20, 3))
    x = np.array([common] * 4)
    for i in range(4):
        x[i, 10 + i % 2] = single(1e3 * normal(3, seed=i + 1))
    chosen = common_windows.cheapest(module(engine), network, "ntk", precision, [x], 10)
    assert isinstance(chosen, common_windows.WindowedEngine)
    found = kernel_matrix(network, x, engine=engine, precision=precision)
    eps = float(np.finfo(precision).eps)
    for i, j in ((0, 0), (0, 1)):
        exact, spread = bounds(layers, Example(x[i]), Example(x[j]), 0.0 if i == j else NUDGE[engine] * eps)
        allowed = 8 * ROUNDINGS * eps * exact.ntk_magnitude + spread["ntk"]
        assert abs(mp.mpf(float(found[i, j])) - exact.ntk) <= allowed


# ---------------------------------------------------------------------------------------------- graphs


@cache
def graph_pairs(name: str, self_loops: bool) -> Pairs:
    a, b, n = (1e2 * normal(4, 3, seed=seed) for seed in (0, 1, 2))
    edges = np.array([[0, 1], [1, 0], [1, 2], [2, 1], [2, 0], [0, 2]])  # node 3 is isolated
    one, other, near = (stack([single(x)], [edges]) for x in (a, b, a + 1e-6 * n))
    network = arch.build("SimpleGNN", depth=5, activation=name, self_loops=self_loops)
    pairs = {"same": (one, one), "another": (one, other), "differs by 1e-6": (one, near)}
    return Pairs(network.layers, pairs, set())


@fast_engine
@both_precisions
@pytest.mark.parametrize("name", ["relu", "erf", "gelu"])
def test_graphs_whose_variances_grow_layer_by_layer_are_right(
    name: str, precision: Precision, engine: str
) -> None:
    graph_pairs(name, name != "relu").check(engine, precision, roundings=64)


@fast_engine
@pytest.mark.parametrize("activation", ["gelu", "erf", "sigmoid_like"])
def test_real_molecules_in_single_precision_are_right(
    engine: str, activation: str, molecules: Callable[[int], Graphs]
) -> None:
    graphs = molecules(40 if engine == "native" else 4)
    network = arch.build("SimpleGNN", depth=7, activation=activation)
    double = kernel_matrix(network, graphs, engine=engine)
    found = kernel_matrix(network, graphs, engine=engine, precision="float32")
    np.testing.assert_allclose(found, double, rtol=1e-3)


# -------------------------------------------------------------------------------------------- diagonals


@fast_engine
@both_precisions
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_example_meets_itself_alike_in_every_call(name: str, precision: Precision, engine: str) -> None:
    x = 30 * normal(6, 200)
    networks = [(arch.build("FC", depth=4, activation=name), x)]
    if engine == "native" or name in ("relu", "erf"):
        images = arch.build("Myrtle", convs_per_pool=[1, 1], activation=name)
        networks.append((images, 3 * normal(6, 4, 4, 3)))
    for net, examples in networks:
        symmetric = kernel_matrix(net, examples, engine=engine, precision=precision)
        general = kernel_matrix(net, examples, examples.copy(), engine=engine, precision=precision)
        own = variances(net, examples, engine=engine, precision=precision)
        rtol = 0 if engine == "native" else ROUNDINGS * float(np.finfo(precision).eps)
        np.testing.assert_allclose(np.diag(general), np.diag(symmetric), rtol=rtol)
        np.testing.assert_allclose(own, np.diag(symmetric), rtol=rtol)


@fast_engine
@both_precisions
def test_relu_tangent_kernels_of_images_with_themselves_are_exact(precision: Precision, engine: str) -> None:
    # At c = 1 both kernels follow in closed form from the input's variance.
    x = normal(40, 32, 32, 3)
    x = single((x - x.mean()) / x.std())
    K = np.mean(x.reshape(40, -1) ** 2, axis=1)
    T = np.zeros_like(K)
    for layer in range(4):
        K = 2 * K + 0.01
        T = 2 * T + K
        if layer < 3:
            K, T = K / 2, T / 2
    found = kernel_matrix(arch.build("FC3"), x, engine=engine, precision=precision)
    np.testing.assert_allclose(np.diag(found), T, rtol=20 * float(np.finfo(precision).eps))
    opposite = arch.build("FC", b_std=0.0, depth=1)
    found = np.diag(kernel_matrix(opposite, x, -x, engine=engine, precision=precision))
    np.testing.assert_allclose(found, 0, atol=1e-9 * float(np.finfo(precision).eps) / 2e-16)
