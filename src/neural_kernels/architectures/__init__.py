"""Architectures as values: layers are frozen dataclasses, an architecture is a tuple of them.

Nothing computes here. The same value drives every engine (see ``engines``), names a kernel on disk
(``fingerprint``) and is built by name and keyword from a study's config (``build``).

Parameterisation, for every layer with weights, is Neural Tangents' "ntk" one: weights have standard
deviation ``W_std / sqrt(fan_in)`` and biases ``b_std``.
"""

from neural_kernels.architectures.composites import Composite, on
from neural_kernels.architectures.facts import (
    covariance_entries,
    is_flip_symmetric,
    output_shape,
)
from neural_kernels.architectures.families import (
    FAMILIES,
    build,
    cnn_vec,
    conv1d,
    fully_connected,
    myrtle,
    simple_gnn,
)
from neural_kernels.architectures.layers import (
    ACTIVATIONS,
    IMPORTED,
    SQRT2,
    Abs,
    Activation,
    Affine,
    Aggregate,
    Architecture,
    AvgPool,
    Conv,
    Dense,
    Erf,
    ExpNormalized,
    Flatten,
    Gelu,
    GlobalAvgPool,
    GlobalSumPool,
    Identity,
    Layer,
    LayerNorm,
    LeakyRelu,
    Pooling,
    Relu,
    SigmoidLike,
    WeightedSum,
)

__all__ = [
    "ACTIVATIONS",
    "FAMILIES",
    "IMPORTED",
    "SQRT2",
    "Abs",
    "Activation",
    "Affine",
    "Aggregate",
    "Architecture",
    "AvgPool",
    "Composite",
    "Conv",
    "Dense",
    "Erf",
    "ExpNormalized",
    "Flatten",
    "Gelu",
    "GlobalAvgPool",
    "GlobalSumPool",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyRelu",
    "Pooling",
    "Relu",
    "SigmoidLike",
    "WeightedSum",
    "build",
    "cnn_vec",
    "conv1d",
    "covariance_entries",
    "fully_connected",
    "is_flip_symmetric",
    "myrtle",
    "on",
    "output_shape",
    "simple_gnn",
]
