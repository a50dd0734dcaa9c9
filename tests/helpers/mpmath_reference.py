"""Kernels of single pairs in 50-digit arithmetic, and how far rounding may move them.

The recursions are those of the literature, over the whole joint covariance of two examples' positions, and share
nothing with the engines but the dataclasses that name the layers.

An engine rounds the covariance k of two examples and their variances v1 and v2 before each activation. Nothing
after that can tell k from k + nudge sqrt(v1 v2), where nudge is a few roundings; what that does to an entry is its
conditioning, and large where the two examples are nearly the same. Beyond that an entry has a few roundings of the
sizes that it is made of (``magnitude``). So an entry is right where its error is at most

    roundings * eps * magnitude + max |exact(k -+ nudge) - exact(k)|,

and where both examples are the same, or opposite and without biases, k is -+ v1 to the bit, and the second term
is not allowed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import mpmath as mp
import numpy as np

from neural_kernels import architectures as arch

mp.mp.dps = 50
SIGMOID_SLOPE = 1 / mp.mpf("2.4020563531719796")

_exact = np.vectorize(lambda number: mp.mpf(float(number)), otypes=[object])


@dataclass(frozen=True, eq=False)
class Example:
    """Positions (*space, channels) of an array, or the nodes of a graph with its adjacency (targets, sources)."""

    x: np.ndarray
    adjacency: np.ndarray | None = None


@dataclass(frozen=True)
class Entry:
    nngp: Any
    ntk: Any
    nngp_magnitude: Any
    ntk_magnitude: Any


def entry(
    layers: tuple[arch.Layer, ...], one: Example, other: Example, nudge: float = 0.0, outwards: bool = False
) -> Entry:
    """The kernel of two examples.

    ``nudge`` moves each covariance before an activation, see above: upwards, or ``outwards`` from zero.
    """
    own = _own(layers, one)[1], _own(layers, other)[1]
    return _walk(layers, one, other, *own, mp.mpf(float(nudge)), outwards)[0]


def bounds(
    layers: tuple[arch.Layer, ...], one: Example, other: Example, nudge: float
) -> tuple[Entry, dict[str, Any]]:
    """The exact entry, with the largest magnitudes that ``nudge`` leads to, and for each kind how far it moves it."""
    exact = entry(layers, one, other)
    moved = [entry(layers, one, other, way * nudge) for way in (-1, 1)]
    moved += [entry(layers, one, other, way * nudge, outwards=True) for way in (-1, 1)]
    spread = {
        kind: max(abs(getattr(there, kind) - getattr(exact, kind)) for there in moved)
        for kind in ("nngp", "ntk")
    }
    every = [exact, *moved]
    largest = {
        name: max(getattr(there, name) for there in every) for name in ("nngp_magnitude", "ntk_magnitude")
    }
    return replace(exact, **largest), spread


@lru_cache(maxsize=4096)
def _own(layers: tuple[arch.Layer, ...], one: Example) -> tuple[Entry, list[np.ndarray]]:
    """The entry of an example with itself, and its variances before each activation and LayerNorm."""
    return _walk(layers, one, one, None, None, mp.mpf(0), False)


def _walk(
    layers: tuple[arch.Layer, ...],
    one: Example,
    other: Example,
    left: list[np.ndarray] | None,
    right: list[np.ndarray] | None,
    nudge: Any,
    outwards: bool,
) -> tuple[Entry, list[np.ndarray]]:
    x, y = one.x, other.x
    if isinstance(layers[0], arch.Flatten):
        x, y = x.reshape(-1), y.reshape(-1)
    space = x.shape[:-1]
    a, b = (_exact(z.reshape(-1, z.shape[-1])) for z in (x, y))
    K = a @ b.T / x.shape[-1]
    # What K and T were summed from, without their signs.
    size = abs(a) @ abs(b).T / x.shape[-1]
    T, T_size = K * 0, K * 0
    variances: list[np.ndarray] = []
    number = 0
    for layer in layers:
        match layer:
            case arch.Dense() | arch.Conv():
                w, bias = mp.mpf(layer.W_std) ** 2, mp.mpf(layer.b_std) ** 2
                if isinstance(layer, arch.Conv):
                    w /= layer.filter_size ** len(space)
                    K, T, size, T_size = (_taps(z, layer.filter_size, space) for z in (K, T, size, T_size))
                K, size = w * K + bias, w * size + bias
                T, T_size = w * T + K, w * T_size + size
            case arch.Aggregate():
                first, second = _weights(layer, one), _weights(layer, other)
                K, T, size, T_size = (first @ z @ second.T for z in (K, T, size, T_size))
            case arch.Identity():
                pass
            case arch.AvgPool() | arch.GlobalAvgPool() | arch.GlobalSumPool() | arch.Flatten():
                if K.size == 1 and not space:
                    continue
                K, T, size, T_size = (_pooled(layer, z, space) for z in (K, T, size, T_size))
                space = tuple(n // layer.window for n in space) if isinstance(layer, arch.AvgPool) else ()
            case _:
                if left is None or right is None:
                    variances.append(np.diag(K).copy())
                    v, u = variances[-1], variances[-1]
                else:
                    v, u = left[number], right[number]
                number += 1
                for p, q in np.ndindex(*K.shape):
                    scale = mp.sqrt(v[p] * u[q])
                    k = K[p, q]
                    if nudge:
                        way = -nudge if outwards and k < 0 else nudge
                        k = max(min(k + way * scale, scale), -scale)
                    K[p, q], slope, steepest, size[p, q] = _transformed(layer, k, v[p], u[q])
                    T[p, q] *= slope
                    T_size[p, q] *= steepest
    assert K.size == 1
    return Entry(K.item(), T.item(), size.item(), T_size.item()), variances


def _transformed(layer: arch.Layer, k: Any, v: Any, u: Any) -> tuple[Any, Any, Any, Any]:
    """(K, factor of T, the size against which an engine rounds that factor, that of K)."""
    if isinstance(layer, arch.LayerNorm):
        scale = 1 / mp.sqrt((v + layer.epsilon) * (u + layer.epsilon))
        return k * scale, scale, scale, mp.sqrt(v * u) * scale
    value, slope = dual(layer, k, v, u)
    size = mp.sqrt(dual(layer, v, v, v)[0] * dual(layer, u, u, u)[0])
    # The derivative's covariance of a smooth step is positive and has no part that cancels.
    relative = isinstance(layer, arch.Erf | arch.SigmoidLike | arch.ExpNormalized)
    steepest = abs(slope) if relative else 1 + abs(getattr(layer, "alpha", 0)) ** 2
    return value, slope, steepest, size


def dual(layer: arch.Layer, k: Any, v: Any, u: Any) -> tuple[Any, Any]:
    """E[f(a) f(b)] and E[f'(a) f'(b)] of Gaussians a, b with variances v, u and covariance k."""
    match layer:
        case arch.Relu() | arch.LeakyRelu() | arch.Abs():
            alpha = {arch.Relu: 0, arch.Abs: -1}.get(type(layer), getattr(layer, "alpha", 0))
            alpha = mp.mpf(alpha)
            sine = mp.sqrt(max(v * u - k * k, 0))
            angle = mp.pi - mp.atan2(sine, k) if v * u else mp.pi / 2
            kink = (1 - alpha) ** 2 / (2 * mp.pi)
            return alpha * k + kink * (sine + k * angle), alpha + kink * angle
        case arch.Erf():
            return _erf_dual(k, v, u)
        case arch.SigmoidLike():
            square = SIGMOID_SLOPE**2
            value, slope = _erf_dual(square * k, square * v, square * u)
            return (value + 1) / 4, square * slope / 4
        case arch.Gelu():
            product = (1 + v) * (1 + u)
            determinant = 1 + v + u + max(v * u - k * k, 0)
            root = mp.sqrt(determinant)
            gate = mp.mpf(1) / 4 + mp.atan2(k, root) / (2 * mp.pi)
            value = k * gate + (v * u * determinant + k * k) / (product * root) / (2 * mp.pi)
            slope = gate + k * (1 / determinant + (2 + v + u) / product) / root / (2 * mp.pi)
            return value, slope
        case arch.ExpNormalized():
            scale = mp.sqrt(v * u)
            growth = mp.exp(layer.gamma * ((k / scale if scale else 0) + layer.shift))
            return scale * growth, layer.gamma * growth
    raise TypeError(f"no dual of {layer}")


def _erf_dual(k: Any, v: Any, u: Any) -> tuple[Any, Any]:
    root = mp.sqrt(1 + 2 * (v + u) + 4 * max(v * u - k * k, 0))
    return 2 / mp.pi * mp.atan2(2 * k, root), 4 / mp.pi / root


def _taps(K: np.ndarray, size: int, space: tuple[int, ...]) -> np.ndarray:
    """Sums over the filter's taps of both positions moved together, zero outside the image."""
    total = K * 0
    positions = list(np.ndindex(*space))
    for tap in np.ndindex(*(size,) * len(space)):
        moved = [tuple(p + t - size // 2 for p, t in zip(place, tap, strict=True)) for place in positions]
        inside = [all(0 <= p < n for p, n in zip(place, space, strict=True)) for place in moved]
        to = np.flatnonzero(inside)
        source = [np.ravel_multi_index(moved[i], space) for i in to]
        total[np.ix_(to, to)] = total[np.ix_(to, to)] + K[np.ix_(source, source)]
    return total


def _pooled(layer: arch.Pooling, K: np.ndarray, space: tuple[int, ...]) -> np.ndarray:
    match layer:
        case arch.AvgPool(window):
            coarse = tuple(n // window for n in space)
            shares = K[: int(np.prod(coarse)), :1] * 0 + np.zeros((1, len(K)), object)
            for p, place in enumerate(np.ndindex(*space)):
                to = np.ravel_multi_index(tuple(i // window for i in place), coarse)
                shares[to, p] = mp.mpf(1) / window ** len(space)
            return shares @ K @ shares.T
        case arch.GlobalAvgPool():
            return np.array([[K.sum() / mp.mpf(K.size)]], object)
        case arch.GlobalSumPool():
            return np.array([[K.sum()]], object)
        case _:
            return np.array([[np.diag(K).sum() / mp.mpf(len(K))]], object)


def _weights(layer: arch.Aggregate, graph: Example) -> np.ndarray:
    assert graph.adjacency is not None
    matrix = _exact(graph.adjacency + np.eye(len(graph.adjacency)) * layer.self_loops)
    if layer.degree_scaling:
        counts = matrix.sum(axis=1)
        matrix = np.array([row / max(count, 1) for row, count in zip(matrix, counts, strict=True)], object)
    return matrix
