"""k^T A^-1 k of many vectors k, A = K + s I, from one Krylov space V of K, where each would take a solve of its own.

With the Galerkin solution x = V (T + s I)^-1 V^T k and its residual r = k - A x, which is orthogonal to V,

    k^T A^-1 k = k^T x + r^T A^-1 r,        0 <= r^T A^-1 r <= |r|^2 / s

and |r| follows from the Lanczos relation without another product with K. What the space leaves out, r^T A^-1 r, is a
share of |r|^2 that hardly differs between vectors of one origin, as the residuals of all of them lie in the flat rest
of the spectrum (measured: docs/performance.md). It is learned from a few vectors with known forms: their mean share
gives the value, their least and greatest the interval, in which another vector's form lies with a probability of
(m - 1) / (m + 1) if it is exchangeable with the m known ones (Vovk, Gammerman, Shafer 2005).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_solve_banded, cholesky_banded

from neural_kernels.solvers import block_lanczos
from neural_kernels.solvers.block_lanczos import KrylovSpace
from neural_kernels.solvers.operator import Operator, RidgeSystem

KNOWN = 39
"""Vectors with known forms: with so many, intervals hold for 95 % of others."""

MOST_SOLVED = 256
"""Vectors with a solve each; of more, the forms are sooner had from a space."""

CLOSE = 0.01
"""Half an interval, relative to what is wanted to that precision, at which the space is large enough."""

MOST_PASSES = 30

NOTHING = 1e-12
"""Of |k|^2: so little of a residual is its rounding."""


def drawn(count: int) -> np.ndarray:
    """(KNOWN,) which of so many vectors are solved for, ascending; the same whenever it is asked."""
    return np.sort(np.random.default_rng(0).choice(count, KNOWN, replace=False))


class Forms(NamedTuple):
    """k^T A^-1 k of m vectors, (m,) float64 each, and between what bounds it lies for 95 % of them."""

    value: np.ndarray
    least: np.ndarray
    most: np.ndarray


class Split(NamedTuple):
    """k^T x and |r|^2 of m vectors, (m,) float64 each."""

    within: np.ndarray
    beyond: np.ndarray


@dataclass(frozen=True)
class FormsFromSpace:
    """What gives the forms of any vectors.

    Attributes:
        space: of K, on this process alone.
        shift: s.
        shares: of |r|^2, of each vector with a known form that the space leaves something of.
    """

    space: KrylovSpace
    shift: float
    shares: np.ndarray

    def of(self, vectors: np.ndarray) -> Forms:
        """The forms of (n, m) float64."""
        within, beyond = split(self.space, self.shift, vectors)
        if not len(self.shares):
            return Forms(within, within, within + beyond / self.shift)
        share, least, most = self.shares.mean(), self.shares.min(), min(self.shares.max(), 1 / self.shift)
        return Forms(within + share * beyond, within + max(least, 0.0) * beyond, within + most * beyond)


def split(space: KrylovSpace, shift: float, vectors: np.ndarray) -> Split:
    """What the space has of each form, and what it leaves of the vector, in one reading of the basis.

    Args:
        space: after at least one pass.
        vectors: (n, m) float64.
    """
    basis = space.basis
    projected = np.vstack([basis.block(j).T @ vectors for j in range(len(basis))])
    multiplied = sum(len(block) for block in space.diagonal)
    inside, next_ = projected[:multiplied], projected[multiplied:]
    band = _banded(space, shift)
    weights = cho_solve_banded((cholesky_banded(band, lower=True), True), inside)
    squares = np.einsum("ij,ij->j", vectors, vectors)
    # K x = V T w + V_next B w_last: of r, what lies in V_next is known, and the rest is what no block has.
    coupled = next_ - space.below[-1] @ weights[-len(space.diagonal[-1]) :]
    outside = squares - np.einsum("ij,ij->j", projected, projected)
    beyond = np.maximum(outside, 0.0) + np.einsum("ij,ij->j", coupled, coupled)
    return Split(np.einsum("ij,ij->j", inside, weights), np.where(beyond > NOTHING * squares, beyond, 0.0))


def from_space(
    operator: Operator,
    shift: float,
    space: KrylovSpace,
    known: tuple[np.ndarray, np.ndarray],
    wanted: np.ndarray,
    after_pass: Callable[[KrylovSpace], None] = lambda space: None,
) -> FormsFromSpace:
    """Let ``space`` grow until it gives the forms of the known vectors, and so those of others like them.

    Args:
        operator: K, on this process alone.
        space: as ``block_lanczos.begin`` made it, or after some passes.
        known: vectors (n, m) float64 of the origin of those that are asked for, and their forms, (m,).
        wanted: (m,) what each form is taken from or added to, of which intervals are to be at most ``CLOSE`` each way.
        after_pass: called after each pass.
    """
    vectors, forms = known
    matrix = RidgeSystem(operator, 0.0)

    def learned() -> tuple[FormsFromSpace, float]:
        within, beyond = split(space, shift, vectors)
        left = beyond > 0
        found = FormsFromSpace(space, shift, (forms - within)[left] / beyond[left])
        if not left.any():
            return found, 0.0
        half = (found.shares.max() - found.shares.min()) / 2 * beyond
        return found, float(np.median(half / np.maximum(wanted, np.finfo(float).tiny)))

    if space.passes == 0:
        block_lanczos.extend(space, matrix, operator.communicator)
        after_pass(space)
    found, doubt = learned()
    while doubt > CLOSE and space.passes < MOST_PASSES and not space.exhausted:
        block_lanczos.extend(space, matrix, operator.communicator)
        after_pass(space)
        found, doubt = learned()
    return found


def _banded(space: KrylovSpace, shift: float) -> np.ndarray:
    """T + s I as ``scipy.linalg.cholesky_banded`` takes its lower part."""
    ends = np.cumsum([0, *(len(block) for block in space.diagonal)])
    reach = max(
        [len(block) for block in space.diagonal]
        + [len(a) + len(b) for a, b in zip(space.diagonal, space.diagonal[1:], strict=False)]
    )
    band = np.zeros((reach, ends[-1]))
    for j, block in enumerate(space.diagonal):
        columns = [block + shift * np.eye(len(block))]
        if j + 1 < space.passes:
            columns.append(space.below[j])
        stacked = np.vstack(columns)
        for k in range(len(block)):
            band[: len(stacked) - k, ends[j] + k] = stacked[k:, k]
    return band
