"""The layers of a network as frozen dataclasses, and an architecture as a tuple of them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

SQRT2 = math.sqrt(2.0)


@dataclass(frozen=True)
class Dense:
    """Fully connected layer: K <- W_std^2 K + b_std^2, T <- W_std^2 T + K."""

    W_std: float = SQRT2
    b_std: float = 0.1


@dataclass(frozen=True)
class Conv:
    """Convolution with an odd ``filter_size`` in every spatial dimension, stride 1, SAME zero padding."""

    filter_size: int = 3
    W_std: float = SQRT2
    b_std: float = 0.1


@dataclass(frozen=True)
class Relu:
    """max(x, 0)."""


@dataclass(frozen=True)
class LeakyRelu:
    """max(x, 0) + alpha min(x, 0)."""

    alpha: float = 0.1


@dataclass(frozen=True)
class Abs:
    """|x|."""


@dataclass(frozen=True)
class Erf:
    """erf(x)."""


@dataclass(frozen=True)
class Gelu:
    """x Phi(x), with the exact Gaussian distribution function Phi."""


@dataclass(frozen=True)
class SigmoidLike:
    """0.5 erf(x / 2.4020563531719796) + 0.5, the stand-in for the sigmoid of Neural Tangents."""


@dataclass(frozen=True)
class Identity:
    """x."""


@dataclass(frozen=True)
class ExpNormalized:
    """Normalised exponential kernel, K <- p exp(gamma (c + shift)); it has no finite network.

    p is the root of the product of the two variances and c the correlation (Shankar et al. 2020); c is zero where
    p is. No floor is put under p (Neural Tangents has one of 1e-15).
    """

    gamma: float = 1.0
    shift: float = -1.0


@dataclass(frozen=True)
class LayerNorm:
    """Normalises over channels, directly after an affine layer: K <- K / sqrt((v1 + eps)(v2 + eps))."""

    epsilon: float = 1e-12


@dataclass(frozen=True)
class AvgPool:
    """Mean over non-overlapping windows of edge ``window`` in every spatial dimension."""

    window: int = 2


@dataclass(frozen=True)
class GlobalAvgPool:
    """Mean over all positions."""


@dataclass(frozen=True)
class GlobalSumPool:
    """Sum over all positions."""


@dataclass(frozen=True)
class Flatten:
    """All positions become features: the covariance is the mean over equal positions."""


@dataclass(frozen=True)
class Aggregate:
    """Sum of the features of each node's neighbours in a graph (Du et al. 2019), no parameters.

    The neighbours are the sources of the edges that end in the node, each as often as it has edges there
    (see ``graphs``). ``self_loops`` adds the node itself; ``degree_scaling`` divides the sum by the number
    of summands. A node without any becomes zero.
    """

    self_loops: bool = True
    degree_scaling: bool = False


Affine = Dense | Conv


Activation = Relu | LeakyRelu | Abs | Erf | Gelu | SigmoidLike | Identity | ExpNormalized


Pooling = AvgPool | GlobalAvgPool | GlobalSumPool | Flatten


Layer = Affine | Activation | Pooling | LayerNorm | Aggregate


ACTIVATIONS: dict[str, Callable[..., Activation]] = {
    "relu": Relu,
    "leaky_relu": LeakyRelu,
    "abs": Abs,
    "erf": Erf,
    "gelu": Gelu,
    "sigmoid_like": SigmoidLike,
    "identity": Identity,
    "exp_normalized": ExpNormalized,
}


@dataclass(frozen=True)
class Architecture:
    """A network as a sequence of layers; ``name`` is for people and is no part of its identity."""

    name: str
    layers: tuple[Layer, ...]

    def describe(self) -> list[dict]:
        """The layers as plain data: one ``{"layer": class name, **parameters}`` each."""
        return [{"layer": type(layer).__name__, **asdict(layer)} for layer in self.layers]

    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of the layers: equal exactly where the kernels are the same function."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()
