"""Architectures as values: layers are frozen dataclasses, an architecture is a tuple of them.

Nothing computes here. The same value drives every engine (see ``engines``), names a kernel on disk
(``fingerprint``) and is built by name and keyword from a study's config (``build``).

Parameterisation, for every layer with weights, is Neural Tangents' "ntk" one: weights have standard
deviation ``W_std / sqrt(fan_in)`` and biases ``b_std``.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TypeVar

from neural_kernels.architecture_parameters import checked
from neural_kernels.errors import UserError
from neural_kernels.graphs import TYPICAL_NODES
from neural_kernels.strict_yaml import shown

SQRT2 = math.sqrt(2.0)
T = TypeVar("T")


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


# ------------------------------------------------------------------------------ named architectures


def fully_connected(
    depth: int = 3,
    W_std: float = SQRT2,
    b_std: float = 0.1,
    last_W_std: float | None = None,
    activation: str = "relu",
    gamma: float = 1.0,
) -> tuple[Layer, ...]:
    """FC (paper, Appendix A): ``depth`` hidden layers; FC3 is ``depth=3``."""
    hidden: list[Layer] = []
    for _ in range(depth):
        hidden += [Dense(W_std, b_std), _activation(activation, gamma)]
    return (Flatten(), *hidden, Dense(W_std if last_W_std is None else last_W_std, b_std))


def cnn_vec(
    depth: int = 8,
    filter_size: int = 3,
    W_std: float = SQRT2,
    b_std: float = 0.1,
    last_W_std: float | None = None,
    activation: str = "relu",
    gamma: float = 1.0,
    layer_norm: bool = False,
) -> tuple[Layer, ...]:
    """CNN-Vec (paper, Appendix A): ``depth`` convolutions, then vectorisation; CV8 is ``depth=8``."""
    layers: list[Layer] = []
    for _ in range(depth):
        layers += _convolution(filter_size, W_std, b_std, activation, gamma, layer_norm)
    return (*layers, Flatten(), Dense(W_std if last_W_std is None else last_W_std, b_std))


def myrtle(
    depth: int = 10,
    W_std: float = SQRT2,
    b_std: float = 0.1,
    last_W_std: float | None = None,
    activation: str = "relu",
    gamma: float = 1.0,
    layer_norm: bool = False,
    global_average_pooling: bool = True,
    first_filter_size: int = 3,
    filter_size: int = 3,
    convs_per_pool: list[int] | None = None,
    dense_layers: int = 0,
) -> tuple[Layer, ...]:
    """Myrtle (Shankar et al. 2020) with the choices of the paper's Appendix C.3.

    ``depth`` 5, 7 or 10 sets the convolutions before each pooling to [2, 1, 1], [2, 2, 2] or
    [3, 3, 3]; ``convs_per_pool`` replaces them. Averaging 2x2 windows three times, from 8x8 to 1x1,
    is the same function as global average pooling, which also serves every other image size.
    Without ``global_average_pooling`` the last positions are flattened.
    """
    stages = {5: [2, 1, 1], 7: [2, 2, 2], 10: [3, 3, 3]}
    if convs_per_pool is None:
        if depth not in stages:
            raise UserError(f"Myrtle's depth is {depth}, expected 5, 7 or 10 (or give convs_per_pool)")
        convs_per_pool = stages[depth]
    layers: list[Layer] = []
    for stage, convs in enumerate(convs_per_pool):
        if stage > 0:
            layers.append(AvgPool(2))
        for conv in range(convs):
            size = first_filter_size if stage == conv == 0 else filter_size
            layers += _convolution(size, W_std, b_std, activation, gamma, layer_norm)
    layers += [GlobalAvgPool() if global_average_pooling else Flatten()]
    for _ in range(dense_layers):
        layers += [Dense(W_std, b_std), _activation(activation, gamma)]
    return (*layers, Dense(W_std if last_W_std is None else last_W_std, b_std))


def conv1d(
    depth: int = 2,
    filter_size: int = 3,
    W_std: float = SQRT2,
    b_std: float = 0.1,
    last_W_std: float | None = None,
    activation: str = "relu",
    gamma: float = 1.0,
    pooling: str = "flatten",
) -> tuple[Layer, ...]:
    """1-D convolutions over sequences (paper, Appendix A and C.1); ``pooling`` flatten, average or sum."""
    ends: dict[str, Pooling] = {"flatten": Flatten(), "average": GlobalAvgPool(), "sum": GlobalSumPool()}
    layers: list[Layer] = []
    for _ in range(depth):
        layers += _convolution(filter_size, W_std, b_std, activation, gamma, layer_norm=False)
    last = Dense(W_std if last_W_std is None else last_W_std, b_std)
    return (*layers, _choice("pooling", pooling, ends), last)


def simple_gnn(
    depth: int = 2,
    W_std: float = SQRT2,
    b_std: float = 0.1,
    last_W_std: float | None = None,
    activation: str = "relu",
    gamma: float = 1.0,
    self_loops: bool = True,
    degree_scaling: bool = False,
    pooling: str = "sum",
) -> tuple[Layer, ...]:
    """Simple graph network (paper, Appendix A and C.2): aggregate, dense, activation, ``depth`` times."""
    ends: dict[str, Pooling] = {"average": GlobalAvgPool(), "sum": GlobalSumPool()}
    layers: list[Layer] = []
    for _ in range(depth):
        layers += [Aggregate(self_loops, degree_scaling), Dense(W_std, b_std)]
        layers += [_activation(activation, gamma)]
    last = Dense(W_std if last_W_std is None else last_W_std, b_std)
    return (*layers, _choice("pooling", pooling, ends), last)


def _convolution(
    filter_size: int, W_std: float, b_std: float, activation: str, gamma: float, layer_norm: bool
) -> list[Layer]:
    norm: list[Layer] = [LayerNorm()] if layer_norm else []
    return [Conv(filter_size, W_std, b_std), *norm, _activation(activation, gamma)]


def _activation(name: str, gamma: float) -> Activation:
    make = _choice("activation", name, ACTIVATIONS)
    return make(gamma=gamma) if make is ExpNormalized else make()


def _choice(key: str, name: str, choices: dict[str, T]) -> T:
    if name not in choices:
        raise UserError(f"{key} is {shown(name)}, expected one of {', '.join(sorted(choices))}")
    return choices[name]


FAMILIES: dict[str, tuple[Callable[..., tuple[Layer, ...]], dict]] = {
    "FC": (fully_connected, {}),
    "FC3": (fully_connected, {"depth": 3}),
    "CNNVec": (cnn_vec, {}),
    "CV8": (cnn_vec, {"depth": 8}),
    "Myrtle": (myrtle, {}),
    "Myrtle5": (myrtle, {"depth": 5}),
    "Myrtle7": (myrtle, {"depth": 7}),
    "Myrtle10": (myrtle, {"depth": 10}),
    "Conv1D": (conv1d, {}),
    "SimpleGNN": (simple_gnn, {}),
}


def build(name: str, **parameters: object) -> Architecture:
    """The architecture of a family by ``name`` (see ``FAMILIES``) and its keyword ``parameters``.

    Raises:
        UserError: unknown name or parameter, or a value that the family refuses.
    """
    family, fixed = _choice("architecture", name, FAMILIES)
    signature = inspect.signature(family)
    allowed = [p for p in signature.parameters if p not in fixed]
    for key in parameters:
        if key not in allowed:
            raise UserError(
                f"architecture {name} has no parameter {shown(key)}, expected {', '.join(allowed)}"
            )
    values = {
        key: checked(f"architecture {name}", key, str(signature.parameters[key].annotation), value)
        for key, value in parameters.items()
    }
    return Architecture(name, family(**fixed, **values))


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
