"""Networks with examples for them, as the fixtures of the tests of engines hand them out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from neural_kernels import architectures as arch

Kernel = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Network:
    """An architecture and two sets of examples for it, each (3, *shape) float64."""

    architecture: arch.Architecture
    x1: np.ndarray
    x2: np.ndarray


def examples(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Twice (3, *shape) standard normal numbers."""
    random = np.random.default_rng(seed)
    return random.standard_normal((3, *shape)), random.standard_normal((3, *shape))


WINDOWS_OF_THREE = arch.Architecture(
    "windows of three",
    (
        arch.Conv(5),
        arch.Relu(),
        arch.AvgPool(3),
        arch.Conv(1),
        arch.Erf(),
        arch.AvgPool(2),
        arch.Flatten(),
        arch.Dense(),
        arch.Relu(),
        arch.Dense(),
    ),
)
POOL_FIRST = arch.Architecture(
    "pool first",
    (
        arch.AvgPool(2),
        arch.Conv(3),
        arch.Conv(3, 1.0, 0.0),
        arch.Gelu(),
        arch.GlobalSumPool(),
        arch.Dense(),
    ),
)
