"""Kernels of batches of graphs in jax.numpy, to be compiled; see ``graph_buckets`` for the batches.

Nodes that fill a graph up have no edges, so that nothing of them reaches another node, and the pooling
leaves them out.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from neural_kernels import architectures as arch
from neural_kernels.engines.jax_layers import Array, Factors, factors, lifted, transform, trusted, variance
from neural_kernels.engines.jax_offsets import is_pointwise


class GraphArrays(NamedTuple):
    """The arrays of a ``graph_buckets.Batch`` of m graphs, and their variances before each pointwise
    layer: (m, size), after the pooling (m,)."""

    nodes: Array
    adjacency: Array
    real: Array
    variances: list[Array]


def variances(architecture: arch.Architecture, nodes: Array, adjacency: Array, real: Array) -> list[Array]:
    """Each graph's variances before each pointwise layer, from the whole covariance among its nodes."""
    found: list[Array] = []
    K = _lifted(_products("apf,aqf->apq", nodes, nodes), (nodes != 0).any(axis=-1))
    gain = 1.0  # of the layers with weights since the last pointwise one
    for layer in architecture.layers:
        match layer:
            case arch.Aggregate():
                weights = _weights(layer, adjacency)
                K = _einsum("aup,apq->auq", weights, K)
                K = _einsum("avq,auq->auv", weights, K)
            case arch.Dense():
                gain *= layer.W_std**2
                K = _lifted(layer.W_std**2 * K + layer.b_std**2, _own(K) > 0)
            case arch.GlobalAvgPool() | arch.GlobalSumPool() if K.ndim == 3:
                shares = _shares(layer, real, K.dtype)
                K = _einsum("ap,apq,aq->a", shares, K, shares)
            case _ if is_pointwise(layer):
                found.append(trusted(layer, _own(K), gain))
                own, gain = factors(layer, found[-1]), 1.0
                if K.ndim == 3:
                    left = tuple(factor[:, :, None] for factor in own)
                    K, _ = transform(layer, (K, None), left, tuple(factor[:, None, :] for factor in own))
                else:
                    K = variance(layer, K, own)
    return found


def pair_kernel(
    architecture: arch.Architecture, tangent: bool, left: GraphArrays, right: GraphArrays
) -> Array:
    """Kernel entries (m_left, m_right) of all pairs of graphs."""
    K = _products("apf,bqf->apbq", left.nodes, right.nodes)
    T: Array | None = None
    number = 0
    for layer in architecture.layers:
        match layer:
            case arch.Aggregate():
                weights = _weights(layer, left.adjacency), _weights(layer, right.adjacency)
                K, T = _aggregated(K, *weights), None if T is None else _aggregated(T, *weights)
            case arch.Dense():
                K = layer.W_std**2 * K + layer.b_std**2
                if tangent:
                    T = K if T is None else layer.W_std**2 * T + K
            case arch.GlobalAvgPool() | arch.GlobalSumPool() if K.ndim == 4:
                shares = _shares(layer, left.real, K.dtype), _shares(layer, right.real, K.dtype)
                K, T = _pooled(K, *shares), None if T is None else _pooled(T, *shares)
            case _ if is_pointwise(layer):
                K, T = transform(layer, (K, T), *_factors(layer, left, right, number))
                number += 1
    if not tangent:
        return K
    return jnp.zeros_like(K) if T is None else T


def _aggregated(K: Array, left: Array, right: Array) -> Array:
    return _einsum("bvq,aubq->aubv", right, _einsum("aup,apbq->aubq", left, K))


def _pooled(K: Array, left: Array, right: Array) -> Array:
    return _einsum("ap,apbq,bq->ab", left, K, right)


def _factors(
    layer: arch.Layer, left: GraphArrays, right: GraphArrays, number: int
) -> tuple[Factors, Factors]:
    rows, columns = factors(layer, left.variances[number]), factors(layer, right.variances[number])
    if rows[0].ndim == 2:
        return tuple(f[:, :, None, None] for f in rows), tuple(f[None, None] for f in columns)
    return tuple(f[:, None] for f in rows), tuple(f[None] for f in columns)


def _weights(layer: arch.Aggregate, adjacency: Array) -> Array:
    """(m, targets, sources): what each node takes of each."""
    if layer.self_loops:
        adjacency = adjacency + jnp.eye(adjacency.shape[-1], dtype=adjacency.dtype)
    if layer.degree_scaling:
        adjacency = adjacency / jnp.maximum(adjacency.sum(axis=-1, keepdims=True), 1)
    return adjacency


def _shares(layer: arch.Layer, real: Array, dtype: jnp.dtype) -> Array:
    """(m, nodes): what the pooling takes of each node."""
    ones = real.astype(dtype)
    return ones / ones.sum(axis=1, keepdims=True) if isinstance(layer, arch.GlobalAvgPool) else ones


def _own(K: Array) -> Array:
    """The variances among a graph's own covariances: of its nodes, or of the graph after the pooling."""
    return jnp.diagonal(K, axis1=1, axis2=2) if K.ndim == 3 else K


def _lifted(K: Array, positive: Array) -> Array:
    """A graph's own covariances with ``lifted`` variances."""
    if K.ndim == 1:
        return lifted(K, positive)
    return lifted(K, positive[:, :, None] & jnp.eye(K.shape[-1], dtype=bool))


def _products(formula: str, left: Array, right: Array) -> Array:
    """Means over features of products, summed in float64: see ``jax_planes.input_covariance``."""
    products = _einsum(formula, left.astype(jnp.float64), right.astype(jnp.float64))
    return (products / left.shape[-1]).astype(left.dtype)


def _einsum(formula: str, *arrays: Array) -> Array:
    return jnp.einsum(formula, *arrays, precision="highest")
