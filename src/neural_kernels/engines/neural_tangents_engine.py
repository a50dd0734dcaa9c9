"""The reference engine: Neural Tangents' ``stax``, in tiles of pairs that fit in memory.

Slow, and the oracle of the other engines' tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from neural_kernels import architectures as arch
from neural_kernels.engines import Kind, Precision, elementwise, graph_buckets
from neural_kernels.engines.neural_tangents_import import import_neural_tangents, missing
from neural_kernels.graphs import Examples, Graphs

# Covariance entries of all pairs in a tile; a few arrays of this size live at the same time.
ENTRIES_PER_TILE = 2**23
LARGEST_TILE_EDGE = 1024
_ALL_POSITION_PAIRS = (arch.AvgPool, arch.GlobalAvgPool, arch.GlobalSumPool)


def unavailable() -> str | None:
    """Why this engine cannot run here, or None."""
    return missing()


def uncovered(architecture: arch.Architecture, input_shape: tuple[int, ...]) -> str | None:
    """The first layer that this engine cannot compute, or None."""
    return elementwise.misplaced(architecture)


@dataclass(frozen=True)
class PreparedGraphs:
    n: int
    batches: list[graph_buckets.Batch]


def prepare(
    architecture: arch.Architecture, x: Examples, precision: Precision
) -> np.ndarray | PreparedGraphs:
    """The examples themselves in ``precision``: Neural Tangents computes variances as it goes."""
    if isinstance(x, Graphs):
        return PreparedGraphs(len(x), graph_buckets.batches(x, ENTRIES_PER_TILE, precision, shrink=True))
    return np.ascontiguousarray(x, dtype=precision)


def kernel(
    architecture: arch.Architecture,
    kind: Kind,
    left: Any,
    right: Any | None,
    precision: Precision,
) -> np.ndarray:
    """Kernel entries (n_left, n_right) of dtype ``precision``; see ``engines.Engine.kernel``."""
    compute = _graph_kernel if isinstance(left, PreparedGraphs) else _array_kernel
    result = compute(architecture, kind, left, right, precision)
    return result if right is not None else np.triu(result) + np.triu(result, 1).T


def _array_kernel(
    architecture: arch.Architecture,
    kind: Kind,
    left: np.ndarray,
    right: np.ndarray | None,
    precision: Precision,
) -> np.ndarray:
    import jax

    columns = left if right is None else right
    result = np.empty((len(left), len(columns)), precision)
    edge = _tile_edge(architecture, left.shape[1:])
    edge = min(edge, max(len(left), len(columns), 1))
    with jax.enable_x64(precision == "float64"):
        compute = _compiled(architecture, kind, left.ndim - 2)
        for i in range(0, len(left), edge):
            for j in range(i if right is None else 0, len(columns), edge):
                tile = compute(_padded(left[i : i + edge], edge), _padded(columns[j : j + edge], edge))
                target = result[i : i + edge, j : j + edge]
                target[...] = np.asarray(tile)[: target.shape[0], : target.shape[1]]
    return result


def _graph_kernel(
    architecture: arch.Architecture,
    kind: Kind,
    left: PreparedGraphs,
    right: PreparedGraphs | None,
    precision: Precision,
) -> np.ndarray:
    import jax

    columns = left if right is None else right
    result = np.empty((left.n, columns.n), precision)
    with jax.enable_x64(precision == "float64"):
        compute = _compiled_on_graphs(architecture, kind)
        others = None if right is None else right.batches
        for one, other, exchanged in graph_buckets.pairs(left.batches, others):
            tile = np.asarray(compute(_masked(one), _masked(other), one.adjacency, other.adjacency))
            graph_buckets.scatter(tile, one, other, exchanged, result, right is None)
    return result


def _masked(batch: graph_buckets.Batch) -> np.ndarray:
    # Neural Tangents' own masks: a node whose features are NaN is none.
    return np.where(batch.real[:, :, None], batch.nodes, np.nan)


def _padded(x: np.ndarray, length: int) -> np.ndarray:
    # One shape for all tiles: each other shape would be compiled anew.
    return np.concatenate([x, np.repeat(x[-1:], length - len(x), axis=0)]) if len(x) < length else x


def _tile_edge(architecture: arch.Architecture, input_shape: tuple[int, ...]) -> int:
    """Examples on each side of a tile, from the covariance entries of one pair at the first layer."""
    entries = math.prod(input_shape[:-1])
    if isinstance(architecture.layers[0], arch.Flatten):
        entries = 1
    elif any(isinstance(layer, _ALL_POSITION_PAIRS) for layer in architecture.layers):
        entries **= 2
    return max(1, min(LARGEST_TILE_EDGE, math.isqrt(ENTRIES_PER_TILE // entries)))


@lru_cache(maxsize=32)
def _compiled(architecture: arch.Architecture, kind: Kind, space: int) -> Callable[..., Any]:
    import jax

    stax = import_neural_tangents().stax
    layers = []
    for layer in architecture.layers:
        layers.append(_stax_layer(stax, layer, space))
        if isinstance(layer, arch.Flatten | arch.GlobalAvgPool | arch.GlobalSumPool):
            space = 0
    _, _, kernel_fn = stax.serial(*layers)
    return jax.jit(lambda x1, x2: kernel_fn(x1, x2, kind))


@lru_cache(maxsize=32)
def _compiled_on_graphs(architecture: arch.Architecture, kind: Kind) -> Callable[..., Any]:
    import jax

    stax = import_neural_tangents().stax

    @stax.layer
    @stax.supports_masking(remask_kernel=True)
    def whole_nodes() -> Any:
        """Makes one mask a node of one mask a feature, which only layers with weights would do."""
        return (
            lambda key, shape: (shape, ()),
            lambda parameters, x, **options: x,
            lambda k, **options: k,
            lambda mask, shape: jax.numpy.all(mask, axis=-1, keepdims=True),
        )

    layers, space = [whole_nodes()], 1
    for layer in architecture.layers:
        layers.append(_stax_layer(stax, layer, space))
        if isinstance(layer, arch.GlobalAvgPool | arch.GlobalSumPool):
            space = 0
    _, _, kernel_fn = stax.serial(*layers)
    return jax.jit(
        lambda x1, x2, adjacency1, adjacency2: kernel_fn(
            x1, x2, kind, mask_constant=math.nan, pattern=(adjacency1, adjacency2)
        )
    )


def _pattern(layer: arch.Aggregate, adjacency: Any) -> Any:
    """``adjacency`` (n, targets, sources) as the weights (n, sources, targets) of ``layer``."""
    import jax.numpy as jnp

    weights = adjacency + jnp.eye(adjacency.shape[-1]) if layer.self_loops else adjacency
    if layer.degree_scaling:
        weights = weights / jnp.maximum(weights.sum(axis=-1, keepdims=True), 1)
    return jnp.swapaxes(weights, 1, 2)


def _stax_layer(stax: Any, layer: arch.Layer, space: int) -> Any:
    """``layer`` in ``stax``, on inputs with ``space`` spatial dimensions."""
    match layer:
        case arch.Dense(W_std, b_std):
            return stax.Dense(1, W_std=W_std, b_std=b_std)
        case arch.Conv(filter_size, W_std, b_std):
            return stax.Conv(1, (filter_size,) * space, padding="SAME", W_std=W_std, b_std=b_std)
        case arch.Relu():
            return stax.Relu()
        case arch.LeakyRelu(alpha):
            return stax.LeakyRelu(alpha)
        case arch.Abs():
            return stax.Abs()
        case arch.Erf():
            return stax.Erf()
        case arch.Gelu():
            return stax.Gelu()
        case arch.SigmoidLike():
            return stax.Sigmoid_like()
        case arch.Identity():
            return stax.Identity()
        case arch.ExpNormalized(gamma, shift):
            return stax.ExpNormalized(gamma=gamma, shift=shift)
        case arch.LayerNorm(epsilon):
            return stax.LayerNorm(eps=epsilon)
        case arch.AvgPool(window):
            return stax.AvgPool((window,) * space, strides=(window,) * space) if space else stax.Identity()
        case arch.GlobalAvgPool():
            return stax.GlobalAvgPool() if space else stax.Identity()
        case arch.GlobalSumPool():
            return stax.GlobalSumPool() if space else stax.Identity()
        case arch.Flatten():
            return stax.Flatten()
        case arch.Aggregate():
            return stax.Aggregate(to_dense=partial(_pattern, layer))
    raise TypeError(f"no stax layer for {layer}")
