"""What follows from a layer beside its kernel, in one place: where it may stand, shapes, costs, symmetries, reach.

``facts`` has an entry for each layer. Of a layer without one nothing is assumed: ``output_shape``, which every engine
asks first, refuses it, and it has neither symmetry nor window.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

from neural_kernels.architectures.layers import (
    Activation,
    Aggregate,
    Architecture,
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    GlobalSumPool,
    Layer,
    LayerNorm,
)
from neural_kernels.errors import UserError
from neural_kernels.graphs import TYPICAL_NODES

Input = Literal["point", "positions", "nodes"]
"""What a layer works on: a single position, the positions of sequences or images, the nodes of graphs."""

ANYWHERE: frozenset[Input] = frozenset({"point", "positions", "nodes"})
ARRAYS: frozenset[Input] = frozenset({"point", "positions"})


@dataclass(frozen=True)
class Facts:
    """What is known of a layer; the defaults are those of one of which nothing is known.

    Attributes:
        inputs: what the layer has a meaning on.
        window: edge of the windows, in every dimension, that each become one position: 1 where positions stay
            apart, None where all become one.
        pairs: whether covariances of all pairs of positions are needed, not of equal ones alone.
        flip_symmetric: whether k(flip x, flip x') = k(x, x') is kept: weights are drawn alike for mirrored positions.
        reach: positions on each side that one position after the layer depends on; None where that is not known, or
            is every position.
    """

    inputs: frozenset[Input] = frozenset()
    window: int | None = 1
    pairs: bool = True
    flip_symmetric: bool = False
    reach: int | None = None


@functools.singledispatch
def facts(layer: Layer) -> Facts:
    """What is known of ``layer``."""
    return Facts()


@facts.register(Dense)
@facts.register(Activation)
@facts.register(LayerNorm)
def _(layer: Layer) -> Facts:
    return Facts(ANYWHERE, pairs=False, flip_symmetric=True, reach=0)


@facts.register
def _(layer: Conv) -> Facts:
    return Facts(frozenset({"positions"}), pairs=False, flip_symmetric=True, reach=layer.filter_size // 2)


@facts.register
def _(layer: AvgPool) -> Facts:
    return Facts(ARRAYS, window=layer.window, flip_symmetric=True)


@facts.register(GlobalAvgPool)
@facts.register(GlobalSumPool)
def _(layer: Layer) -> Facts:
    return Facts(ANYWHERE, window=None, flip_symmetric=True)


@facts.register
def _(layer: Flatten) -> Facts:
    return Facts(ARRAYS, window=None, pairs=False, flip_symmetric=True)


@facts.register
def _(layer: Aggregate) -> Facts:
    return Facts(frozenset({"nodes"}))


def output_shape(architecture: Architecture, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Spatial shape left after the last layer, () for a single position.

    Args:
        input_shape: of one example, channels last: (features,), (length, channels),
            (height, width, channels), or (None, features) of graphs.

    Raises:
        UserError: a layer that ``facts`` does not list, a pooling window that does not divide its input, a layer for
            images on graphs or the other way round, or a network that does not end in a single position.
    """
    if architecture.is_sum:
        return [output_shape(term, input_shape) for _, term in architecture.terms][-1]
    space = tuple(input_shape[:-1])
    for layer in architecture.layers:
        _check_place(architecture, layer, space, input_shape)
        window = facts(layer).window
        if window is None:
            space = ()
        elif window > 1:
            space = tuple(size // window for size in space)
    if space:
        raise UserError(
            f"architecture {architecture.name} does not end in a single position: no Flatten or pooling"
        )
    return space


def _check_place(
    architecture: Architecture, layer: Layer, space: tuple[int, ...], input_shape: tuple[int, ...]
) -> None:
    """Refuse ``layer`` where it has no meaning on positions ``space``."""
    known, name, where = facts(layer), type(layer).__name__, f"architecture {architecture.name}"
    if not known.inputs:
        raise UserError(
            f"{where}: nothing is known of layer {name}, expected one that architectures.facts lists"
        )
    if None in space:
        if "nodes" not in known.inputs:
            raise UserError(
                f"{where}: {name} has no meaning on the nodes of a "
                "graph, expected Aggregate, Dense, activations, LayerNorm, GlobalAvgPool or GlobalSumPool"
            )
        return
    if not known.inputs & ARRAYS:
        raise UserError(
            f"{where}: {name} needs the nodes of graphs, but examples of shape "
            f"{tuple(input_shape)} have none there"
        )
    if not space and "point" not in known.inputs:
        raise UserError(
            f"{where}: {name} needs positions, but examples of shape {tuple(input_shape)} have none left there"
        )
    if known.window is not None and any(size % known.window for size in space):
        size = "x".join(map(str, space))
        raise UserError(
            f"{where}: {name} of window {known.window} does not divide "
            f"its input of {size} positions (examples of shape {tuple(input_shape)})"
        )


def covariance_entries(architecture: Architecture, input_shape: tuple[int, ...]) -> int:
    """Entries of the covariance between two examples that one layer has at its largest.

    With pooling these are all pairs of positions; without, only equal positions are ever needed; for a
    fully connected network it is one entry. Graphs are taken to be of ``TYPICAL_NODES`` where
    ``input_shape`` does not say.
    """
    if architecture.is_sum:
        return max(covariance_entries(term, input_shape) for _, term in architecture.terms)
    positions = math.prod(TYPICAL_NODES if size is None else size for size in input_shape[:-1])
    known = [facts(layer) for layer in architecture.layers]
    first = next((one for one in known if one.window != 1 or one.pairs or "point" not in one.inputs), None)
    if first is not None and first.window is None and not first.pairs:
        return 1
    return positions**2 if any(one.pairs for one in known) else positions


def is_flip_symmetric(architecture: Architecture) -> bool:
    """Whether k(flip x, flip x') = k(x, x'), known of every layer."""
    if architecture.is_sum:
        return all(is_flip_symmetric(term) for _, term in architecture.terms)
    return all(facts(layer).flip_symmetric for layer in architecture.layers)
