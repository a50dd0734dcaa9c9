"""Architectures by name: the paper's families, built from a config's keywords.

``gamma`` and ``shift`` are those of exp_normalized, ``alpha`` that of leaky_relu; other activations have none.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from neural_kernels.architectures.layers import (
    ACTIVATIONS,
    SQRT2,
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
    Pooling,
    WeightedSum,
)
from neural_kernels.architectures.parameters import checked
from neural_kernels.errors import UserError
from neural_kernels.storage.strict_yaml import shown

T = TypeVar("T")


def fully_connected(
    depth: int = 3,
    W_std: float = SQRT2,
    b_std: float = 0.1,
    last_W_std: float | None = None,
    activation: str = "relu",
    gamma: float = 1.0,
    alpha: float = 0.1,
    shift: float = -1.0,
) -> tuple[Layer, ...]:
    """FC (paper, Appendix A): ``depth`` hidden layers; FC3 is ``depth=3``."""
    pointwise = _activation(activation, gamma=gamma, alpha=alpha, shift=shift)
    hidden: list[Layer] = []
    for _ in range(depth):
        hidden += [Dense(W_std, b_std), pointwise]
    return (Flatten(), *hidden, Dense(W_std if last_W_std is None else last_W_std, b_std))


def linear(W_std: float = SQRT2, b_std: float = 0.1) -> tuple[Layer, ...]:
    """One layer without an activation: its kernel is that of linear regression, or of a mean that is linear."""
    return (Flatten(), Dense(W_std, b_std))


def cnn_vec(
    depth: int = 8,
    filter_size: int = 3,
    W_std: float = SQRT2,
    b_std: float = 0.1,
    last_W_std: float | None = None,
    activation: str = "relu",
    gamma: float = 1.0,
    alpha: float = 0.1,
    shift: float = -1.0,
    layer_norm: bool = False,
) -> tuple[Layer, ...]:
    """CNN-Vec (paper, Appendix A): ``depth`` convolutions, then vectorisation; CV8 is ``depth=8``."""
    pointwise = _activation(activation, gamma=gamma, alpha=alpha, shift=shift)
    layers: list[Layer] = []
    for _ in range(depth):
        layers += _convolution(filter_size, W_std, b_std, pointwise, layer_norm)
    return (*layers, Flatten(), Dense(W_std if last_W_std is None else last_W_std, b_std))


def myrtle(
    depth: int = 10,
    W_std: float = SQRT2,
    b_std: float = 0.1,
    last_W_std: float | None = None,
    activation: str = "relu",
    gamma: float = 1.0,
    alpha: float = 0.1,
    shift: float = -1.0,
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
    pointwise = _activation(activation, gamma=gamma, alpha=alpha, shift=shift)
    layers: list[Layer] = []
    for stage, convs in enumerate(convs_per_pool):
        if stage > 0:
            layers.append(AvgPool(2))
        for conv in range(convs):
            size = first_filter_size if stage == conv == 0 else filter_size
            layers += _convolution(size, W_std, b_std, pointwise, layer_norm)
    layers += [GlobalAvgPool() if global_average_pooling else Flatten()]
    for _ in range(dense_layers):
        layers += [Dense(W_std, b_std), pointwise]
    return (*layers, Dense(W_std if last_W_std is None else last_W_std, b_std))


def conv1d(
    depth: int = 2,
    filter_size: int = 3,
    W_std: float = SQRT2,
    b_std: float = 0.1,
    last_W_std: float | None = None,
    activation: str = "relu",
    gamma: float = 1.0,
    alpha: float = 0.1,
    shift: float = -1.0,
    pooling: str = "flatten",
) -> tuple[Layer, ...]:
    """1-D convolutions over sequences (paper, Appendix A and C.1); ``pooling`` flatten, average or sum."""
    ends: dict[str, Pooling] = {"flatten": Flatten(), "average": GlobalAvgPool(), "sum": GlobalSumPool()}
    pointwise = _activation(activation, gamma=gamma, alpha=alpha, shift=shift)
    layers: list[Layer] = []
    for _ in range(depth):
        layers += _convolution(filter_size, W_std, b_std, pointwise, layer_norm=False)
    last = Dense(W_std if last_W_std is None else last_W_std, b_std)
    return (*layers, _choice("pooling", pooling, ends), last)


def simple_gnn(
    depth: int = 2,
    W_std: float = SQRT2,
    b_std: float = 0.1,
    last_W_std: float | None = None,
    activation: str = "relu",
    gamma: float = 1.0,
    alpha: float = 0.1,
    shift: float = -1.0,
    self_loops: bool = True,
    degree_scaling: bool = False,
    pooling: str = "sum",
) -> tuple[Layer, ...]:
    """Simple graph network (paper, Appendix A and C.2): aggregate, dense, activation, ``depth`` times."""
    ends: dict[str, Pooling] = {"average": GlobalAvgPool(), "sum": GlobalSumPool()}
    pointwise = _activation(activation, gamma=gamma, alpha=alpha, shift=shift)
    layers: list[Layer] = []
    for _ in range(depth):
        layers += [Aggregate(self_loops, degree_scaling), Dense(W_std, b_std)]
        layers += [pointwise]
    last = Dense(W_std if last_W_std is None else last_W_std, b_std)
    return (*layers, _choice("pooling", pooling, ends), last)


def summed(terms: list[dict[str, Any]] | None = None) -> tuple[Layer, ...]:
    """Several kernels of the same examples, added: ``terms`` are architectures by name, each with its weight."""
    if terms is None:
        raise UserError(
            "architecture Sum lacks its parameter terms, expected architectures, each with its weight"
        )
    found = []
    for place, term in enumerate(terms):
        where = f"architecture Sum: terms.{place}"
        if not isinstance(term, dict) or "name" not in term or "weight" not in term:
            raise UserError(
                f"{where} is {shown(term)}, expected weight, name and the parameters of an architecture"
            )
        given = dict(term)
        name, weight = given.pop("name"), given.pop("weight")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise UserError(f"{where}.weight is {shown(weight)}, expected a positive number")
        if not isinstance(name, str) or name == SUM:
            raise UserError(f"{where}.name is {shown(name)}, expected an architecture that is no sum")
        found.append((float(weight), build(name, **given).layers))
    return (WeightedSum(tuple(found)),)


def _convolution(
    filter_size: int, W_std: float, b_std: float, pointwise: Activation, layer_norm: bool
) -> list[Layer]:
    norm: list[Layer] = [LayerNorm()] if layer_norm else []
    return [Conv(filter_size, W_std, b_std), *norm, pointwise]


def _activation(name: str, **parameters: float) -> Activation:
    """The activation called ``name``, with those of ``parameters`` that it has."""
    make = _choice("activation", name, ACTIVATIONS)
    return make(**{field.name: parameters[field.name] for field in fields(make) if field.name in parameters})


def _choice(key: str, name: str, choices: dict[str, T]) -> T:
    if name not in choices:
        raise UserError(f"{key} is {shown(name)}, expected one of {', '.join(sorted(choices))}")
    return choices[name]


SUM = "Sum"

FAMILIES: dict[str, tuple[Callable[..., tuple[Layer, ...]], dict[str, Any]]] = {
    "FC": (fully_connected, {}),
    "FC3": (fully_connected, {"depth": 3}),
    "Linear": (linear, {}),
    "CNNVec": (cnn_vec, {}),
    "CV8": (cnn_vec, {"depth": 8}),
    "Myrtle": (myrtle, {}),
    "Myrtle5": (myrtle, {"depth": 5}),
    "Myrtle7": (myrtle, {"depth": 7}),
    "Myrtle10": (myrtle, {"depth": 10}),
    "Conv1D": (conv1d, {}),
    "SimpleGNN": (simple_gnn, {}),
    SUM: (summed, {}),
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
