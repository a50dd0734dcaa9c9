"""What an engine covers, and where an activation's closed form holds; shared by all engines, computes nothing."""

from __future__ import annotations

from collections.abc import Collection

from neural_kernels.architectures import (
    Activation,
    Architecture,
    Conv,
    Dense,
    Flatten,
    Identity,
    Layer,
    LayerNorm,
)


def uncovered(architecture: Architecture, covered: Collection[type[Layer]]) -> str | None:
    """The first layer that is not of a type in ``covered``, or is ``misplaced``, or None."""
    for number, layer in enumerate(architecture.layers, 1):
        if type(layer) not in covered:
            return f"layer {number}, {type(layer).__name__}, is not among those that this engine covers"
    return misplaced(architecture)


def misplaced(architecture: Architecture) -> str | None:
    """The first activation or LayerNorm whose input is not Gaussian, as a sentence, or None.

    The closed forms hold for the outputs of a random affine layer. Pooling keeps those Gaussian,
    an activation does not, and Flatten makes one variable of many with different variances.
    """
    gaussian = False
    for number, layer in enumerate(architecture.layers, 1):
        if isinstance(layer, Dense | Conv):
            gaussian = True
        elif isinstance(layer, Identity):
            continue
        elif isinstance(layer, Activation | LayerNorm) and not gaussian:
            name = type(layer).__name__
            return f"layer {number}, {name}, does not follow a Dense or Conv layer, so it has no closed form"
        elif isinstance(layer, Flatten | Activation):
            gaussian = False
    return None
