"""What follows from an architecture and the shape of its inputs: shapes, costs."""

from __future__ import annotations

import math

from neural_kernels.architectures.layers import (
    Aggregate,
    Architecture,
    AvgPool,
    Conv,
    Flatten,
    GlobalAvgPool,
    GlobalSumPool,
    Pooling,
)
from neural_kernels.errors import UserError
from neural_kernels.graphs import TYPICAL_NODES


def output_shape(architecture: Architecture, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Spatial shape left after the last layer, () for a single position.

    Args:
        input_shape: of one example, channels last: (features,), (length, channels),
            (height, width, channels), or (None, features) of graphs.

    Raises:
        UserError: a pooling window that does not divide its input, a layer for images on graphs or the
            other way round, or a network that does not end in a single position.
    """
    space = tuple(input_shape[:-1])
    for layer in architecture.layers:
        on_nodes = space == (None,)
        if on_nodes and isinstance(layer, Conv | AvgPool | Flatten):
            raise UserError(
                f"architecture {architecture.name}: {type(layer).__name__} has no meaning on the nodes of a "
                "graph, expected Aggregate, Dense, activations, LayerNorm, GlobalAvgPool or GlobalSumPool"
            )
        if isinstance(layer, Aggregate) and not on_nodes:
            raise UserError(
                f"architecture {architecture.name}: Aggregate needs the nodes of graphs, but examples of shape "
                f"{tuple(input_shape)} have none there"
            )
        if isinstance(layer, AvgPool):
            if any(size % layer.window for size in space):
                size = "x".join(map(str, space))
                raise UserError(
                    f"architecture {architecture.name}: AvgPool of window {layer.window} does not divide "
                    f"its input of {size} positions (examples of shape {tuple(input_shape)})"
                )
            space = tuple(size // layer.window for size in space)
        elif isinstance(layer, GlobalAvgPool | GlobalSumPool | Flatten):
            space = ()
        elif isinstance(layer, Conv) and not space:
            raise UserError(
                f"architecture {architecture.name}: Conv needs positions, but examples of shape "
                f"{tuple(input_shape)} have none left there"
            )
    if space:
        raise UserError(
            f"architecture {architecture.name} does not end in a single position: no Flatten or pooling"
        )
    return space


def covariance_entries(architecture: Architecture, input_shape: tuple[int, ...]) -> int:
    """Entries of the covariance between two examples that one layer has at its largest.

    With pooling these are all pairs of positions; without, only equal positions are ever needed; for a
    fully connected network it is one entry. Graphs are taken to be of ``TYPICAL_NODES`` where
    ``input_shape`` does not say.
    """
    positions = math.prod(TYPICAL_NODES if size is None else size for size in input_shape[:-1])
    first = next((layer for layer in architecture.layers if isinstance(layer, Pooling | Conv)), None)
    if isinstance(first, Flatten):
        return 1
    pools = any(isinstance(layer, AvgPool | GlobalAvgPool | GlobalSumPool) for layer in architecture.layers)
    return positions**2 if pools else positions
