"""The reference engine: Neural Tangents' ``stax``, in tiles of pairs that fit in memory.

Slow, and the oracle of the other engines' tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from neural_kernels import architectures as arch
from neural_kernels.engines import Kind, Precision, elementwise
from neural_kernels.engines.neural_tangents_import import import_neural_tangents, missing

# Covariance entries of all pairs in a tile; a few arrays of this size live at the same time.
ENTRIES_PER_TILE = 2**23
LARGEST_TILE_EDGE = 1024
_ALL_POSITION_PAIRS = (arch.AvgPool, arch.GlobalAvgPool, arch.GlobalSumPool)


def unavailable() -> str | None:
    """Why this engine cannot run here, or None."""
    return missing()


def uncovered(architecture: arch.Architecture, input_shape: tuple[int, ...]) -> str | None:
    """The first layer that this engine cannot compute, or None."""
    if any(isinstance(layer, arch.Aggregate) for layer in architecture.layers):
        return "layer Aggregate is not covered yet"
    return elementwise.misplaced(architecture)


def prepare(architecture: arch.Architecture, x: np.ndarray, precision: Precision) -> np.ndarray:
    """The examples themselves in ``precision``: Neural Tangents computes variances as it goes."""
    return np.ascontiguousarray(x, dtype=precision)


def kernel(
    architecture: arch.Architecture,
    kind: Kind,
    left: np.ndarray,
    right: np.ndarray | None,
    precision: Precision,
) -> np.ndarray:
    """Kernel entries (n_left, n_right) of dtype ``precision``; see ``engines.Engine.kernel``."""
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
    if right is None:
        upper = np.triu(result)
        result = upper + np.triu(result, 1).T
    return result


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
    raise TypeError(f"no stax layer for {layer}")
