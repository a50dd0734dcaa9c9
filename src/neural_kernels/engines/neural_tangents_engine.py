"""The reference engine: Neural Tangents' ``stax``, in tiles of pairs that fit in memory.

Slow, and the oracle of the other engines' tests on ordinary inputs. Its arithmetic is Neural Tangents' own: it
takes small differences of rounded numbers, so that two equal examples are to it as two that differ by a rounding,
eps. The angle between them comes out as sqrt(eps) at worst (ReLU's NTK of an example with itself is low by 5e-8
in float64), and an erf's, GELU's or sigmoid's NTK there is off by eps times the variance. Examples with which that
is not known to a part in 64, or of which the product of two variances cannot be held, are refused.
"""

from __future__ import annotations

import importlib
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from neural_kernels import architectures as arch
from neural_kernels.engines import Kind, Precision, elementwise, graph_buckets
from neural_kernels.engines.neural_tangents_import import import_neural_tangents, missing
from neural_kernels.engines.representable import rounded
from neural_kernels.graphs import Examples, Graphs
from neural_kernels.triangles import mirror_upper

# What this engine covers; what is not here is refused.
LAYERS: tuple[type[arch.Layer], ...] = (
    arch.Dense,
    arch.Conv,
    arch.Relu,
    arch.LeakyRelu,
    arch.Abs,
    arch.Erf,
    arch.Gelu,
    arch.SigmoidLike,
    arch.Identity,
    arch.ExpNormalized,
    arch.LayerNorm,
    arch.AvgPool,
    arch.GlobalAvgPool,
    arch.GlobalSumPool,
    arch.Flatten,
    arch.Aggregate,
)

# Covariance entries of all pairs in a tile; a few arrays of this size live at the same time.
ENTRIES_PER_TILE = 2**23
LARGEST_TILE_EDGE = 1024
_ALL_POSITION_PAIRS = (arch.AvgPool, arch.GlobalAvgPool, arch.GlobalSumPool)


def unavailable() -> str | None:
    """Why this engine cannot run here, or None."""
    return missing()


def uncovered(architecture: arch.Architecture, input_shape: tuple[int, ...]) -> str | None:
    """The first layer that this engine cannot compute, or None."""
    return elementwise.uncovered(architecture, LAYERS)


@dataclass(frozen=True)
class Prepared:
    """Examples, and which of them (n,) Neural Tangents' formulas can hold."""

    x: np.ndarray
    held: np.ndarray


@dataclass(frozen=True)
class PreparedGraphs:
    """Graphs in batches; ``held`` as in ``Prepared``."""

    n: int
    batches: list[graph_buckets.Batch]
    held: np.ndarray


def prepare(architecture: arch.Architecture, x: Examples, precision: Precision) -> Prepared | PreparedGraphs:
    """The examples themselves in ``precision``: Neural Tangents computes variances as it goes."""
    held = _held(architecture, x, precision)
    if isinstance(x, Graphs):
        batches = graph_buckets.batches(x, ENTRIES_PER_TILE, precision, shrink=True)
        return PreparedGraphs(len(x), batches, held)
    return Prepared(rounded(x, precision), held)


def _held(architecture: arch.Architecture, x: Examples, precision: Precision) -> np.ndarray:
    """Whether (n,) all variances of each example are ones that Neural Tangents' formulas can hold."""
    from neural_kernels.engines import jax_engine
    from neural_kernels.engines.jax_offsets import is_pointwise

    layers = [layer for layer in architecture.layers if is_pointwise(layer)]
    prepared = jax_engine.prepare(architecture, x, precision)
    held: np.ndarray = np.ones(len(x), bool)
    if isinstance(prepared, jax_engine.Prepared):
        variances = [v for segment in prepared.variances for v in segment]
        for layer, v in zip(layers, variances, strict=True):
            held &= np.all(_in_range(layer, v, precision).reshape(len(x), -1), axis=1)
    else:
        for batch in prepared.batches:
            for layer, v in zip(layers, batch.own, strict=True):
                of_graph = np.all(_in_range(layer, v, precision).reshape(len(v), -1), axis=1)
                held[batch.places] &= of_graph[: len(batch.places)]
    return held


def _in_range(layer: arch.Layer, v: np.ndarray, precision: Precision) -> np.ndarray:
    info = np.finfo(precision)
    if isinstance(layer, arch.Erf | arch.SigmoidLike | arch.Gelu):
        return v <= 1 / (64 * float(info.eps))
    least = 0.0 if isinstance(layer, arch.LayerNorm) else math.sqrt(float(info.tiny) / float(info.eps))
    return np.asarray((v == 0) | ((v >= least) & (v <= math.sqrt(float(info.max)) / 16)))


def kernel(
    architecture: arch.Architecture,
    kind: Kind,
    left: Any,
    right: Any | None,
    precision: Precision,
) -> np.ndarray:
    """Kernel entries (n_left, n_right) of dtype ``precision``; see ``engines.Engine.kernel``."""
    if isinstance(left, PreparedGraphs):
        result = _graph_kernel(architecture, kind, left, right, precision)
    else:
        result = _array_kernel(architecture, kind, left.x, None if right is None else right.x, precision)
    result[~left.held] = np.nan
    result[:, ~(left if right is None else right).held] = np.nan
    if right is None:
        mirror_upper(result)
    return result


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

    @stax.layer  # type: ignore[untyped-decorator]
    @stax.supports_masking(remask_kernel=True)  # type: ignore[untyped-decorator]
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


def _exp_normalized(gamma: float, shift: float) -> Any:
    """``stax.ExpNormalized`` without its floor of 1e-30 under the product of two variances."""
    import jax.numpy as jnp

    elementwise_layers = importlib.import_module("neural_tangents._src.stax.elementwise")

    def transformed(covariance: Any, product: Any) -> tuple[Any, Any]:
        size = jnp.sqrt(product)
        correlation = jnp.where(size > 0, covariance / jnp.where(size > 0, size, 1), 0)
        growth = jnp.exp(gamma * (correlation + shift))
        return size * growth, gamma * growth

    def kernel_fn(k: Any) -> Any:
        products = elementwise_layers.get_diagonal_outer_prods(
            k.cov1, k.cov2, k.diagonal_batch, k.diagonal_spatial, operator.mul
        )
        nngp, slope = transformed(k.nngp, products[1])
        cov1, cov2 = (
            None if covariance is None else transformed(covariance, product)[0]
            for covariance, product in ((k.cov1, products[0]), (k.cov2, products[2]))
        )
        return k.replace(nngp=nngp, cov1=cov1, cov2=cov2, ntk=None if k.ntk is None else slope * k.ntk)

    stax = import_neural_tangents().stax
    layer = stax.layer(
        stax.supports_masking(remask_kernel=True)(
            lambda: elementwise_layers._elementwise(None, "ExpNormalized", kernel_fn)
        )
    )
    return layer()


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
            return _exp_normalized(gamma, shift)
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
