"""Closed forms of the layers that act on one pair of positions at a time, in jax.numpy.

Each example's part of a formula (its *factors*) depends on its own variance v only and is computed
once a position; ``transform`` combines the factors of two positions with their covariance K and
tangent kernel T. Formulas: Cho & Saul 2009 (ReLU family), Williams 1997 (erf), Tsuchida et al. 2021
(GELU), Shankar et al. 2020 (normalised exponential), rearranged so that nothing cancels near c = 1.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from neural_kernels import architectures as arch
from neural_kernels.architectures.layers import SIGMOID_LIKE_SCALE

Array = jax.Array
Factors = tuple[Array, ...]
# T is None while it is still zero, before the first affine layer, and throughout an NNGP.
State = tuple[Array, Array | None]

# (asin(sqrt z) / sqrt z - 1) / z on [0, 1/4], interpolated in Chebyshev nodes: rounding error in
# asin at these degrees, and several times faster than XLA's own asin and acos on a CPU.
_ARCSIN = {
    "float64": (
        0.1666666666666665, 0.07500000000020764, 0.044642857103423646, 0.03038194736709848,
        0.02237204763174451, 0.017355259955786323, 0.013929652902326633, 0.011875494382636922,
        0.007802949477353317, 0.016035514349148825, -0.01074905033969781, 0.028169218060881414,
    ),
    "float32": (
        0.16666672414795305, 0.07498855072600821, 0.04500138006991017, 0.026554542206161328,
        0.038085023561092654,
    ),
}  # fmt: skip


def stored(x: Array) -> Array:
    """``x``, computed once and kept: XLA would otherwise compute it anew for each of its uses."""
    return lax.optimization_barrier(x)


def arcsin(x: Array, start: float = 0.0, complement: Array | None = None) -> Array:
    """``start``, 0 or pi / 2, and the arcsine of ``x`` in [-1, 1], to rounding relative to the result.

    ``complement`` is 1 - x^2, where it is known better than from ``x``, whose rounding is that of 1.
    """
    size = jnp.abs(x)
    large = size > 0.5
    rest = 1 - size if complement is None else complement / (1 + size)
    z = jnp.where(large, rest / 2, size * size)
    root = jnp.where(large, jnp.sqrt(z), size)
    coefficients = _ARCSIN[x.dtype.name]
    series = jnp.full_like(z, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        series = series * z + coefficient
    value = root + root * z * series
    above = jnp.where(large, (start + math.pi / 2) - 2 * value, start + value)
    below = jnp.where(large, (start - math.pi / 2) + 2 * value, start - value)
    return jnp.where(x < 0, below, above)


def lifted(v: Array, positive: Array) -> Array:
    """Variances ``v``, not zero by underflow where they are ``positive``: ``trusted`` then sees what was lost."""
    return jnp.where(positive, jnp.maximum(v, float(jnp.finfo(v.dtype).tiny)), v)  # type: ignore[no-untyped-call]


def trusted(layer: arch.Layer, v: Array, gain: float) -> Array:
    """Variances ``v`` before ``layer``, or NaN where they are too large for its formulas or lost in underflow.

    Below zero is the rounding of a sum that cancels. What is lost, before the layers that multiplied it by
    ``gain``, is at most the smallest normal number, as compiled programs take smaller ones for zero.
    """
    info = jnp.finfo(v.dtype)  # type: ignore[no-untyped-call]
    squared = isinstance(layer, arch.Erf | arch.SigmoidLike | arch.Gelu)
    largest = 2.0 ** (info.maxexp // 2 - 4 if squared else info.maxexp - 4)
    least = float(info.tiny) / float(info.eps) * max(gain, 1.0)
    v = jnp.maximum(v, 0)
    return jnp.where((v == 0) | ((v >= least) & (v <= largest)), v, math.nan)


@functools.singledispatch
def factors(layer: arch.Layer, v: Array) -> Factors:
    """What ``transform`` needs of one example, from its variances ``v`` before ``layer``."""
    raise TypeError(f"no closed form for {layer}")


@functools.singledispatch
def transform(layer: arch.Layer, state: State, left: Factors, right: Factors) -> State:
    """(K, T) after ``layer``; ``left`` and ``right`` broadcast against K."""
    raise TypeError(f"no closed form for {layer}")


def variance(layer: arch.Layer, v: Array, own: Factors) -> Array:
    """Variances after ``layer``, from ``v`` before it and their factors, as ``transform`` computes a pair's."""
    return transform(layer, (v, None), own, own)[0]


def _inverse_root(v: Array) -> Array:
    return jnp.where(v == 0, 0, 1 / jnp.sqrt(jnp.where(v == 0, 1, v)))


def _scaled(T: Array | None, factor: Array) -> Array | None:
    return None if T is None else T * factor


# ------------------------------------------------------------------------------ layer norm


@factors.register
def _(layer: arch.LayerNorm, v: Array) -> Factors:
    return (1 / jnp.sqrt(v + layer.epsilon),)


@transform.register
def _(layer: arch.LayerNorm, state: State, left: Factors, right: Factors) -> State:
    scale = left[0] * right[0]
    return state[0] * scale, _scaled(state[1], scale)


# ------------------------------------------------------------------------------ activations


def _correlation(K: Array, left: Array, right: Array) -> Array:
    # Rounding leaves identical positions a few units below 1, and opposite ones above -1, where the angle's
    # slope is infinite and would turn 1e-16 into 1e-8; no angle below this can be told from zero.
    c = K * left * right
    resolved = 1 - 8 * float(jnp.finfo(K.dtype).eps)  # type: ignore[no-untyped-call]
    return jnp.where(c > resolved, 1, jnp.where(c < -resolved, -1, c))


def _slopes(layer: arch.Layer) -> tuple[float, float]:
    """Slopes (below zero, above zero)."""
    match layer:
        case arch.LeakyRelu(alpha):
            return alpha, 1.0
        case arch.Abs():
            return -1.0, 1.0
    return 0.0, 1.0


@factors.register
def _(layer: arch.Relu | arch.LeakyRelu | arch.Abs | arch.ExpNormalized, v: Array) -> Factors:
    return jnp.sqrt(v), _inverse_root(v)


@transform.register
def _(layer: arch.Relu | arch.LeakyRelu | arch.Abs, state: State, left: Factors, right: Factors) -> State:
    K, T = state
    negative, positive = _slopes(layer)
    kink = (positive - negative) ** 2 / (2 * math.pi)
    c = _correlation(K, left[1], right[1])
    # The derivative's covariance, with the angle as pi - acos(c).
    slope = negative * positive + kink * stored(arcsin(c, math.pi / 2))
    sine = jnp.sqrt((1 - c) * (1 + c))
    return left[0] * right[0] * (kink * sine + slope * c), _scaled(T, slope)


@transform.register
def _(layer: arch.ExpNormalized, state: State, left: Factors, right: Factors) -> State:
    K, T = state
    c = jnp.clip(K * left[1] * right[1], -1, 1)
    growth = jnp.exp(layer.gamma * (c + layer.shift))
    return left[0] * right[0] * growth, _scaled(T, layer.gamma * growth)


def _erf_parameters(layer: arch.Layer) -> tuple[float, float, float]:
    """(scale, slope, shift) of scale * erf(slope * x) + shift."""
    return (0.5, 1 / SIGMOID_LIKE_SCALE, 0.5) if isinstance(layer, arch.SigmoidLike) else (1.0, 1.0, 0.0)


@factors.register
def _(layer: arch.Erf | arch.SigmoidLike, v: Array) -> Factors:
    scaled = _erf_parameters(layer)[1] ** 2 * v
    return scaled, _inverse_root(v), 1 / jnp.sqrt(1 + 2 * scaled)


@transform.register
def _(layer: arch.Erf | arch.SigmoidLike, state: State, left: Factors, right: Factors) -> State:
    K, T = state
    scale, slope, shift = _erf_parameters(layer)
    y, v1, v2 = 2 * slope**2 * K, left[0], right[0]
    scales = left[2] * right[2]
    c = _correlation(K, left[1], right[1])
    determinant = 1 + 2 * (v1 + v2) + 4 * v1 * v2 * (1 - c) * (1 + c)
    start = math.pi / 2 if shift else 0.0
    angle = arcsin(jnp.clip(y * scales, -1, 1), start, determinant * scales * scales)
    result = scale**2 * 2 / math.pi * angle
    return result, _scaled(T, (slope**2 * scale**2 * 4 / math.pi) / jnp.sqrt(determinant))


@factors.register
def _(layer: arch.Gelu, v: Array) -> Factors:
    return v, _inverse_root(v), 1 / jnp.sqrt(1 + v)


@transform.register
def _(layer: arch.Gelu, state: State, left: Factors, right: Factors) -> State:
    K, T = state
    v1, v2 = left[0], right[0]
    scales = left[2] * right[2]
    inverse = scales * scales
    c = _correlation(K, left[1], right[1])
    determinant = 1 + v1 + v2 + v1 * v2 * (1 - c) * (1 + c)
    size = jnp.sqrt(determinant)
    sine = jnp.clip(K * scales, -1, 1)
    gate = arcsin(sine, math.pi / 2, determinant * inverse) / (2 * math.pi)
    result = (sine * sine / size + v1 * v2 * inverse * size) / (2 * math.pi) + K * gate
    first = 1 / determinant + (2 + v1 + v2) * inverse
    return result, _scaled(T, gate + first * K / size / (2 * math.pi))
