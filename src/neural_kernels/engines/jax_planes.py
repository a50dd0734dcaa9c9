"""Kernels in the offset layout (see ``jax_offsets``), in jax.numpy, to be compiled.

Arrays are (*space, *lanes): positions first, and last the pairs of examples, the vector lanes.
"""

from __future__ import annotations

import functools
import math
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from neural_kernels import architectures as arch
from neural_kernels.engines.jax_layers import (
    Array,
    Factors,
    State,
    factors,
    lifted,
    stored,
    transform,
    trusted,
    variance,
)
from neural_kernels.engines.jax_offsets import (
    Offset,
    Segment,
    Space,
    own_offsets,
    pair_offsets,
    segments,
)


class Examples(NamedTuple):
    """Examples (*space, channels, *lanes) and, for each segment, their variances (*space, *lanes)
    before each of its pointwise layers."""

    x: Array
    variances: list[list[Array]]


def input_covariance(left: Array, right: Array, space: Space) -> Array:
    """Mean over channels of products: (*space, channels, *lanes) twice -> (*space, *lanes).

    Without positions in float64, whatever the precision of the inputs: a matrix product sums in an order of its
    own, and a variance that differs from it by the rounding of float32 shows as an angle between equal examples.
    """
    axis = len(space)
    channels = left.shape[axis]
    if not space:
        dtype, left, right = left.dtype, left.astype(jnp.float64), right.astype(jnp.float64)
        if left.ndim == 3:
            sums = jnp.dot(left[:, :, 0].T, right[:, 0, :], precision="highest")
        else:
            sums = jnp.sum(left * right, axis)
        return (sums / channels).astype(dtype)
    if channels > 8:
        return jnp.sum(left * right, axis) / channels
    products = (
        lax.index_in_dim(left, c, axis, keepdims=False) * lax.index_in_dim(right, c, axis, keepdims=False)
        for c in range(channels)
    )
    return functools.reduce(operator.add, products) / channels


def doubled(array: Array, space: Space) -> Array:
    """``array`` twice along each dimension of ``space``, so that ``moved`` is a plain slice."""
    for axis in range(len(space)):
        array = jnp.concatenate([array, array], axis)
    return array


def moved(array: Array, offset: Any, space: Space) -> Array:
    """The array that ``doubled`` was made of at p + offset, modulo ``space``."""
    for axis, size in enumerate(space):
        array = lax.dynamic_slice_in_dim(array, offset[axis], size, axis)
    return array


def box_mean(x: Array, filter_size: int, offset: Any, space: Space) -> Array:
    """Mean over the filter's taps within the image, for the plane ``offset`` (traced or not)."""
    reach = [min(filter_size // 2, size - 1) for size in space]
    lanes = x.ndim - len(space)
    x = lax.pad(x, jnp.zeros((), x.dtype), [*[(r, r, 0) for r in reach], *[(0, 0, 0)] * lanes])
    x = stored(x)
    seams = any(isinstance(d, jax.Array) or d for d in offset)
    for axis, size in enumerate(space):
        where = np.arange(size)
        total = lax.slice_in_dim(x, reach[axis], reach[axis] + size, axis=axis)
        for shift in range(-reach[axis], reach[axis] + 1):
            if shift == 0:
                continue
            neighbour = lax.slice_in_dim(x, reach[axis] + shift, reach[axis] + shift + size, axis=axis)
            if seams:
                same = (where + offset[axis] >= size) == (where + shift + offset[axis] >= size)
                neighbour *= jnp.asarray(same, x.dtype).reshape(-1, *[1] * (x.ndim - axis - 1))
            total = total + neighbour
        x = stored(total) if axis < len(space) - 1 else total
    return x / filter_size ** len(space)


def apply_layers(
    segment: Segment, offset: Any, state: State, left: list[Factors], right: list[Factors], tangent: bool
) -> State:
    """The plane ``offset`` after the segment's layers; ``right`` is already moved by ``offset``."""
    K, T = state
    position = 0
    for layer in segment.layers:
        match layer:
            case arch.Dense() | arch.Conv():
                K = stored(layer.W_std**2 * _taps(layer, K, offset, segment.space) + layer.b_std**2)
                if tangent:
                    T = K if T is None else layer.W_std**2 * _taps(layer, T, offset, segment.space) + K
            case _:
                K, T = transform(layer, (K, T), left[position], right[position])
                K, T = stored(K), None if T is None else stored(T)
                position += 1
    return K, T


def _taps(layer: arch.Dense | arch.Conv, x: Array, offset: Any, space: Space) -> Array:
    return box_mean(x, layer.filter_size, offset, space) if isinstance(layer, arch.Conv) else x


def own_variances(segment: Segment, v: Array) -> tuple[list[Array], Array]:
    """An example's variances before each pointwise layer of the segment, and after the last layer."""
    before: list[Array] = []
    gain = 1.0  # of the layers with weights since the last pointwise one
    zero = (0,) * len(segment.space)
    for layer in segment.layers:
        match layer:
            case arch.Dense() | arch.Conv():
                gain *= layer.W_std**2
                v = _taps(layer, v, zero, segment.space)
                v = lifted(layer.W_std**2 * v + layer.b_std**2, v > 0)
            case _:
                before.append(trusted(layer, v, gain))
                v, gain = variance(layer, before[-1], factors(layer, before[-1])), 1.0
    return before, v


# ------------------------------------------------------------------------------ pooling


class Pooled:
    """Where the planes of a segment go: a slot for each offset that the next segment needs."""

    def __init__(self, segment: Segment, following: list[Offset]) -> None:
        self.segment = segment
        self.space = segment.pooled_space()
        self.slots = len(following)
        # Offsets that the next segment does not need are added to one slot too many.
        table = np.full(self.space, self.slots, np.int32)
        for slot, offset in enumerate(following):
            table[offset] = slot
        self.table = table

    def empty(self, lanes: tuple[int, ...], dtype: Any) -> Array:
        """Zeros for every slot, (slots + 1, *space, *lanes)."""
        return jnp.zeros((self.slots + 1, *self.space, *lanes), dtype)

    def add(self, total: Array, offset: Any, plane: Array) -> Array:
        """``total`` with the contributions of the plane ``offset``."""
        if isinstance(self.segment.pooling, arch.AvgPool):
            return self._add_windows(total, offset, plane, self.segment.pooling.window)
        positions = math.prod(self.segment.space)
        scale: dict[type, int] = {
            arch.Flatten: positions,
            arch.GlobalAvgPool: positions**2,
            arch.GlobalSumPool: 1,
        }
        whole = plane.sum(tuple(range(len(self.segment.space))))
        return total.at[0].add(whole / scale[type(self.segment.pooling)])

    def _add_windows(self, total: Array, offset: Any, plane: Array, window: int) -> Array:
        # Position w P + r meets, at offset d, Q = P + (r + d) // w: one of two in each dimension. So a
        # plane has 2^dims parts, each the sum over some of every window, that go to different slots.
        parts, slots = plane[None], jnp.zeros((1, 0), jnp.int32)
        for axis, (d, size) in enumerate(zip(offset, self.segment.space, strict=True)):
            shape = parts.shape
            windows = parts.reshape(*shape[: axis + 1], size // window, window, *shape[axis + 2 :])
            entries = [lax.index_in_dim(windows, r, axis + 2, keepdims=False) for r in range(window)]
            halves, there = [], []
            for high in (0, 1):
                weights = [
                    jnp.where((r + d % window >= window) == high, 1 / window**2, 0) for r in range(window)
                ]
                terms = [entry * w.astype(plane.dtype) for entry, w in zip(entries, weights, strict=True)]
                halves.append(functools.reduce(operator.add, terms))
                D = jnp.full((len(slots), 1), (d // window + high) % (size // window), jnp.int32)
                there.append(jnp.concatenate([slots, D], axis=1))
            parts, slots = jnp.concatenate(halves), jnp.concatenate(there)
        numbers = jnp.asarray(self.table)[tuple(slots.T)]

        # A loop with one update, because XLA copies all of ``total`` for each of several.
        def add_part(number: Array, total: Array) -> Array:
            slot = numbers[number]
            part = lax.dynamic_index_in_dim(parts, number) + lax.dynamic_index_in_dim(total, slot)
            return lax.dynamic_update_index_in_dim(total, part, slot, 0)

        return lax.fori_loop(0, len(parts), add_part, total)


# ------------------------------------------------------------------------------ whole networks


def pair_kernel(
    architecture: arch.Architecture, space: Space, tangent: bool, left: Examples, right: Examples
) -> Array:
    """Kernel entries of pairs of examples.

    The arrays of ``left`` and ``right`` end in lane dimensions that broadcast against each other: to
    (n_right,) for one example against many, to (n_left, n_right) for all pairs.

    Returns:
        The entries, of the shape of the lanes.
    """
    cut = segments(architecture, space)
    offsets = pair_offsets(cut)
    lanes = jnp.broadcast_shapes(left.x.shape[len(space) + 1 :], right.x.shape[len(space) + 1 :])
    state: State | None = None
    for index, segment in enumerate(cut):
        chain = _PairChain(segment, tangent, left, right, index, state, moves=len(offsets[index]) > 1)
        if segment.pooling is None:
            K, T = chain.plane(0, ())
            return (jnp.zeros_like(K) if T is None else T) if tangent else K
        state = _collect(Pooled(segment, offsets[index + 1]), chain, offsets[index], lanes, left.x.dtype)
    raise AssertionError("the last segment has no pooling")


class _PairChain:
    """The planes of one segment, from the examples or from what the previous segment pooled."""

    def __init__(
        self,
        segment: Segment,
        tangent: bool,
        left: Examples,
        right: Examples,
        index: int,
        source: State | None,
        moves: bool,
    ) -> None:
        self.segment, self.tangent, self.source, self.moves = segment, tangent, source, moves
        twice = (lambda array: doubled(array, segment.space)) if moves else (lambda array: array)
        layers = segment.pointwise()
        self.left = [factors(layer, v) for layer, v in zip(layers, left.variances[index], strict=True)]
        self.right = [
            tuple(twice(factor) for factor in factors(layer, v))
            for layer, v in zip(layers, right.variances[index], strict=True)
        ]
        self.inputs = (left.x, twice(right.x)) if source is None else None

    def _there(self, array: Array, offset: Any) -> Array:
        return moved(array, offset, self.segment.space) if self.moves else array

    def plane(self, number: Any, offset: Any) -> State:
        """(K, T) after the segment's layers for its offset ``offset``, which has this ``number``."""
        space = self.segment.space
        T: Array | None = None
        if self.inputs is not None:
            K = input_covariance(self.inputs[0], self._there(self.inputs[1], offset), space)
        else:
            assert self.source is not None
            K = self.source[0][number]
            T = None if self.source[1] is None else self.source[1][number]
        right = [tuple(self._there(factor, offset) for factor in layer) for layer in self.right]
        return apply_layers(self.segment, offset, (K, T), self.left, right, self.tangent)


def _collect(
    pooled: Pooled, chain: _PairChain, offsets: list[Offset], lanes: tuple[int, ...], dtype: Any
) -> State:
    """The pooled planes of all ``offsets``."""
    empty = pooled.empty(lanes, dtype)
    if len(offsets) == 1:
        K, T = chain.plane(0, offsets[0])
        return pooled.add(empty, offsets[0], K), None if T is None else pooled.add(empty, offsets[0], T)
    table = jnp.asarray(np.array(offsets, np.int32))
    has_tangent = jax.eval_shape(lambda: chain.plane(0, tuple(table[0])))[1] is not None

    def body(number: Array, totals: State) -> State:
        offset = tuple(table[number])
        K, T = chain.plane(number, offset)
        tangents = None if T is None or totals[1] is None else pooled.add(totals[1], offset, T)
        return pooled.add(totals[0], offset, K), tangents

    return lax.fori_loop(0, len(offsets), body, (empty, jnp.zeros_like(empty) if has_tangent else None))


def variances(architecture: arch.Architecture, space: Space, x: Array) -> list[list[Array]]:
    """Each example's variances before each pointwise layer, segment by segment.

    Args:
        x: (*space, channels, n).

    Returns:
        For each segment a list of (*segment's space, n).
    """
    cut = segments(architecture, space)
    offsets = own_offsets(cut)
    result: list[list[Array]] = [[] for _ in cut]
    source: Array | None = None
    for index, segment in enumerate(cut):
        if not offsets[index]:
            break
        # The first offset in ascending order is zero, where every covariance is a variance.
        if source is None:
            start = lifted(input_covariance(x, x, segment.space), (x != 0).any(axis=len(segment.space)))
        else:
            start = source[0]
        result[index], after = own_variances(segment, start)
        if index + 1 == len(cut) or not offsets[index + 1]:
            break
        pooled = Pooled(segment, offsets[index + 1])
        own = Examples(x, result)
        chain = _PairChain(
            segment, False, own, own, index, None if source is None else (source, None), moves=True
        )
        total = pooled.add(pooled.empty(x.shape[-1:], x.dtype), offsets[index][0], after)
        source = _add_others(pooled, chain, offsets[index], total) if len(offsets[index]) > 1 else total
    return result


def _add_others(pooled: Pooled, chain: _PairChain, offsets: list[Offset], total: Array) -> Array:
    table = jnp.asarray(np.array(offsets, np.int32))

    def body(number: Array, total: Array) -> Array:
        offset = tuple(table[number])
        return pooled.add(total, offset, chain.plane(number, offset)[0])

    return lax.fori_loop(1, len(offsets), body, total)
