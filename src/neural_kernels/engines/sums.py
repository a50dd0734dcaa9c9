"""The engine of a sum of kernels: each term by the engine that is best for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neural_kernels.architectures import Architecture
from neural_kernels.graphs import Examples


@dataclass(frozen=True, eq=False)
class SummedEngine:
    """An ``Engine`` for one architecture that is a sum.

    Attributes:
        parts: a weight, an architecture and its engine each.
    """

    parts: tuple[tuple[float, Architecture, Any], ...]

    def unavailable(self) -> str | None:
        return None

    def uncovered(self, architecture: Architecture, input_shape: tuple[int, ...]) -> str | None:
        return None

    def prepare(self, architecture: Architecture, x: Examples, precision: Any) -> tuple[Any, ...]:
        """What each term's engine needs of the examples."""
        return tuple(engine.prepare(term, x, precision) for _, term, engine in self.parts)

    def kernel(
        self, architecture: Architecture, kind: Any, left: Any, right: Any | None, precision: Any
    ) -> np.ndarray:
        """Kernel entries (n_left, n_right) of dtype ``precision``, added in float64; see ``engines.Engine``."""
        total: Any = 0.0
        for place, (weight, term, engine) in enumerate(self.parts):
            other = None if right is None else right[place]
            total = total + weight * engine.kernel(term, kind, left[place], other, precision).astype(
                np.float64
            )
        return np.asarray(total, precision)

    def each(self, change: Callable[[Any, Architecture], Any]) -> SummedEngine:
        """With what ``change`` makes of each term's engine."""
        return replace(self, parts=tuple((w, term, change(engine, term)) for w, term, engine in self.parts))
