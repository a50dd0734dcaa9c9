"""Sums of kernels: ``0.7 * build("Conv1D") + 0.3 * build("FC3")``, each term on inputs of its own if need be.

The sum is a kernel too: that of independent networks whose outputs are added, each times the root of its weight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from neural_kernels.architectures.layers import Architecture
from neural_kernels.errors import UserError


@dataclass(frozen=True)
class Term:
    """One kernel of a sum.

    Attributes:
        weight: what it is multiplied by.
        columns: of a table, that it sees: a name for a column of strings or molecules, several for numbers; all of the
            inputs where None.
        inputs, preprocessing: as those of an estimator, for what it sees.
    """

    weight: float
    architecture: Architecture
    columns: str | tuple[str, ...] | None = None
    inputs: str = "auto"
    preprocessing: Any = "auto"


@dataclass(frozen=True)
class Composite:
    """A sum of kernels."""

    terms: tuple[Term, ...]

    def __add__(self, other: Any) -> Composite:
        return Composite((*self.terms, *_terms(other)))

    def __radd__(self, other: Any) -> Composite:
        return Composite((*_terms(other), *self.terms))

    def __mul__(self, weight: float) -> Composite:
        if not (math.isfinite(weight) and weight > 0):
            raise UserError(f"a kernel's weight is {weight}, expected a positive number")
        return Composite(tuple(replace(term, weight=weight * term.weight) for term in self.terms))

    __rmul__ = __mul__

    @property
    def name(self) -> str:
        """For people."""
        used = [term for term in self.terms if term.weight]
        return " + ".join(f"{term.weight:.3g} {term.architecture.name}" for term in used)

    def with_weights(self, weights: Sequence[float]) -> Composite:
        """The same kernels with other weights."""
        pairs = zip(self.terms, weights, strict=True)
        return Composite(tuple(replace(term, weight=float(weight)) for term, weight in pairs))


def on(
    architecture: Architecture,
    columns: str | Sequence[str] | None = None,
    *,
    inputs: str = "auto",
    preprocessing: Any = "auto",
) -> Composite:
    """The kernel of ``architecture`` on columns of a table, or on inputs read in a way of its own; see ``Term``."""
    seen = columns if columns is None or isinstance(columns, str) else tuple(columns)
    return Composite((Term(1.0, architecture, seen, inputs, preprocessing),))


def _terms(value: Any) -> tuple[Term, ...]:
    if isinstance(value, Composite):
        return value.terms
    if isinstance(value, Architecture):
        return on(value).terms
    raise TypeError(f"{value!r} is no architecture")
