"""The layers of a network as frozen dataclasses, and an architecture as a tuple of them."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from neural_kernels.architectures.composites import Composite

SQRT2 = math.sqrt(2.0)

SIGMOID_LIKE_SCALE = 2.4020563531719796


@dataclass(frozen=True)
class Layer:
    """What a network is a sequence of. What follows from a layer is in ``facts``, its kernel in the engines."""


@dataclass(frozen=True)
class Activation(Layer):
    """A function of each feature at each position, the same everywhere."""


@dataclass(frozen=True)
class Pooling(Layer):
    """One position of several."""


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected layer: K <- W_std^2 K + b_std^2, T <- W_std^2 T + K."""

    W_std: float = SQRT2
    b_std: float = 0.1


@dataclass(frozen=True)
class Conv(Layer):
    """Convolution with an odd ``filter_size`` in every spatial dimension, stride 1, SAME zero padding."""

    filter_size: int = 3
    W_std: float = SQRT2
    b_std: float = 0.1


@dataclass(frozen=True)
class Relu(Activation):
    """max(x, 0)."""


@dataclass(frozen=True)
class LeakyRelu(Activation):
    """max(x, 0) + alpha min(x, 0)."""

    alpha: float = 0.1


@dataclass(frozen=True)
class Abs(Activation):
    """|x|."""


@dataclass(frozen=True)
class Erf(Activation):
    """erf(x)."""


@dataclass(frozen=True)
class Gelu(Activation):
    """x Phi(x), with the exact Gaussian distribution function Phi."""


@dataclass(frozen=True)
class SigmoidLike(Activation):
    """0.5 erf(x / SIGMOID_LIKE_SCALE) + 0.5, the stand-in for the sigmoid of Neural Tangents."""


@dataclass(frozen=True)
class Identity(Activation):
    """x."""


@dataclass(frozen=True)
class ExpNormalized(Activation):
    """Normalised exponential kernel, K <- p exp(gamma (c + shift)); it has no finite network.

    p is the root of the product of the two variances and c the correlation (Shankar et al. 2020); c is zero where
    p is. No floor is put under p (Neural Tangents has one of 1e-15).
    """

    gamma: float = 1.0
    shift: float = -1.0


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Normalises over channels, directly after an affine layer: K <- K / sqrt((v1 + eps)(v2 + eps))."""

    epsilon: float = 1e-12


@dataclass(frozen=True)
class AvgPool(Pooling):
    """Mean over non-overlapping windows of edge ``window`` in every spatial dimension."""

    window: int = 2


@dataclass(frozen=True)
class GlobalAvgPool(Pooling):
    """Mean over all positions."""


@dataclass(frozen=True)
class GlobalSumPool(Pooling):
    """Sum over all positions."""


@dataclass(frozen=True)
class Flatten(Pooling):
    """All positions become features: the covariance is the mean over equal positions."""


@dataclass(frozen=True)
class Aggregate(Layer):
    """Sum of the features of each node's neighbours in a graph (Du et al. 2019), no parameters.

    The neighbours are the sources of the edges that end in the node, each as often as it has edges there
    (see ``graphs``). ``self_loops`` adds the node itself; ``degree_scaling`` divides the sum by the number
    of summands. A node without any becomes zero.
    """

    self_loops: bool = True
    degree_scaling: bool = False


@dataclass(frozen=True)
class WeightedSum(Layer):
    """Independent networks side by side, each from its inputs to one output, which are added, each times the root of
    its weight: kernels add up, each times its weight. The only layer of an architecture that has one.

    Attributes:
        terms: a weight and the layers of a network each.
    """

    terms: tuple[tuple[float, tuple[Layer, ...]], ...] = ()


Affine = Dense | Conv


# By the name that a config gives; further ones may be added.
ACTIVATIONS: dict[str, type[Activation]] = {
    "relu": Relu,
    "leaky_relu": LeakyRelu,
    "abs": Abs,
    "erf": Erf,
    "gelu": Gelu,
    "sigmoid_like": SigmoidLike,
    "identity": Identity,
    "exp_normalized": ExpNormalized,
}


def _described(layer: Layer) -> dict[str, Any]:
    if isinstance(layer, WeightedSum):
        terms: Any = [[weight, [_described(inner) for inner in layers]] for weight, layers in layer.terms]
        return {"layer": type(layer).__name__, "terms": terms}
    return {"layer": type(layer).__name__, **asdict(layer)}


@dataclass(frozen=True)
class Architecture:
    """A network as a sequence of layers; ``name`` is for people and is no part of its identity."""

    name: str
    layers: tuple[Layer, ...]

    def describe(self) -> list[dict[str, Any]]:
        """The layers as plain data: one ``{"layer": class name, **parameters}`` each."""
        return [_described(layer) for layer in self.layers]

    @property
    def is_sum(self) -> bool:
        """Whether it is several networks side by side."""
        return len(self.layers) == 1 and isinstance(self.layers[0], WeightedSum)

    @property
    def terms(self) -> tuple[tuple[float, Architecture], ...]:
        """Weights and networks that are added up; this one alone where it is no sum."""
        if not self.is_sum:
            return ((1.0, self),)
        pairs = cast(WeightedSum, self.layers[0]).terms
        return tuple((weight, Architecture(self.name, layers)) for weight, layers in pairs)

    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of the layers: equal exactly where the kernels are the same function."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()

    def on(self, columns: Any = None, **how: Any) -> Composite:
        """This architecture's kernel as a term of a sum; see ``composites.on``."""
        from neural_kernels.architectures import composites

        return composites.on(self, columns, **how)

    def __mul__(self, weight: float) -> Composite:
        return self.on() * weight

    __rmul__ = __mul__

    def __add__(self, other: Any) -> Composite:
        return self.on() + other


IMPORTED = Architecture("imported", (Layer(),))
"""Of a kernel that another program computed: a layer of which nothing is known, so that no engine takes it."""
