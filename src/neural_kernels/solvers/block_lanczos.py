"""Block Lanczos: an orthonormal basis V of a block Krylov space of K, in which every ridge has its solution.

    K V_j = V_{j-1} B_{j-1}^T + V_j A_j + V_{j+1} B_j,        T = V^T K V = tridiag(B_{j-1}, A_j, B_j^T)

The Galerkin solution for a shift s is V (T + s I)^-1 V^T b, that of block conjugate gradients, and the space is the
same for all shifts: one set of passes over the matrix serves them all. The norm of its residual is |B_m y_m|, y_m the
last block of (T + s I)^-1 V^T b, as long as the basis is orthonormal, which is seen to: each block is made orthogonal
to all before it (Golub and Underwood 1977; Golub and Van Loan, Matrix Computations, 10.3.6).

Arrays of n rows hold this process's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from neural_kernels.solvers.communicator import Communicator
from neural_kernels.solvers.gram import decided, gram_of, root_of
from neural_kernels.solvers.krylov_basis import KrylovBasis
from neural_kernels.solvers.operator import RidgeSystem

# Of a direction that is a rounding error no more than this is left, once what lies in the basis is taken away.
LOST = 0.1
# Of columns that nearly depend on each other, so little is left beside their directions that it is rounding.
NOTHING = 1e-13


@dataclass
class KrylovSpace:
    """The space so far; ``basis`` has one block more than there were passes, unless nothing was left to add.

    Attributes:
        start: S, (k_1, c), the block that it begins with being V_1 S.
        diagonal: A_j, (k_j, k_j), of each pass.
        below: B_j, (k_{j+1}, k_j).
    """

    basis: KrylovBasis
    start: np.ndarray
    diagonal: list[np.ndarray] = field(default_factory=list)
    below: list[np.ndarray] = field(default_factory=list)

    @property
    def passes(self) -> int:
        return len(self.diagonal)

    @property
    def exhausted(self) -> bool:
        """Whether K leads nowhere else: solutions in the space are exact."""
        return len(self.below) > 0 and len(self.below[-1]) == 0


def begin(block: np.ndarray, basis: KrylovBasis, communicator: Communicator) -> KrylovSpace:
    """The space of K's powers times ``block``, (own rows, c), before the first pass.

    Args:
        basis: an empty one.
    """
    q, start = _orthonormal(block, communicator)
    again, change = _orthonormal(q, communicator)
    basis.append(again)
    return KrylovSpace(basis, change @ start)


def extend(space: KrylovSpace, matrix: RidgeSystem, communicator: Communicator) -> None:
    """One pass over the matrix, one block more.

    Args:
        matrix: K, a system without shift, one mask for all columns.
    """
    basis, j = space.basis, space.passes
    v = basis.block(j)
    w = matrix.apply(v, np.zeros(v.shape[1], np.intp))
    if j > 0:
        w -= basis.block(j - 1) @ space.below[j - 1].T
    projected = gram_of(communicator, v, w)
    w -= v @ projected
    q, size = _orthonormal(w, communicator)
    for i in range(j + 1):
        block = basis.block(i)
        within = communicator.sum(block.T @ q)
        q -= block @ within
        if i == j:
            rest = within @ size
            projected += (rest + rest.T) / 2
    q, change = _without_lost(q, communicator)
    space.diagonal.append(projected)
    space.below.append(change @ size)
    if q.shape[1]:
        basis.append(q)


def residual_norms(space: KrylovSpace, shift: float, right: np.ndarray) -> np.ndarray | None:
    """|b - (K + s I) x| of the Galerkin solutions after each pass, (passes, c), for right-hand sides V_1 R.

    Args:
        right: R, (k_1, c).

    Returns:
        None where K + s I is not positive definite on the space.
    """
    swept = _forward(space, shift, right)
    return None if swept is None else np.stack([np.linalg.norm(z, axis=0) for z in swept[1][1:]])


def weights(space: KrylovSpace, shift: float, right: np.ndarray) -> np.ndarray | None:
    """(T + s I)^-1 V^T b, (columns that have been multiplied, c); arguments and None as of ``residual_norms``."""
    swept = _forward(space, shift, right)
    if swept is None:
        return None
    factors, z = swept
    y: list[np.ndarray] = [cho_solve(factors[-1], z[-2], check_finite=False)]
    for j in range(len(factors) - 2, -1, -1):
        y.append(cho_solve(factors[j], z[j] - space.below[j].T @ y[-1], check_finite=False))
    return np.vstack(y[::-1])


def combine(space: KrylovSpace, own_rows: int, weights: np.ndarray) -> np.ndarray:
    """V W, (own rows, c), for weights W of the leading columns of the basis, in one reading of it."""
    total, done = np.zeros((own_rows, weights.shape[1])), 0
    for j in range(len(space.basis)):
        width = space.basis.widths[j]
        if done == len(weights):
            break
        total += space.basis.block(j) @ weights[done : done + width]
        done += width
    return total


def tridiagonal(space: KrylovSpace) -> np.ndarray:
    """T, (columns that have been multiplied, same)."""
    ends = np.cumsum([0, *(len(block) for block in space.diagonal)])
    t = np.zeros((ends[-1], ends[-1]))
    for j, block in enumerate(space.diagonal):
        own = slice(ends[j], ends[j + 1])
        t[own, own] = block
        if j + 1 < space.passes:
            following = slice(ends[j + 1], ends[j + 2])
            t[following, own] = space.below[j]
            t[own, following] = space.below[j].T
    return t


def _forward(
    space: KrylovSpace, shift: float, right: np.ndarray
) -> tuple[Sequence[tuple[np.ndarray, bool]], list[np.ndarray]] | None:
    """Block elimination of T + s I: the factor of each pivot, and z, whose last one is the residual's."""
    factors, z = [], [right]
    carried = np.zeros_like(space.diagonal[0])
    for block, below in zip(space.diagonal, space.below, strict=True):
        pivot = block - carried + shift * np.eye(len(block))
        try:
            factor = cho_factor(pivot, lower=True, check_finite=True)
        except (LinAlgError, ValueError):
            return None
        factors.append(factor)
        z.append(-below @ cho_solve(factor, z[-1], check_finite=False))
        carried = below @ cho_solve(factor, below.T, check_finite=False)
        carried = (carried + carried.T) / 2
    return factors, z


def _orthonormal(w: np.ndarray, communicator: Communicator) -> tuple[np.ndarray, np.ndarray]:
    """Q, (own rows, k), and S, (k, c), with Q S = W and nearly orthonormal Q.

    What a Gram matrix cannot tell from its rounding is looked for once more beside the directions that were found:
    without it K V_j would not be what T says, by the root of that rounding.
    """
    q, size = _directions(w, communicator)
    if q.shape[1] == w.shape[1]:
        return q, size
    rest = w - q @ size
    within = communicator.sum(q.T @ rest)
    rest -= q @ within
    size = size + within
    lengths = communicator.sum(np.stack([(rest**2).sum(axis=0), (w**2).sum(axis=0)]))
    rest *= lengths[0] > NOTHING**2 * lengths[1].max(initial=0.0)
    more, rest_size = _directions(rest, communicator)
    return np.hstack([q, more]), np.vstack([size, rest_size])


def _directions(w: np.ndarray, communicator: Communicator) -> tuple[np.ndarray, np.ndarray]:
    """As ``_orthonormal``, without what is dependent to rounding."""
    found = decided(communicator, gram_of(communicator, w, w), root_of)
    if found is None:
        # A Gram matrix of finite numbers is positive semidefinite beyond what ``root_of`` allows for.
        raise FloatingPointError("a product with the kernel is not finite")
    root, inverse = found
    return w @ inverse, root


def _without_lost(q: np.ndarray, communicator: Communicator) -> tuple[np.ndarray, np.ndarray]:
    """As ``_orthonormal``, for Q that was orthonormal before its part in the basis was taken away."""

    def root(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = np.linalg.eigh(gram)
        kept = values > LOST
        size = np.sqrt(values[kept])
        return size[:, None] * vectors[:, kept].T, vectors[:, kept] / size

    change, inverse = decided(communicator, gram_of(communicator, q, q), root)
    return q @ inverse, change
