"""Where an activation's closed form holds; shared by all engines, computes nothing."""

from __future__ import annotations

from neural_kernels.architectures import (
    Activation,
    Architecture,
    Conv,
    Dense,
    Flatten,
    Identity,
    LayerNorm,
)


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
