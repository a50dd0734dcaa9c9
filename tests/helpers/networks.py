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
